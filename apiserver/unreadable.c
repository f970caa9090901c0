/* SPDX-License-Identifier: Apache-2.0 */
/* unreadable.c - which stored values cannot be read, and why. */
#include "apiserver/unreadable.h"

#include "base/arena.h"

struct unreadable_value {
    struct error reason;
    bool is_swept; /* unless it is noted again */
    size_t key_len;
    char key[];
};

void unreadable_deinit(struct unreadable *u)
{
    hashmap_each (&u->by_key, e)
        free(e->value);
    hashmap_deinit(&u->by_key);
}

void unreadable_forget(struct unreadable *u, struct bytes key)
{
    if (u->by_key.n)
        free(hashmap_remove(&u->by_key, key));
}

void unreadable_note(struct unreadable *u, struct bytes key, const struct error *reason)
{
    struct unreadable_value *v = xcalloc(1, sizeof(*v) + key.len);
    v->reason = *reason;
    v->key_len = key.len;
    memcpy(v->key, key.data, key.len);
    free(hashmap_put(&u->by_key, (struct bytes){ v->key, v->key_len }, v));
}

size_t unreadable_count(const struct unreadable *u)
{
    return u->by_key.n;
}

static int fail(const struct unreadable_value *v, struct error *err)
{
    *err = v->reason;
    return -1;
}

int unreadable_check(const struct unreadable *u, struct bytes key, struct error *err)
{
    const struct unreadable_value *v = u->by_key.n ? hashmap_get(&u->by_key, key) : NULL;
    return v ? fail(v, err) : 0;
}

int unreadable_check_prefix(const struct unreadable *u, struct bytes prefix, struct error *err)
{
    hashmap_each (&u->by_key, e) {
        if (bytes_has_prefix(e->key, prefix))
            return fail(e->value, err);
    }
    return 0;
}

void unreadable_sweep_begin(struct unreadable *u)
{
    hashmap_each (&u->by_key, e)
        ((struct unreadable_value *)e->value)->is_swept = true;
}

void unreadable_sweep_end(struct unreadable *u)
{
    struct hashmap kept = { 0 };
    hashmap_each (&u->by_key, e) {
        if (((struct unreadable_value *)e->value)->is_swept)
            free(e->value);
        else
            hashmap_put(&kept, e->key, e->value);
    }
    hashmap_deinit(&u->by_key);
    u->by_key = kept;
}
