/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_keys.h - the keys and values of the crash test.
 *
 * A value is a number and a pattern made from it, so that a value that was mixed up or cut short
 * is found out; no number is written twice.
 */
#pragma once

#include "storage/etcd.pb-c.h"
#include "test/fault/timeline.h"

/* In the order of their names. */
enum {
    REGISTERS = 8, /* k/0...: puts, deletions and swaps */
    LEASED = 4,    /* l/0...: belong to leases */
    GROUPED = 6,   /* m/0...: written several in a transaction, deleted as a range */
    FIRST_LEASED = REGISTERS,
    FIRST_GROUPED = FIRST_LEASED + LEASED,
    KEYS = FIRST_GROUPED + GROUPED,
};
#define KEY_BYTES_MAX   8
#define VALUE_BYTES_MAX 6000

const char *key_name(uint32_t key);
/* The key, or KEYS. */
uint32_t key_find(ProtobufCBinaryData name);

size_t value_make(uint64_t number, uint8_t out[VALUE_BYTES_MAX]);
/* 0: it is not a value that somebody wrote. */
uint64_t value_read(ProtobufCBinaryData value);

/* What a key-value says.  -1: its key or its value is nobody's. */
must_check int change_of(const Etcd__KeyValue *kv, bool is_delete, struct change *out,
                         struct error *err);
