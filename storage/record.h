/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - one version of one key, and its bytes on disk.
 *
 *     | crc | flags | key_len | sub | prev_sub | value_len |        6 * 4 bytes
 *     | create | mod | version | lease | prev | next |              6 * 8 bytes
 *     | key (unless the place where it lies names it) | value, or its checksum if it lies apart |
 *
 * All little-endian.  The checksum covers all that follows it, and the key wherever that lies.
 *
 * Threads: any.
 */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "storage/storage.h"

struct record {
    struct bytes key;
    struct bytes value;
    int64_t create_revision;
    int64_t mod_revision;
    int64_t version;
    int64_t lease;
    uint32_t sub; /* place among the writes of one transaction */
    bool is_delete;
    bool is_pointer;       /* history only: the value is still the key's newest, look there */
    bool is_apart;         /* in a row: values.h has the value, and VALUE only its length */
    uint32_t value_crc;    /* of a value that lies apart */
    int64_t prev_revision; /* the version before it, 0: none */
    uint32_t prev_sub;
    int64_t next_revision; /* history only: what replaced it; 0: nothing yet */
};

#define RECORD_HEADER_BYTES 72

enum record_form { RECORD_WITH_KEY, RECORD_BARE };

void record_encode(const struct record *r, enum record_form form, struct buffer *out);

enum record_check { RECORD_VERIFY, RECORD_TRUST }; /* trust: header only, for counting */

/* KEY names the record where the form is bare, and is empty otherwise.  OUT borrows from DATA and
 * KEY. ERR_IO when it is corrupt. */
must_check int record_decode(struct bytes data, struct bytes key, enum record_check check,
                             struct record *out, struct error *err);

struct storage_kv record_kv(const struct record *r);

uint32_t crc32c(uint32_t crc, const void *data, size_t len);
