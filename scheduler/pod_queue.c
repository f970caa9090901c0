/* SPDX-License-Identifier: Apache-2.0 */
/* pod_queue.c - active, backoff and parked pods. */
#include "scheduler/pod_queue.h"

/* ---- the active heap ---- */

static bool goes_before(const struct queued_pod *a, const struct queued_pod *b)
{
    if (a->info->priority != b->info->priority)
        return a->info->priority > b->info->priority;
    return a->sequence < b->sequence;
}

static void active_set(struct pod_queue *q, size_t i, struct queued_pod *p)
{
    q->active[i] = p;
    p->active_index = i;
}

static void sift_up(struct pod_queue *q, size_t i)
{
    struct queued_pod *p = q->active[i];
    for (; i && goes_before(p, q->active[(i - 1) / 2]); i = (i - 1) / 2)
        active_set(q, i, q->active[(i - 1) / 2]);
    active_set(q, i, p);
}

static void sift_down(struct pod_queue *q, size_t i)
{
    struct queued_pod *p = q->active[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= q->active_n)
            break;
        if (child + 1 < q->active_n && goes_before(q->active[child + 1], q->active[child]))
            child++;
        if (!goes_before(q->active[child], p))
            break;
        active_set(q, i, q->active[child]);
        i = child;
    }
    active_set(q, i, p);
}

static void active_add(struct pod_queue *q, struct queued_pod *p)
{
    q->active = xgrow(q->active, q->active_n, &q->active_capacity, sizeof(q->active[0]));
    p->place = PLACE_ACTIVE;
    p->sequence = ++q->sequence;
    active_set(q, q->active_n++, p);
    sift_up(q, p->active_index);
}

static void active_remove(struct pod_queue *q, struct queued_pod *p)
{
    size_t i = p->active_index;
    struct queued_pod *last = q->active[--q->active_n];
    if (last == p)
        return;
    active_set(q, i, last);
    sift_up(q, i);
    sift_down(q, last->active_index);
}

/* ---- places ---- */

static struct due_heap *heap_of(struct pod_queue *q, enum queue_place place)
{
    switch (place) {
    case PLACE_BACKOFF:
        return &q->backoff;
    case PLACE_ERRORS:
        return &q->errors;
    case PLACE_PARKED:
        return &q->parked;
    case PLACE_ACTIVE:
    case PLACE_GATED:
    case PLACE_IN_FLIGHT:
        break;
    }
    return NULL;
}

static void leave(struct pod_queue *q, struct queued_pod *p)
{
    if (p->place == PLACE_ACTIVE)
        active_remove(q, p);
    else if (heap_of(q, p->place))
        due_heap_remove(heap_of(q, p->place), &p->due);
}

static void enter(struct pod_queue *q, struct queued_pod *p, enum queue_place place, int64_t due_ns)
{
    leave(q, p);
    p->place = place;
    due_heap_add(heap_of(q, place), &p->due, due_ns);
}

static int64_t now_ns(const struct pod_queue *q)
{
    return clock_monotonic_ns(q->clock);
}

/* 1 s after the first attempt, doubling. */
static int64_t backoff_end_ns(const struct queued_pod *p)
{
    int64_t backoff_ns = POD_BACKOFF_FIRST_NS;
    for (int i = 1; i < p->attempts && backoff_ns < POD_BACKOFF_MAX_NS; i++)
        backoff_ns *= 2;
    return p->parked_ns + (backoff_ns < POD_BACKOFF_MAX_NS ? backoff_ns : POD_BACKOFF_MAX_NS);
}

void pod_queue_init(struct pod_queue *q, const struct clock *clock)
{
    *q = (struct pod_queue){ .clock = clock };
}

void pod_queue_deinit(struct pod_queue *q)
{
    hashmap_each (&q->pods, e) {
        struct queued_pod *p = e->value;
        pod_info_unref(p->info);
        free(p);
    }
    hashmap_deinit(&q->pods);
    free(q->active);
    due_heap_deinit(&q->backoff);
    due_heap_deinit(&q->errors);
    due_heap_deinit(&q->parked);
}

struct queued_pod *pod_queue_get(struct pod_queue *q, struct bytes key)
{
    return hashmap_get(&q->pods, key);
}

void pod_queue_set(struct pod_queue *q, struct pod_info *info)
{
    struct queued_pod *p = hashmap_get(&q->pods, info->key);
    if (p)
        leave(q, p);
    else
        p = xcalloc(1, sizeof(*p));
    pod_queue_refresh(q, p, info);
    if (info->is_gated)
        p->place = PLACE_GATED;
    else
        active_add(q, p);
}

void pod_queue_refresh(struct pod_queue *q, struct queued_pod *p, struct pod_info *info)
{
    struct pod_info *old = p->info;
    p->info = pod_info_ref(info);
    hashmap_put(&q->pods, p->info->key, p);
    pod_info_unref(old);
}

void pod_queue_remove(struct pod_queue *q, struct bytes key)
{
    struct queued_pod *p = hashmap_remove(&q->pods, key);
    if (!p)
        return;
    leave(q, p);
    pod_info_unref(p->info);
    free(p);
}

static struct queued_pod *first_of(const struct due_heap *h)
{
    return (struct queued_pod *)due_heap_first(h);
}

static void activate_due(struct pod_queue *q, struct due_heap *h)
{
    struct queued_pod *p;
    while ((p = first_of(h)) && p->due.due_ns <= now_ns(q)) {
        leave(q, p);
        active_add(q, p);
    }
}

struct queued_pod *pod_queue_pop(struct pod_queue *q)
{
    activate_due(q, &q->backoff);
    activate_due(q, &q->errors);
    activate_due(q, &q->parked);
    struct queued_pod *p = q->active_n ? q->active[0] : first_of(&q->backoff);
    if (!p)
        return NULL;
    leave(q, p);
    p->place = PLACE_IN_FLIGHT;
    p->attempts++;
    return p;
}

int64_t pod_queue_due_ns(const struct pod_queue *q)
{
    const struct queued_pod *error = first_of(&q->errors), *parked = first_of(&q->parked);
    int64_t due = error ? error->due.due_ns : 0;
    if (parked && (!due || parked->due.due_ns < due))
        due = parked->due.due_ns;
    return due;
}

void pod_queue_park(struct pod_queue *q, struct queued_pod *p, unsigned events)
{
    p->parked_ns = now_ns(q);
    p->events = events;
    enter(q, p, PLACE_PARKED, p->parked_ns + POD_PARKED_MAX_NS);
}

void pod_queue_retry(struct pod_queue *q, struct queued_pod *p)
{
    p->parked_ns = now_ns(q);
    enter(q, p, PLACE_ERRORS, backoff_end_ns(p));
}

void pod_queue_wake(struct pod_queue *q, unsigned events)
{
    /* Leaving the heap moves its nodes about, so those that are meant are collected first. */
    size_t n = 0;
    struct queued_pod **woken = xmalloc(q->parked.n * sizeof(woken[0]) + 1);
    for (size_t i = 0; i < q->parked.n; i++) {
        struct queued_pod *p = (struct queued_pod *)q->parked.nodes[i];
        if (p->events & events)
            woken[n++] = p;
    }
    for (size_t i = 0; i < n; i++) {
        if (backoff_end_ns(woken[i]) > now_ns(q)) {
            enter(q, woken[i], PLACE_BACKOFF, backoff_end_ns(woken[i]));
        } else {
            leave(q, woken[i]);
            active_add(q, woken[i]);
        }
    }
    free(woken);
}
