/* SPDX-License-Identifier: Apache-2.0 */
/* timeline.c - noting, sealing, and holding watchers against it. */
#include "test/fault/timeline.h"

struct moment {
    struct change *changes; /* in the arena */
    size_t n, capacity;
    bool is_whole;
};

struct key_history {
    const struct change **changes; /* sealed ones, ascending */
    size_t n, capacity;
};

struct timeline {
    struct arena *arena;
    struct moment *moments; /* by revision */
    size_t capacity;
    int64_t sealed;
    struct key_history *keys;
    uint32_t keys_n;
};

struct timeline *timeline_new(uint32_t keys_n)
{
    struct timeline *t = xcalloc(1, sizeof(*t));
    t->arena = arena_new();
    t->sealed = TIMELINE_FIRST_REVISION - 1;
    t->keys_n = keys_n;
    t->keys = xcalloc(keys_n, sizeof(t->keys[0]));
    return t;
}

void timeline_free(struct timeline *t)
{
    if (!t)
        return;
    for (uint32_t k = 0; k < t->keys_n; k++)
        free(t->keys[k].changes);
    free(t->keys);
    free(t->moments);
    arena_free(t->arena);
    free(t);
}

/* ---- noting ---- */

static struct moment *moment_of(struct timeline *t, int64_t revision)
{
    size_t i = (size_t)revision;
    if (i >= t->capacity) {
        size_t capacity = 2 * i + 1024;
        t->moments = xrealloc(t->moments, capacity * sizeof(t->moments[0]));
        memset(t->moments + t->capacity, 0, (capacity - t->capacity) * sizeof(t->moments[0]));
        t->capacity = capacity;
    }
    return &t->moments[i];
}

static struct change *find_in(const struct moment *m, uint32_t key)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->changes[i].key == key)
            return &m->changes[i];
    return NULL;
}

static int disagree(const struct change *c, struct error *err)
{
    return error_set(err, ERR_CONFLICT, "what is said about key %u at revision %lld differs",
                     c->key, (long long)c->revision);
}

/* 0 stands for "was not told". */
static int agree(int64_t *known, int64_t told, const struct change *c, struct error *err)
{
    if (!*known)
        *known = told;
    return told && told != *known ? disagree(c, err) : 0;
}

static int note_change(struct timeline *t, struct moment *m, const struct change *c,
                       struct error *err)
{
    struct change *known = find_in(m, c->key);
    if (!known && m->is_whole)
        return error_set(err, ERR_CONFLICT, "key %u changed at revision %lld, or did not", c->key,
                         (long long)c->revision);
    if (!known) {
        if (m->n == m->capacity)
            m->changes = arena_grow(t->arena, m->changes, m->n, &m->capacity, sizeof(*known));
        m->changes[m->n++] = *c;
        return 0;
    }
    if (known->value != c->value || known->lease != c->lease)
        return disagree(c, err);
    return agree(&known->create_revision, c->create_revision, c, err) < 0
               ? -1
               : agree(&known->version, c->version, c, err);
}

int timeline_note(struct timeline *t, int64_t revision, const struct change *changes, size_t n,
                  enum timeline_extent extent, struct error *err)
{
    if (revision < TIMELINE_FIRST_REVISION)
        return error_set(err, ERR_CONFLICT, "a change at revision %lld", (long long)revision);
    struct moment *m = moment_of(t, revision);
    for (size_t i = 0; i < n; i++) {
        if (changes[i].revision != revision)
            return error_set(err, ERR_CONFLICT, "a change of revision %lld came with %lld",
                             (long long)changes[i].revision, (long long)revision);
        if (note_change(t, m, &changes[i], err) < 0)
            return -1;
    }
    if (extent == TIMELINE_WHOLE && m->n != n)
        return error_set(err, ERR_CONFLICT, "revision %lld has %zu changes, not %zu",
                         (long long)revision, m->n, n);
    m->is_whole |= extent == TIMELINE_WHOLE;
    return 0;
}

bool timeline_is_whole(const struct timeline *t, int64_t revision)
{
    return (size_t)revision < t->capacity && t->moments[revision].is_whole;
}

/* ---- sealing ---- */

static int seal_change(struct timeline *t, struct change *c, struct error *err)
{
    struct key_history *k = &t->keys[c->key];
    const struct change *before = k->n ? k->changes[k->n - 1] : NULL;
    bool existed = before && before->value;
    if (!c->value && !existed)
        return error_set(err, ERR_CONFLICT, "revision %lld deleted key %u, which was not there",
                         (long long)c->revision, c->key);
    if (c->value &&
        (agree(&c->create_revision, existed ? before->create_revision : c->revision, c, err) < 0 ||
         agree(&c->version, existed ? before->version + 1 : 1, c, err) < 0))
        return -1;
    k->changes = xgrow(k->changes, k->n, &k->capacity, sizeof(k->changes[0]));
    k->changes[k->n++] = c;
    return 0;
}

int timeline_seal(struct timeline *t, int64_t revision, struct error *err)
{
    while (t->sealed < revision) {
        struct moment *m = moment_of(t, t->sealed + 1);
        if (!m->n)
            return error_set(err, ERR_CONFLICT,
                             "nothing is known to have happened at revision %lld",
                             (long long)t->sealed + 1);
        for (size_t i = 0; i < m->n; i++)
            if (seal_change(t, &m->changes[i], err) < 0)
                return -1;
        m->is_whole = true;
        t->sealed++;
    }
    return 0;
}

int64_t timeline_sealed(const struct timeline *t)
{
    return t->sealed;
}

const struct change *timeline_last(const struct timeline *t, uint32_t key, int64_t revision)
{
    const struct key_history *k = &t->keys[key];
    size_t low = 0, high = k->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (k->changes[middle]->revision <= revision)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? k->changes[low - 1] : NULL;
}

const struct change *timeline_find(const struct timeline *t, uint32_t key, int64_t revision)
{
    const struct change *c = timeline_last(t, key, revision);
    return c && c->value ? c : NULL;
}

const struct change *timeline_changes(const struct timeline *t, int64_t revision, size_t *n)
{
    *n = t->moments[revision].n;
    return t->moments[revision].changes;
}

/* ---- a watcher ---- */

static bool is_told(const struct watcher *w, const struct change *c)
{
    return c->key - w->first_key < w->keys_n && (c->value ? w->has_puts : w->has_deletes);
}

static size_t count_told(const struct watcher *w, const struct timeline *t, int64_t revision)
{
    size_t n, told = 0;
    const struct change *changes = timeline_changes(t, revision, &n);
    for (size_t i = 0; i < n; i++)
        told += is_told(w, &changes[i]);
    return told;
}

/* Nothing that W asked for happened from its next revision up to THROUGH. */
static int check_no_gap(const struct watcher *w, const struct timeline *t, int64_t through,
                        struct error *err)
{
    for (int64_t r = w->next; r <= through; r++)
        if (count_told(w, t, r))
            return error_set(err, ERR_CONFLICT, "revision %lld was left out", (long long)r);
    return 0;
}

static bool is_same(const struct change *a, const struct change *b)
{
    return a->revision == b->revision && a->key == b->key && a->value == b->value &&
           a->lease == b->lease && a->create_revision == b->create_revision &&
           a->version == b->version;
}

static int check_event(const struct watcher *w, const struct timeline *t,
                       const struct watched_event *e, int64_t compacted, struct error *err)
{
    const struct change *c = timeline_last(t, e->now.key, e->now.revision);
    if (!c || !is_same(c, &e->now) || !is_told(w, c))
        return error_set(err, ERR_CONFLICT, "the event for key %u at revision %lld is not right",
                         e->now.key, (long long)e->now.revision);
    const struct change *before = timeline_find(t, e->now.key, e->now.revision - 1);
    if (!e->before.revision) {
        if (w->has_before && before && e->now.revision > compacted)
            return error_set(err, ERR_CONFLICT,
                             "the event for key %u at revision %lld lacks "
                             "the value before it",
                             e->now.key, (long long)e->now.revision);
        return 0;
    }
    if (!w->has_before || !before || !is_same(before, &e->before))
        return error_set(err, ERR_CONFLICT,
                         "the event for key %u at revision %lld has a wrong "
                         "value before it",
                         e->now.key, (long long)e->now.revision);
    return 0;
}

int watcher_take(struct watcher *w, const struct timeline *t, const struct watched_message *m,
                 int64_t compacted, struct error *err)
{
    for (size_t i = 0; i < m->n;) {
        int64_t revision = m->events[i].now.revision;
        if (revision < w->next)
            return error_set(err, ERR_CONFLICT,
                             "revision %lld came late, twice or in parts: %lld was due",
                             (long long)revision, (long long)w->next);
        if (revision > m->header_revision || revision > t->sealed)
            return error_set(err, ERR_CONFLICT, "revision %lld lies in the future",
                             (long long)revision);
        if (check_no_gap(w, t, revision - 1, err) < 0)
            return -1;
        size_t n = 0;
        for (; i < m->n && m->events[i].now.revision == revision; i++, n++)
            if (check_event(w, t, &m->events[i], compacted, err) < 0)
                return -1;
        if (n != count_told(w, t, revision))
            return error_set(err, ERR_CONFLICT, "revision %lld came with %zu events instead of %zu",
                             (long long)revision, n, count_told(w, t, revision));
        w->next = revision + 1;
    }
    if (m->n)
        return 0;
    if (m->header_revision > t->sealed)
        return error_set(err, ERR_CONFLICT, "progress to revision %lld, which lies in the future",
                         (long long)m->header_revision);
    if (check_no_gap(w, t, m->header_revision, err) < 0)
        return error_wrap(err, "progress to revision %lld", (long long)m->header_revision);
    if (w->next <= m->header_revision)
        w->next = m->header_revision + 1;
    return 0;
}
