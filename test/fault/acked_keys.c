/* SPDX-License-Identifier: Apache-2.0 */
/* acked_keys.c - a number at the front of each value, and zeros behind it. */
#include "test/fault/acked_keys.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY_BYTES 32

void acked_die(const struct acked_keys *a, const char *what, const char *detail)
{
    printf("not ok - %s: %s: %s\n", a->program, what, detail);
    exit(1);
}

struct storage *acked_open(const struct acked_keys *a, const char *dir)
{
    struct error err = { 0 };
    struct storage_embedded_config config = { .dir = dir, .compact_interval_ms = -1 };
    struct storage *s = storage_open_embedded(&config, &err);
    if (!s)
        acked_die(a, "open", err.message);
    return s;
}

int acked_put(struct acked_keys *a, struct storage *s, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    char key[KEY_BYTES], *value = arena_zalloc(arena, a->value_bytes);
    int k = (int)(++a->last % ACKED_KEYS);
    snprintf(key, sizeof(key), "key-%d", k);
    snprintf(value, a->value_bytes, "%lld", (long long)a->last);
    struct storage_op op = { .type = STORAGE_PUT,
                             .key = bytes_of(key),
                             .value = { value, a->value_bytes } };
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    struct storage_txn_result out;
    if (storage_txn(s, &txn, arena, &out, err) < 0)
        return -1;
    a->numbers[k] = a->last;
    return 0;
}

void acked_check(const struct acked_keys *a, struct storage *s)
{
    for (int k = 0; k < ACKED_KEYS; k++) {
        scoped(arena) struct arena *arena = arena_new();
        char key[KEY_BYTES];
        snprintf(key, sizeof(key), "key-%d", k);
        struct storage_range r = { .key = bytes_of(key) };
        struct storage_range_result out;
        struct error err = { 0 };
        if (storage_range(s, &r, arena, &out, &err) < 0)
            acked_die(a, "a read failed", err.message);
        if ((out.n ? atoll(out.kvs[0].value.data) : 0) != a->numbers[k])
            acked_die(a, key, "does not hold what was acknowledged");
    }
}
