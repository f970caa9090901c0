/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workqueue.c - keys on their way to workers.
 *
 *                  add                    get                   done
 *     (nowhere) ---------> ready (FIFO) ---------> in work ------------> (nowhere)
 *         \                   ^                       \                      or, if it was
 *          `--> delayed ------'  when due              `-- add: is_again     added meanwhile,
 *                                                                            ready again
 *
 * An item is forgotten when it is nowhere and its back-off count is zero.
 */
#include "base/workqueue.h"

#include <pthread.h>

#include "base/cond.h"
#include "base/due_heap.h"
#include "base/hashmap.h"

#define BACKOFF_FIRST_MS 5
#define BACKOFF_MAX_MS   (1000 * 1000)

struct item {
    struct due_node due; /* first: a due_node * in the heap is an item * */
    struct item *next;   /* in the ready list */
    bool is_ready;
    bool is_in_work;
    bool is_again; /* added while in work */
    unsigned failures;
    struct bytes key;
    char key_data[];
};

struct workqueue {
    struct workqueue_config config;
    pthread_cond_t changed;
    pthread_mutex_t lock; /* guards all below */
    struct hashmap items;
    struct due_heap delayed;
    struct item *first, *last; /* ready */
    size_t ready_n;
    bool is_shut_down;
};

struct workqueue *workqueue_new(const struct workqueue_config *config)
{
    struct workqueue *q = xcalloc(1, sizeof(*q));
    if (config)
        q->config = *config;
    if (!q->config.clock)
        q->config.clock = &system_clock;
    if (!q->config.backoff_first_ms)
        q->config.backoff_first_ms = BACKOFF_FIRST_MS;
    if (!q->config.backoff_max_ms)
        q->config.backoff_max_ms = BACKOFF_MAX_MS;
    pthread_mutex_init(&q->lock, NULL);
    cond_init(&q->changed);
    return q;
}

void workqueue_free(struct workqueue *q)
{
    if (!q)
        return;
    hashmap_each (&q->items, e)
        free(e->value);
    hashmap_deinit(&q->items);
    due_heap_deinit(&q->delayed);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* ---- items; the lock is held ---- */

static struct item *item_of(struct workqueue *q, struct bytes key)
{
    struct item *i = hashmap_get(&q->items, key);
    if (i)
        return i;
    i = xcalloc(1, sizeof(*i) + key.len + 1);
    if (key.len)
        memcpy(i->key_data, key.data, key.len);
    i->key = (struct bytes){ i->key_data, key.len };
    hashmap_put(&q->items, i->key, i);
    return i;
}

static void forget_if_idle(struct workqueue *q, struct item *i)
{
    if (i->is_ready || i->is_in_work || i->due.place || i->failures)
        return;
    hashmap_remove(&q->items, i->key);
    free(i);
}

/* True: somebody is to be woken. */
static bool make_ready(struct workqueue *q, struct item *i)
{
    if (i->is_ready)
        return false;
    if (i->is_in_work) {
        i->is_again = true;
        return false;
    }
    i->is_ready = true;
    i->next = NULL;
    if (q->last)
        q->last->next = i;
    else
        q->first = i;
    q->last = i;
    q->ready_n++;
    return true;
}

static void make_due_ready(struct workqueue *q)
{
    if (!due_heap_first(&q->delayed))
        return;
    int64_t now = clock_monotonic_ns(q->config.clock);
    for (struct due_node *d; (d = due_heap_first(&q->delayed)) && d->due_ns <= now;) {
        due_heap_remove(&q->delayed, d);
        if (make_ready(q, (struct item *)d))
            pthread_cond_signal(&q->changed);
    }
}

static void add_delayed(struct workqueue *q, struct item *i, int64_t delay_ms)
{
    int64_t due = clock_monotonic_ns(q->config.clock) + delay_ms * NS_PER_MS;
    if (i->due.place && i->due.due_ns <= due)
        return;
    due_heap_remove(&q->delayed, &i->due);
    due_heap_add(&q->delayed, &i->due, due);
    if (due_heap_first(&q->delayed) == &i->due) /* somebody must wait for a shorter time now */
        pthread_cond_signal(&q->changed);
}

/* ---- adding ---- */

void workqueue_add_after(struct workqueue *q, struct bytes key, int64_t delay_ms)
{
    bool wakes = false;
    pthread_mutex_lock(&q->lock);
    if (!q->is_shut_down) {
        struct item *i = item_of(q, key);
        if (delay_ms <= 0)
            wakes = make_ready(q, i);
        else
            add_delayed(q, i, delay_ms);
    }
    pthread_mutex_unlock(&q->lock);
    if (wakes) /* not under the lock, into which the one who wakes would run */
        pthread_cond_signal(&q->changed);
}

void workqueue_add(struct workqueue *q, struct bytes key)
{
    workqueue_add_after(q, key, 0);
}

void workqueue_retry(struct workqueue *q, struct bytes key)
{
    pthread_mutex_lock(&q->lock);
    if (!q->is_shut_down) {
        struct item *i = item_of(q, key);
        int64_t delay_ms = q->config.backoff_first_ms;
        for (unsigned n = 0; n < i->failures && delay_ms < q->config.backoff_max_ms; n++)
            delay_ms *= 2;
        if (delay_ms > q->config.backoff_max_ms)
            delay_ms = q->config.backoff_max_ms;
        i->failures++;
        add_delayed(q, i, delay_ms);
    }
    pthread_mutex_unlock(&q->lock);
}

void workqueue_forget(struct workqueue *q, struct bytes key)
{
    pthread_mutex_lock(&q->lock);
    struct item *i = hashmap_get(&q->items, key);
    if (i) {
        i->failures = 0;
        forget_if_idle(q, i);
    }
    pthread_mutex_unlock(&q->lock);
}

/* ---- taking ---- */

static void wait_for_change(struct workqueue *q)
{
    struct due_node *next = due_heap_first(&q->delayed);
    cond_wait_clock(&q->changed, &q->lock, q->config.clock, next ? next->due_ns : INT64_MAX);
}

static struct item *take_first(struct workqueue *q)
{
    struct item *i = q->first;
    q->first = i->next;
    if (!q->first)
        q->last = NULL;
    q->ready_n--;
    i->is_ready = false;
    i->is_in_work = true;
    return i;
}

bool workqueue_get(struct workqueue *q, struct bytes *key)
{
    pthread_mutex_lock(&q->lock);
    make_due_ready(q);
    while (!q->first && !q->is_shut_down) {
        wait_for_change(q);
        make_due_ready(q);
    }
    bool got = !q->is_shut_down;
    if (got) {
        struct item *i = take_first(q);
        char *copy = xmalloc(i->key.len + 1);
        memcpy(copy, i->key_data, i->key.len + 1);
        *key = (struct bytes){ copy, i->key.len };
        /* The one who leaves with a key hands the watch over what is due next to another. */
        if (q->first || due_heap_first(&q->delayed))
            pthread_cond_signal(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return got;
}

void workqueue_done(struct workqueue *q, struct bytes key)
{
    pthread_mutex_lock(&q->lock);
    struct item *i = hashmap_get(&q->items, key);
    ensure(i && i->is_in_work);
    i->is_in_work = false;
    if (i->is_again && !q->is_shut_down) {
        i->is_again = false;
        if (make_ready(q, i))
            pthread_cond_signal(&q->changed);
    }
    forget_if_idle(q, i);
    pthread_mutex_unlock(&q->lock);
    free((char *)key.data);
}

void workqueue_shutdown(struct workqueue *q)
{
    pthread_mutex_lock(&q->lock);
    q->is_shut_down = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

size_t workqueue_len(struct workqueue *q)
{
    pthread_mutex_lock(&q->lock);
    make_due_ready(q);
    size_t n = q->ready_n;
    pthread_mutex_unlock(&q->lock);
    return n;
}
