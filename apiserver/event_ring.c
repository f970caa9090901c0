/* SPDX-License-Identifier: Apache-2.0 */
/* event_ring.c - the recent past of a resource's objects. */
#include "apiserver/event_ring.h"

/* Answers to writers and watchers are mostly on their way when so many changes have come after. */
#define TEXT_KEPT_EVENTS 256

struct cache_event *cache_event_ref(struct cache_event *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

void cache_event_unref(struct cache_event *e)
{
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    object_unref(e->object);
    object_unref(e->previous);
    free(e);
}

size_t cache_events_release(struct cache_event *chain)
{
    size_t bytes = 0;
    for (struct cache_event *e = chain, *next; e; e = next) {
        next = e->gone_next;
        bytes += e->bytes;
        cache_event_unref(e);
    }
    return bytes;
}

/* What goes when E goes: the state that it replaced, and after a delete the last one. */
static size_t event_bytes(const struct cache_event *e)
{
    size_t bytes = sizeof(*e) + (e->previous ? object_size_bytes(e->previous) : 0);
    return bytes + (e->type == WATCH_DELETED ? object_size_bytes(e->object) : 0);
}

static void grow(struct event_ring *r)
{
    size_t capacity = r->capacity ? 2 * r->capacity : RING_EVENTS_FIRST;
    struct cache_event **events = xmalloc(capacity * sizeof(struct cache_event *));
    for (size_t i = 0; i < r->n; i++)
        events[i] = event_ring_at(r, i);
    free(r->events);
    r->events = events;
    r->first = 0;
    r->capacity = capacity;
}

/* Puts the oldest event before CHAIN. */
static struct cache_event *drop_oldest(struct event_ring *r, struct cache_event *chain)
{
    struct cache_event *e = r->events[r->first];
    r->since = e->revision;
    r->first = (r->first + 1) % r->capacity;
    r->n--;
    r->bytes -= e->bytes;
    e->gone_next = chain;
    return e;
}

size_t event_ring_after(const struct event_ring *r, int64_t revision)
{
    size_t low = 0, high = r->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (event_ring_at(r, middle)->revision <= revision)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- texts of the past ---- */

static void drop_texts(struct event_ring *r, struct cache_event *e)
{
    size_t dropped = e->previous ? object_drop_json(e->previous) : 0;
    size_t of_object = object_drop_json(e->object);
    if (e->type == WATCH_DELETED)
        dropped += of_object;
    dropped = dropped < e->bytes ? dropped : e->bytes; /* some were made after they were counted */
    e->bytes -= dropped;
    r->bytes -= dropped;
}

/* ---- adding and expiring ---- */

struct cache_event *event_ring_add(struct event_ring *r, struct cache_event *e)
{
    struct cache_event *gone = NULL;
    if (r->n == r->capacity) {
        bool is_young = r->n > 0 && e->at_ns - event_ring_at(r, 0)->at_ns < RING_KEPT_NS;
        if (r->n == 0 || (is_young && r->capacity < RING_EVENTS_MAX))
            grow(r);
        else
            gone = drop_oldest(r, gone);
    }
    e->bytes = event_bytes(e);
    r->events[(r->first + r->n) % r->capacity] = cache_event_ref(e);
    r->n++;
    r->bytes += e->bytes;
    while (r->bytes > RING_BYTES_MAX)
        gone = drop_oldest(r, gone);
    if (r->n > TEXT_KEPT_EVENTS)
        drop_texts(r, event_ring_at(r, r->n - 1 - TEXT_KEPT_EVENTS));
    return gone;
}

struct cache_event *event_ring_expire(struct event_ring *r, int64_t now_ns)
{
    struct cache_event *gone = NULL;
    while (r->n > RING_EVENTS_MIN && now_ns - event_ring_at(r, 0)->at_ns >= RING_KEPT_NS)
        gone = drop_oldest(r, gone);
    return gone;
}

struct cache_event *event_ring_clear(struct event_ring *r, int64_t since)
{
    struct cache_event *gone = NULL;
    while (r->n > 0)
        gone = drop_oldest(r, gone);
    r->since = since;
    return gone;
}

void event_ring_deinit(struct event_ring *r)
{
    cache_events_release(event_ring_clear(r, 0));
    free(r->events);
    *r = (struct event_ring){ 0 };
}
