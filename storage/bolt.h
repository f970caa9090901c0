/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bolt.h - bbolt's file format: pages, the items in them, and the two meta pages at the front.
 *
 * Little-endian, as the machines are that we run on.  Positions count from the item that holds
 * them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BOLT_MAGIC     0xED0CDAEDu
#define BOLT_FORMAT    2u
#define BOLT_BRANCH    0x01
#define BOLT_LEAF      0x02
#define BOLT_META      0x04
#define BOLT_FREELIST  0x10
#define BOLT_IS_BUCKET 1u /* of an item: its value is a bucket */

struct bolt_page {
    uint64_t id;
    uint16_t flags, count;
    uint32_t overflow; /* pages that follow and belong to it */
};
struct bolt_leaf {
    uint32_t flags, pos, key_len, value_len;
};
struct bolt_branch {
    uint32_t pos, key_len;
    uint64_t page;
};
struct bolt_bucket {
    uint64_t root; /* 0: its one page follows */
    uint64_t sequence;
};
struct bolt_meta {
    uint32_t magic, version, page_bytes, flags;
    struct bolt_bucket root;
    uint64_t freelist, pages, txid, checksum;
};
_Static_assert(sizeof(struct bolt_page) == 16 && sizeof(struct bolt_leaf) == 16 &&
                   sizeof(struct bolt_branch) == 16 && sizeof(struct bolt_meta) == 64,
               "no padding");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is little-endian");

/* FNV-1a over all before the checksum. */
static inline uint64_t bolt_meta_checksum(const struct bolt_meta *m)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < offsetof(struct bolt_meta, checksum); i++)
        hash = (hash ^ ((const uint8_t *)m)[i]) * UINT64_C(1099511628211);
    return hash;
}
