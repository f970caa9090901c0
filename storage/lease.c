/* SPDX-License-Identifier: Apache-2.0 */
/* lease.c - leases by id, their keys, and the one that ends first. */
#include "storage/lease.h"

#include <pthread.h>

#include "base/hashmap.h"

/* An expired lease whose deletion fails (full disk) is tried again after this. */
#define RETRY_NS (INT64_C(1) * NS_PER_S)

struct lease {
    int64_t id, ttl_s;
    int64_t expires_ns;
    bool is_ending;      /* it is being revoked since it has expired */
    struct hashmap keys; /* key -> struct leased_key */
};

struct leased_key {
    struct lease *lease;
    size_t len;
    char data[];
};

struct lease_table {
    const struct clock *clock;
    pthread_mutex_t lock;
    struct hashmap leases; /* id -> struct lease */
    struct hashmap keys;   /* key -> struct leased_key */
};

struct lease_table *lease_table_new(const struct clock *clock)
{
    struct lease_table *t = xcalloc(1, sizeof(*t));
    t->clock = clock;
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

static struct bytes id_key(const int64_t *id)
{
    return (struct bytes){ (const char *)id, sizeof(*id) };
}

static void lease_free(struct lease_table *t, struct lease *l)
{
    hashmap_each (&l->keys, e) {
        hashmap_remove(&t->keys, e->key);
        free(e->value);
    }
    hashmap_deinit(&l->keys);
    free(l);
}

void lease_table_free(struct lease_table *t)
{
    if (!t)
        return;
    hashmap_each (&t->leases, e)
        lease_free(t, e->value);
    hashmap_deinit(&t->leases);
    hashmap_deinit(&t->keys);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void lease_grant(struct lease_table *t, int64_t id, int64_t ttl_s)
{
    pthread_mutex_lock(&t->lock);
    struct lease *l = hashmap_get(&t->leases, id_key(&id));
    if (!l) {
        l = xcalloc(1, sizeof(*l));
        l->id = id;
        hashmap_put(&t->leases, id_key(&l->id), l);
    }
    l->ttl_s = ttl_s;
    l->expires_ns = clock_monotonic_ns(t->clock) + ttl_s * NS_PER_S;
    pthread_mutex_unlock(&t->lock);
}

void lease_remove(struct lease_table *t, int64_t id)
{
    pthread_mutex_lock(&t->lock);
    struct lease *l = hashmap_remove(&t->leases, id_key(&id));
    if (l)
        lease_free(t, l);
    pthread_mutex_unlock(&t->lock);
}

bool lease_exists(struct lease_table *t, int64_t id)
{
    pthread_mutex_lock(&t->lock);
    bool exists = hashmap_get(&t->leases, id_key(&id));
    pthread_mutex_unlock(&t->lock);
    return exists;
}

int64_t lease_new_id(struct lease_table *t)
{
    int64_t id;
    do
        id = (int64_t)(rng_next(system_rng) & INT64_MAX);
    while (id == 0 || lease_exists(t, id));
    return id;
}

int lease_keep_alive(struct lease_table *t, int64_t id, int64_t *ttl_s, struct error *err)
{
    pthread_mutex_lock(&t->lock);
    struct lease *l = hashmap_get(&t->leases, id_key(&id));
    bool is_kept = l && !l->is_ending;
    if (is_kept) {
        l->expires_ns = clock_monotonic_ns(t->clock) + l->ttl_s * NS_PER_S;
        *ttl_s = l->ttl_s;
    }
    pthread_mutex_unlock(&t->lock);
    return is_kept ? 0 : error_set(err, ERR_NOT_FOUND, "lease %lld not found", (long long)id);
}

void lease_move_key(struct lease_table *t, struct bytes key, int64_t to)
{
    pthread_mutex_lock(&t->lock);
    if (t->leases.n) {
        struct leased_key *old = hashmap_remove(&t->keys, key);
        if (old) {
            hashmap_remove(&old->lease->keys, key);
            free(old);
        }
        struct lease *l = to ? hashmap_get(&t->leases, id_key(&to)) : NULL;
        if (l) {
            struct leased_key *k = xmalloc(sizeof(*k) + key.len);
            *k = (struct leased_key){ l, key.len };
            memcpy(k->data, key.data, key.len);
            struct bytes own = { k->data, k->len };
            hashmap_put(&t->keys, own, k);
            hashmap_put(&l->keys, own, k);
        }
    }
    pthread_mutex_unlock(&t->lock);
}

static int compare_keys(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

struct bytes *lease_keys(struct lease_table *t, int64_t id, struct arena *arena, size_t *n)
{
    *n = 0;
    pthread_mutex_lock(&t->lock);
    struct lease *l = hashmap_get(&t->leases, id_key(&id));
    struct bytes *keys = l ? arena_alloc(arena, (l->keys.n + 1) * sizeof(keys[0])) : NULL;
    if (l)
        hashmap_each (&l->keys, e)
            keys[(*n)++] = arena_bytes(arena, e->key);
    pthread_mutex_unlock(&t->lock);
    if (*n)
        qsort(keys, *n, sizeof(keys[0]), compare_keys);
    return keys;
}

static struct storage_lease describe(const struct lease_table *t, const struct lease *l)
{
    int64_t left_ns = l->expires_ns - clock_monotonic_ns(t->clock);
    return (struct storage_lease){
        .id = l->id,
        .granted_s = l->ttl_s,
        .remaining_s = left_ns > 0 ? left_ns / NS_PER_S : 0,
    };
}

int lease_find(struct lease_table *t, int64_t id, struct arena *arena, struct storage_lease *out,
               struct error *err)
{
    pthread_mutex_lock(&t->lock);
    struct lease *l = hashmap_get(&t->leases, id_key(&id));
    if (l)
        *out = describe(t, l);
    pthread_mutex_unlock(&t->lock);
    if (!l)
        return error_set(err, ERR_NOT_FOUND, "requested lease not found");
    out->keys = lease_keys(t, id, arena, &out->keys_n);
    return 0;
}

static int compare_ends(const void *left, const void *right)
{
    const struct lease *a = *(const struct lease *const *)left;
    const struct lease *b = *(const struct lease *const *)right;
    if (a->expires_ns != b->expires_ns)
        return a->expires_ns < b->expires_ns ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

struct storage_lease *lease_all(struct lease_table *t, struct arena *arena, size_t *n)
{
    *n = 0;
    pthread_mutex_lock(&t->lock);
    const struct lease **leases = arena_alloc(arena, (t->leases.n + 1) * sizeof(leases[0]));
    struct storage_lease *all = arena_alloc(arena, (t->leases.n + 1) * sizeof(all[0]));
    hashmap_each (&t->leases, e)
        leases[(*n)++] = e->value;
    qsort(leases, *n, sizeof(leases[0]), compare_ends);
    for (size_t i = 0; i < *n; i++)
        all[i] = describe(t, leases[i]);
    pthread_mutex_unlock(&t->lock);
    return all;
}

struct mvcc_lease *lease_list(struct lease_table *t, size_t *n)
{
    *n = 0;
    pthread_mutex_lock(&t->lock);
    struct mvcc_lease *list = xmalloc((t->leases.n + 1) * sizeof(list[0]));
    hashmap_each (&t->leases, e) {
        struct lease *l = e->value;
        list[(*n)++] = (struct mvcc_lease){ l->id, l->ttl_s };
    }
    pthread_mutex_unlock(&t->lock);
    return list;
}

int64_t lease_next_expired(struct lease_table *t, int64_t *next_ns)
{
    int64_t expired = 0, now = clock_monotonic_ns(t->clock);
    *next_ns = 0;
    pthread_mutex_lock(&t->lock);
    hashmap_each (&t->leases, e) {
        struct lease *l = e->value;
        if (l->is_ending)
            continue;
        if (l->expires_ns <= now && !expired) {
            expired = l->id;
            l->is_ending = true;
        } else if (!*next_ns || l->expires_ns < *next_ns) {
            *next_ns = l->expires_ns;
        }
    }
    pthread_mutex_unlock(&t->lock);
    return expired;
}

bool lease_is_ending(struct lease_table *t, int64_t id)
{
    pthread_mutex_lock(&t->lock);
    const struct lease *l = hashmap_get(&t->leases, id_key(&id));
    bool is_ending = l && l->is_ending;
    pthread_mutex_unlock(&t->lock);
    return is_ending;
}

void lease_retry(struct lease_table *t, int64_t id)
{
    pthread_mutex_lock(&t->lock);
    struct lease *l = hashmap_get(&t->leases, id_key(&id));
    if (l && l->is_ending) {
        l->is_ending = false;
        l->expires_ns = clock_monotonic_ns(t->clock) + RETRY_NS;
    }
    pthread_mutex_unlock(&t->lock);
}
