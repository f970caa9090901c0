/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf_encode.c - trees to protobuf. */

#include "api/protobuf.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/varint.h"

#define FIELDS_MAX 256 /* of one type */

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2 };

static void add_tag(struct buffer *out, uint32_t number, enum wire wire)
{
    varint_add(out, (uint64_t)number << 3 | wire);
}

static void add_bytes(struct buffer *out, uint32_t number, struct bytes b)
{
    add_tag(out, number, WIRE_BYTES);
    varint_add(out, b.len);
    buffer_add_bytes(out, b);
}

static void add_integer(struct buffer *out, uint32_t number, int64_t v)
{
    add_tag(out, number, WIRE_VARINT);
    varint_add(out, (uint64_t)v);
}

/* A message whose length is not known before it is written: the bytes are moved up once it is. */
static size_t open_message(struct buffer *out, uint32_t number)
{
    add_tag(out, number, WIRE_BYTES);
    return out->len;
}

static void close_message(struct buffer *out, size_t start)
{
    struct buffer length = { 0 };
    size_t len = out->len - start;
    varint_add(&length, len);
    buffer_reserve(out, length.len);
    memmove(out->data + start + length.len, out->data + start, len);
    memcpy(out->data + start, length.data, length.len);
    out->len += length.len;
    buffer_free(&length);
}

static struct bytes text_of(const struct json *v)
{
    return v && v->type == JSON_STRING ? (struct bytes){ v->string, v->len }
                                       : (struct bytes){ "", 0 };
}

/* ---- messages that JSON writes as one value ---- */

static void add_time(struct buffer *out, const struct json *v)
{
    int64_t ns;
    if (!json_text(v) || time_parse(json_text(v), &ns) < 0)
        return; /* the zero time is an empty message */
    int64_t seconds = ns / NS_PER_S, rest = ns % NS_PER_S;
    if (rest < 0) {
        seconds--;
        rest += NS_PER_S;
    }
    add_integer(out, 1, seconds);
    add_integer(out, 2, rest);
}

static void add_raw(struct buffer *out, const struct json *v)
{
    scoped(buffer) struct buffer json = { 0 };
    if (!v || v->type == JSON_NULL)
        return;
    json_print(v, &json);
    add_bytes(out, 1, buffer_bytes(&json));
}

static void add_wrapped(struct buffer *out, enum schema_scalar scalar, const struct json *v)
{
    int64_t ns = 0;
    switch (scalar) {
    case SCHEMA_QUANTITY:
        add_bytes(out, 1, text_of(v).len ? text_of(v) : BYTES("0"));
        break;
    case SCHEMA_INT_OR_STRING:
        add_integer(out, 1, json_is(v, JSON_STRING));
        add_integer(out, 2, json_is(v, JSON_INT) ? v->integer : 0);
        add_bytes(out, 3, text_of(v));
        break;
    case SCHEMA_TIME:
    case SCHEMA_MICRO_TIME:
        add_time(out, v);
        break;
    case SCHEMA_DURATION:
        if (json_text(v))
            duration_parse(json_text(v), &ns);
        add_integer(out, 1, ns);
        break;
    case SCHEMA_STRINGS:
        json_each_item (v, item) {
            add_bytes(out, 1, text_of(item));
        }
        break;
    default:
        add_raw(out, v);
        break;
    }
}

/* ---- values and messages ---- */

static void add_message(struct buffer *out, const struct schema_type *type,
                        const struct json *object);

static void add_base64(struct buffer *out, uint32_t number, const struct json *v)
{
    scoped(arena) struct arena *a = arena_new();
    struct bytes raw = { "", 0 };
    if (base64_decode(text_of(v), a, &raw) < 0)
        raw = (struct bytes){ "", 0 };
    add_bytes(out, number, raw);
}

static void add_value(struct buffer *out, uint32_t number, const struct schema_type *type,
                      const struct json *v)
{
    size_t start;
    switch (type->scalar) {
    case SCHEMA_BOOL:
        add_integer(out, number, json_is(v, JSON_BOOL) && v->boolean);
        return;
    case SCHEMA_INT32:
    case SCHEMA_INT64:
    case SCHEMA_UINT32:
        add_integer(out, number, json_is(v, JSON_INT) ? v->integer : 0);
        return;
    case SCHEMA_DOUBLE: {
        double d = json_is(v, JSON_DOUBLE) ? v->number
                   : json_is(v, JSON_INT)  ? (double)v->integer
                                           : 0;
        add_tag(out, number, WIRE_FIXED64);
        buffer_add(out, &d, sizeof(d));
        return;
    }
    case SCHEMA_STRING:
        add_bytes(out, number, text_of(v));
        return;
    case SCHEMA_BYTES:
        add_base64(out, number, v);
        return;
    default:
        break;
    }
    start = open_message(out, number);
    if (type->scalar == SCHEMA_OBJECT)
        add_message(out, type, v);
    else
        add_wrapped(out, type->scalar, v);
    close_message(out, start);
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const struct json_member *const *)a)->name,
                  (*(const struct json_member *const *)b)->name);
}

static void add_map(struct buffer *out, const struct schema_field *f, const struct json *map)
{
    if (!json_is(map, JSON_OBJECT) || map->len == 0)
        return;
    const struct json_member **sorted = xmalloc(map->len * sizeof(const struct json_member *));
    for (uint32_t i = 0; i < map->len; i++)
        sorted[i] = &map->members[i];
    qsort(sorted, map->len, sizeof(const struct json_member *), by_key);
    for (uint32_t i = 0; i < map->len; i++) {
        size_t start = open_message(out, f->proto);
        add_bytes(out, 1, bytes_of(sorted[i]->name));
        add_value(out, 2, f->type, &sorted[i]->value);
        close_message(out, start);
    }
    free(sorted);
}

static bool is_written_when_absent(const struct schema_field *f)
{
    return !(f->flags & SCHEMA_POINTER) && f->type->scalar != SCHEMA_BYTES &&
           f->type->scalar != SCHEMA_STRINGS;
}

static void add_field(struct buffer *out, const struct schema_field *f, const struct json *object)
{
    if (f->flags & SCHEMA_INLINE) {
        size_t start = open_message(out, f->proto);
        add_message(out, f->type, object);
        close_message(out, start);
        return;
    }
    const struct json *v = f->flags & SCHEMA_NO_JSON ? NULL : json_get(object, f->name);
    if (v && v->type == JSON_NULL)
        v = NULL;
    if (f->card == SCHEMA_MAP) {
        add_map(out, f, v);
    } else if (f->card == SCHEMA_LIST) {
        json_each_item (v, item) {
            add_value(out, f->proto, f->type, item);
        }
    } else if (v || is_written_when_absent(f)) {
        add_value(out, f->proto, f->type, v);
    }
}

static int by_number(const void *a, const void *b)
{
    return (*(const struct schema_field *const *)a)->proto -
           (*(const struct schema_field *const *)b)->proto;
}

static void add_message(struct buffer *out, const struct schema_type *type,
                        const struct json *object)
{
    const struct schema_field *sorted[FIELDS_MAX];
    size_t n = 0;
    bool is_sorted = true;
    for (size_t i = 0; i < type->fields_n && n < FIELDS_MAX; i++) {
        if (type->fields[i].proto == 0)
            continue;
        is_sorted &= n == 0 || sorted[n - 1]->proto < type->fields[i].proto;
        sorted[n++] = &type->fields[i];
    }
    if (!is_sorted)
        qsort(sorted, n, sizeof(const struct schema_field *), by_number);
    for (size_t i = 0; i < n; i++)
        add_field(out, sorted[i], object);
}

void protobuf_encode(const struct schema_type *type, const struct json *doc, struct buffer *out)
{
    static const struct json empty = { .type = JSON_STRING, .string = "" };
    const struct json *version = json_get(doc, "apiVersion"), *kind = json_get(doc, "kind");
    buffer_add(out, "k8s\0", 4);
    size_t meta = open_message(out, 1);
    add_bytes(out, 1, text_of(version ? version : &empty));
    add_bytes(out, 2, text_of(kind ? kind : &empty));
    close_message(out, meta);
    size_t raw = open_message(out, 2);
    add_message(out, type, doc);
    close_message(out, raw);
    add_bytes(out, 3, text_of(&empty));
    add_bytes(out, 4, text_of(&empty));
}
