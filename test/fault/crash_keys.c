/* SPDX-License-Identifier: Apache-2.0 */
/* crash_keys.c - names, and values that can be checked. */
#include "test/fault/crash_keys.h"

#include <endian.h>

#include "test/fault/etcd_calls.h"

static const char *const names[KEYS] = {
    "k/0", "k/1", "k/2", "k/3", "k/4", "k/5", "k/6", "k/7", "l/0",
    "l/1", "l/2", "l/3", "m/0", "m/1", "m/2", "m/3", "m/4", "m/5",
};

/* Within a page, over several log blocks, and in pages of their own. */
static const size_t sizes[] = { 12, 40, 300, 700, 1500, 5000 };

const char *key_name(uint32_t key)
{
    return names[key];
}

uint32_t key_find(ProtobufCBinaryData name)
{
    for (uint32_t k = 0; k < KEYS; k++)
        if (bytes_equal(etcd_data(name), bytes_of(names[k])))
            return k;
    return KEYS;
}

static uint8_t pattern(uint64_t number, size_t i)
{
    return (uint8_t)((number * 131 + i) >> (i % 3));
}

size_t value_make(uint64_t number, uint8_t out[VALUE_BYTES_MAX])
{
    size_t len = sizes[number % ARRAY_LEN(sizes)];
    uint64_t head = htole64(number);
    memcpy(out, &head, sizeof(head));
    for (size_t i = sizeof(head); i < len; i++)
        out[i] = pattern(number, i);
    return len;
}

uint64_t value_read(ProtobufCBinaryData value)
{
    uint64_t number;
    if (value.len < sizeof(number))
        return 0;
    memcpy(&number, value.data, sizeof(number));
    number = le64toh(number);
    if (value.len != sizes[number % ARRAY_LEN(sizes)])
        return 0;
    for (size_t i = sizeof(number); i < value.len; i++)
        if (value.data[i] != pattern(number, i))
            return 0;
    return number;
}

int change_of(const Etcd__KeyValue *kv, bool is_delete, struct change *out, struct error *err)
{
    *out = (struct change){ .revision = kv->mod_revision, .key = key_find(kv->key) };
    if (out->key == KEYS)
        return error_set(err, ERR_IO, "a key that nobody wrote");
    if (is_delete)
        return 0;
    out->value = value_read(kv->value);
    out->lease = kv->lease;
    out->create_revision = kv->create_revision;
    out->version = kv->version;
    return out->value
               ? 0
               : error_set(err, ERR_IO, "%s holds a value that nobody wrote", names[out->key]);
}
