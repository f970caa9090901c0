/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - encodes, decodes and checks versions. */
#include "storage/record.h"

#include <endian.h>

#define FLAG_DELETE  1u
#define FLAG_POINTER 2u
#define FLAG_KEY     4u
#define FLAG_APART   8u

struct header {
    uint32_t crc, flags, key_len, sub, prev_sub, value_len;
    int64_t create, mod, version, lease, prev, next;
};
_Static_assert(sizeof(struct header) == RECORD_HEADER_BYTES, "record header has no padding");
_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "the format on disk is little-endian");

static uint32_t checksum(const char *after_crc, size_t len, struct bytes key_elsewhere)
{
    uint32_t crc = crc32c(0, after_crc, len);
    return key_elsewhere.len ? crc32c(crc, key_elsewhere.data, key_elsewhere.len) : crc;
}

void record_encode(const struct record *r, enum record_form form, struct buffer *out)
{
    struct header h = {
        .flags = (r->is_delete ? FLAG_DELETE : 0) | (r->is_pointer ? FLAG_POINTER : 0) |
                 (r->is_apart ? FLAG_APART : 0) | (form == RECORD_WITH_KEY ? FLAG_KEY : 0),
        .key_len = (uint32_t)r->key.len,
        .sub = r->sub,
        .prev_sub = r->prev_sub,
        .value_len = r->is_pointer && !r->is_apart ? 0 : (uint32_t)r->value.len,
        .create = r->create_revision,
        .mod = r->mod_revision,
        .version = r->version,
        .lease = r->lease,
        .prev = r->prev_revision,
        .next = r->next_revision,
    };
    size_t start = out->len;
    struct bytes payload = { r->value.data, h.value_len };
    if (r->is_apart)
        payload = (struct bytes){ (const char *)&r->value_crc, sizeof(r->value_crc) };
    buffer_reserve(out, sizeof(h) + r->key.len + payload.len);
    buffer_add(out, &h, sizeof(h));
    if (form == RECORD_WITH_KEY)
        buffer_add_bytes(out, r->key);
    if (payload.len)
        buffer_add_bytes(out, payload);
    struct bytes elsewhere = form == RECORD_BARE ? r->key : (struct bytes){ 0 };
    h.crc =
        checksum(out->data + start + sizeof(h.crc), out->len - start - sizeof(h.crc), elsewhere);
    memcpy(out->data + start, &h.crc, sizeof(h.crc));
}

int record_decode(struct bytes data, struct bytes key, enum record_check check, struct record *out,
                  struct error *err)
{
    struct header h;
    if (data.len < sizeof(h))
        return error_set(err, ERR_IO, "corrupt record: %zu bytes are too few", data.len);
    memcpy(&h, data.data, sizeof(h));
    size_t inside = h.flags & FLAG_KEY ? h.key_len : 0;
    bool is_apart = h.flags & FLAG_APART;
    size_t payload = is_apart ? sizeof(out->value_crc) : h.value_len;
    if (data.len != sizeof(h) + inside + payload || (!inside && h.key_len != key.len))
        return error_set(err, ERR_IO, "corrupt record: its lengths do not add up");
    struct bytes elsewhere = inside ? (struct bytes){ 0 } : key;
    if (check == RECORD_VERIFY &&
        checksum(data.data + sizeof(h.crc), data.len - sizeof(h.crc), elsewhere) != h.crc)
        return error_set(err, ERR_IO, "corrupt record at revision %lld: checksum mismatch",
                         (long long)h.mod);
    *out = (struct record){
        .key = inside ? (struct bytes){ data.data + sizeof(h), h.key_len } : key,
        .value = { is_apart ? NULL : data.data + sizeof(h) + inside, h.value_len },
        .create_revision = h.create,
        .mod_revision = h.mod,
        .version = h.version,
        .lease = h.lease,
        .sub = h.sub,
        .is_delete = h.flags & FLAG_DELETE,
        .is_pointer = h.flags & FLAG_POINTER,
        .is_apart = is_apart,
        .prev_revision = h.prev,
        .prev_sub = h.prev_sub,
        .next_revision = h.next,
    };
    if (is_apart)
        memcpy(&out->value_crc, data.data + sizeof(h) + inside, sizeof(out->value_crc));
    return 0;
}

struct storage_kv record_kv(const struct record *r)
{
    return (struct storage_kv){
        .key = r->key,
        .value = r->value,
        .create_revision = r->create_revision,
        .mod_revision = r->mod_revision,
        .version = r->version,
        .lease = r->lease,
    };
}
