/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf_decode.c - protobuf to trees. */
#include "api/protobuf.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/limits.h"
#include "base/varint.h"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* One field as it stands in a message. */
struct item {
    uint32_t number;
    enum wire wire;
    uint64_t integer;   /* varint, fixed */
    struct bytes bytes; /* length-delimited */
};

struct decoder {
    struct arena *arena;
    struct error *err;
    int depth;
};

static int malformed(struct decoder *d, const char *what)
{
    return error_set(d->err, ERR_BAD_REQUEST, "proto: %s", what);
}

static bool read_fixed(struct bytes *in, size_t n, uint64_t *out)
{
    if (in->len < n)
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)(uint8_t)in->data[i] << (8 * i);
    *in = (struct bytes){ in->data + n, in->len - n };
    return true;
}

/* 1: *OUT is the next field; 0: the message has ended; -1. */
static int next_item(struct decoder *d, struct bytes *in, struct item *out)
{
    uint64_t tag, len;
    if (in->len == 0)
        return 0;
    if (!varint_read(in, &tag))
        return malformed(d, "unexpected EOF");
    *out = (struct item){ .number = (uint32_t)(tag >> 3), .wire = (enum wire)(tag & 7) };
    bool ok = false;
    switch (out->wire) {
    case WIRE_VARINT:
        ok = varint_read(in, &out->integer);
        break;
    case WIRE_FIXED64:
        ok = read_fixed(in, 8, &out->integer);
        break;
    case WIRE_FIXED32:
        ok = read_fixed(in, 4, &out->integer);
        break;
    case WIRE_BYTES:
        ok = varint_read(in, &len) && len <= in->len;
        if (ok) {
            out->bytes = (struct bytes){ in->data, (size_t)len };
            *in = (struct bytes){ in->data + len, in->len - (size_t)len };
        }
        break;
    }
    return ok ? 1 : malformed(d, "illegal wireType or unexpected EOF");
}

/* The integer and bytes fields with numbers 1 to 3 of a small fixed message. */
struct small {
    int64_t integers[4];
    struct bytes bytes[4];
};

static int read_small(struct decoder *d, struct bytes in, struct small *out)
{
    struct item it;
    int rc;
    *out = (struct small){ 0 };
    while ((rc = next_item(d, &in, &it)) > 0) {
        if (it.number > 3)
            continue;
        out->integers[it.number] = (int64_t)it.integer;
        out->bytes[it.number] = it.bytes;
    }
    return rc;
}

/* ---- values ---- */

static int set_string(struct decoder *d, struct bytes v, struct json *out)
{
    *out = (struct json){ .type = JSON_STRING,
                          .len = (uint32_t)v.len,
                          .string = arena_strndup(d->arena, v.data, v.len) };
    return 0;
}

/* metav1.Time's zero value is no time at all: null, which shaping drops. */
static int decode_time(struct decoder *d, struct bytes in, bool is_micro, struct json *out)
{
    struct small s;
    char text[TIME_TEXT_BYTES];
    if (read_small(d, in, &s) < 0)
        return -1;
    if (s.integers[1] == 0 && s.integers[2] == 0)
        return 0;
    if (s.integers[1] > INT64_MAX / NS_PER_S || s.integers[1] < INT64_MIN / NS_PER_S)
        return malformed(d, "time out of range");
    int64_t ns = s.integers[1] * NS_PER_S;
    if (is_micro)
        time_format_micro(ns + s.integers[2] % NS_PER_S, text);
    else
        time_format(ns, text);
    *out = json_string_value(d->arena, text);
    return 0;
}

static int decode_duration(struct decoder *d, struct bytes in, struct json *out)
{
    struct small s;
    char text[TIME_TEXT_BYTES];
    if (read_small(d, in, &s) < 0)
        return -1;
    duration_format(s.integers[1], text);
    *out = json_string_value(d->arena, text);
    return 0;
}

static int decode_int_or_string(struct decoder *d, struct bytes in, struct json *out)
{
    struct small s; /* type 0: the number in 2; 1: the text in 3 */
    if (read_small(d, in, &s) < 0)
        return -1;
    if (s.integers[1] == 1)
        return set_string(d, s.bytes[3], out);
    *out = json_int_value((int32_t)s.integers[2]);
    return 0;
}

static int decode_quantity(struct decoder *d, struct bytes in, struct json *out)
{
    struct small s;
    if (read_small(d, in, &s) < 0)
        return -1;
    return set_string(d, s.bytes[1].len ? s.bytes[1] : BYTES("0"), out);
}

/* RawExtension, FieldsV1 and JSON hold JSON text; the three unions of JSON schemas have messages of
 * their own, which clients send as JSON only. */
static int decode_raw(struct decoder *d, const struct schema_type *type, struct bytes in,
                      struct json *out)
{
    struct small s;
    if (str_has_prefix(type->go_name, "JSONSchemaPropsOr"))
        return error_set(d->err, ERR_UNSUPPORTED_MEDIA_TYPE,
                         "custom resource definitions are taken as application/json only");
    if (read_small(d, in, &s) < 0)
        return -1;
    if (s.bytes[1].len == 0)
        return 0;
    struct json *v = json_parse(s.bytes[1], d->arena, NULL, d->err);
    if (!v)
        return -1;
    *out = *v;
    return 0;
}

static int decode_strings(struct decoder *d, struct bytes in, struct json *out)
{
    struct item it;
    int rc;
    *out = *json_new(d->arena, JSON_ARRAY);
    while ((rc = next_item(d, &in, &it)) > 0) {
        struct json text;
        set_string(d, it.bytes, &text);
        json_append(d->arena, out, text);
    }
    return rc;
}

static int decode_message(struct decoder *d, const struct schema_type *type, struct bytes in,
                          struct json *out);

static int decode_object(struct decoder *d, const struct schema_type *type, struct bytes in,
                         struct json *out)
{
    *out = *json_new(d->arena, JSON_OBJECT);
    return decode_message(d, type, in, out);
}

static double as_double(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static int decode_value(struct decoder *d, const struct schema_type *type, const struct item *it,
                        struct json *out)
{
    *out = (struct json){ .type = JSON_NULL };
    switch (type->scalar) {
    case SCHEMA_OBJECT:
        return decode_object(d, type, it->bytes, out);
    case SCHEMA_STRING:
        return set_string(d, it->bytes, out);
    case SCHEMA_BOOL:
        *out = json_bool_value(it->integer != 0);
        return 0;
    case SCHEMA_INT32:
        *out = json_int_value((int32_t)it->integer);
        return 0;
    case SCHEMA_INT64:
    case SCHEMA_UINT32:
        *out = json_int_value((int64_t)it->integer);
        return 0;
    case SCHEMA_DOUBLE:
        *out = (struct json){ .type = JSON_DOUBLE, .number = as_double(it->integer) };
        return 0;
    case SCHEMA_BYTES:
        *out = json_string_value(d->arena, base64_encode(it->bytes, d->arena));
        return 0;
    case SCHEMA_QUANTITY:
        return decode_quantity(d, it->bytes, out);
    case SCHEMA_INT_OR_STRING:
        return decode_int_or_string(d, it->bytes, out);
    case SCHEMA_TIME:
        return decode_time(d, it->bytes, false, out);
    case SCHEMA_MICRO_TIME:
        return decode_time(d, it->bytes, true, out);
    case SCHEMA_DURATION:
        return decode_duration(d, it->bytes, out);
    case SCHEMA_RAW:
        return decode_raw(d, type, it->bytes, out);
    case SCHEMA_STRINGS:
        return decode_strings(d, it->bytes, out);
    }
    return malformed(d, "unknown type");
}

/* ---- fields ---- */

static struct json *container_of(struct decoder *d, struct json *object, const char *name,
                                 enum json_type type)
{
    const struct json *have = json_get(object, name);
    return have ? (struct json *)have
                : json_set_static(d->arena, object, name, *json_new(d->arena, type));
}

static int decode_map_entry(struct decoder *d, const struct schema_field *f, struct bytes in,
                            struct json *map)
{
    struct item it, value = { .wire = WIRE_BYTES };
    const char *key = "";
    int rc;
    while ((rc = next_item(d, &in, &it)) > 0) {
        if (it.number == 1)
            key = arena_strndup(d->arena, it.bytes.data, it.bytes.len);
        else if (it.number == 2)
            value = it;
    }
    struct json v;
    if (rc < 0 || decode_value(d, f->type, &value, &v) < 0)
        return -1;
    json_set(d->arena, map, key, v);
    return 0;
}

static bool is_number(const struct schema_type *t)
{
    return t->scalar == SCHEMA_INT32 || t->scalar == SCHEMA_INT64 || t->scalar == SCHEMA_UINT32 ||
           t->scalar == SCHEMA_BOOL;
}

static int decode_list_item(struct decoder *d, const struct schema_field *f, const struct item *it,
                            struct json *list)
{
    struct json v;
    if (!is_number(f->type) || it->wire != WIRE_BYTES) {
        if (decode_value(d, f->type, it, &v) < 0)
            return -1;
        json_append(d->arena, list, v);
        return 0;
    }
    struct bytes packed = it->bytes;
    while (packed.len > 0) {
        struct item one = { .wire = WIRE_VARINT };
        if (!varint_read(&packed, &one.integer))
            return malformed(d, "unexpected EOF");
        if (decode_value(d, f->type, &one, &v) < 0)
            return -1;
        json_append(d->arena, list, v);
    }
    return 0;
}

static int decode_field(struct decoder *d, const struct schema_field *f, const struct item *it,
                        struct json *object)
{
    if (f->flags & SCHEMA_INLINE)
        return decode_message(d, f->type, it->bytes, object);
    if (f->flags & SCHEMA_NO_JSON)
        return 0;
    switch ((enum schema_card)f->card) {
    case SCHEMA_LIST:
        return decode_list_item(d, f, it, container_of(d, object, f->name, JSON_ARRAY));
    case SCHEMA_MAP:
        return decode_map_entry(d, f, it->bytes, container_of(d, object, f->name, JSON_OBJECT));
    case SCHEMA_SINGLE:
        break;
    }
    struct json v;
    if (decode_value(d, f->type, it, &v) < 0)
        return -1;
    if (v.type != JSON_NULL)
        json_set_static(d->arena, object, f->name, v);
    return 0;
}

static const struct schema_field *field_numbered(const struct schema_type *type, uint32_t number)
{
    for (size_t i = 0; i < type->fields_n; i++)
        if (type->fields[i].proto == number)
            return &type->fields[i];
    return NULL;
}

static int decode_message(struct decoder *d, const struct schema_type *type, struct bytes in,
                          struct json *out)
{
    struct item it;
    int rc;
    if (++d->depth > JSON_DEPTH_MAX)
        return malformed(d, "nested too deep");
    while ((rc = next_item(d, &in, &it)) > 0) {
        const struct schema_field *f = it.number ? field_numbered(type, it.number) : NULL;
        if (f && decode_field(d, f, &it, out) < 0)
            return -1;
    }
    d->depth--;
    return rc;
}

/* ---- the envelope ---- */

struct json *protobuf_decode(const struct schema_type *type, const char *kind, struct bytes data,
                             struct arena *arena, struct error *err)
{
    struct decoder d = { .arena = arena, .err = err };
    struct small envelope, meta;
    if (data.len < 4 || memcmp(data.data, "k8s\0", 4) != 0) {
        error_set(err, ERR_BAD_REQUEST,
                  "provided data does not appear to be a protobuf message, expected prefix [107 56 "
                  "115 0]");
        return NULL;
    }
    struct bytes unknown = { data.data + 4, data.len - 4 };
    if (read_small(&d, unknown, &envelope) < 0 || read_small(&d, envelope.bytes[1], &meta) < 0)
        return NULL;
    struct json *out = json_new(arena, JSON_OBJECT), text;
    set_string(&d, meta.bytes[1], &text);
    json_set_static(arena, out, "apiVersion", text);
    set_string(&d, meta.bytes[2], &text);
    json_set_static(arena, out, "kind", text);
    if (meta.bytes[2].len && !bytes_equal_str(meta.bytes[2], kind))
        return out;
    return decode_message(&d, type, envelope.bytes[2], out) < 0 ? NULL : out;
}
