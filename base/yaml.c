/* SPDX-License-Identifier: Apache-2.0 */
/* yaml.c - YAML to JSON trees and back, over libyaml; scalars are read as sigs.k8s.io/yaml does. */
#include "base/yaml.h"

#include <ctype.h>
#include <math.h>
#include <yaml.h>

#include "base/hashmap.h"
#include "base/limits.h"
#include "base/utf8.h"

#define EXPANDED_BYTES_MAX ((size_t)64 << 20) /* text that aliases may repeat in all */

struct anchor {
    struct json value;
    size_t nodes, bytes;
};

struct reader {
    yaml_parser_t parser;
    struct arena *arena;
    struct error *err;
    struct hashmap anchors;
    struct json_duplicates *repeated; /* NULL: a repeated key is an error */
    size_t nodes, bytes;              /* so far, aliases expanded */
    size_t depth;
};

/* ---- scalars ---- */

static bool is_any(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

/* Digits in BASE with "_" between them; false if there is anything else, or too much of it. */
static bool parse_digits(const char *p, int base, uint64_t *v)
{
    bool any = false;
    for (*v = 0; *p; p++) {
        if (*p == '_')
            continue;
        int digit = isdigit((unsigned char)*p)    ? *p - '0'
                    : isxdigit((unsigned char)*p) ? tolower((unsigned char)*p) - 'a' + 10
                                                  : 99;
        if (digit >= base || __builtin_mul_overflow(*v, (uint64_t)base, v) ||
            __builtin_add_overflow(*v, (uint64_t)digit, v))
            return false;
        any = true;
    }
    return any;
}

/* 12, -1_000, 0x1f, 0b11, 0o17 and, as in YAML 1.1, 017. */
static bool parse_int(const char *text, int64_t *out)
{
    bool is_negative = *text == '-';
    const char *p = text + (*text == '-' || *text == '+');
    int base = 10;
    if (*p == '0' && p[1]) {
        base = 8;
        p++;
        if (*p == 'x' || *p == 'X')
            base = 16;
        else if (*p == 'b' || *p == 'B')
            base = 2;
        if (base != 8 || *p == 'o' || *p == 'O')
            p++;
    }
    uint64_t v;
    if (!parse_digits(p, base, &v) || v > (uint64_t)INT64_MAX + is_negative)
        return false;
    *out = (int64_t)(is_negative ? -v : v);
    return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_float(const char *p)
{
    p += *p == '-' || *p == '+';
    size_t whole = strspn(p, "0123456789");
    p += whole;
    if (*p == '.') {
        size_t fraction = strspn(++p, "0123456789");
        if (whole + fraction == 0)
            return false;
        p += fraction;
    } else if (whole == 0) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        size_t digits = strspn(p, "0123456789");
        if (digits == 0)
            return false;
        p += digits;
    }
    return *p == 0;
}

static bool resolve_number(const char *text, struct json *out)
{
    if (!isdigit((unsigned char)*text) && !strchr("+-.", *text))
        return false;
    int64_t integer;
    if (parse_int(text, &integer)) {
        *out = json_int_value(integer);
        return true;
    }
    if (!is_float(text))
        return false;
    double v = strtod(text, NULL);
    if (!isfinite(v)) /* too large for a number: text, as in go-yaml */
        return false;
    /* The way to JSON text and back makes an integer of 1.0. */
    if (v >= -9.2e18 && v <= 9.2e18 && v == (double)(int64_t)v)
        *out = json_int_value((int64_t)v);
    else
        *out = (struct json){ .type = JSON_DOUBLE, .number = v };
    return true;
}

/* A plain scalar's meaning. */
static struct json resolve(struct arena *a, const char *text)
{
    static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
    static const char *const trues[] = { "y",    "Y",    "yes", "Yes", "YES", "true",
                                         "True", "TRUE", "on",  "On",  "ON",  NULL };
    static const char *const falses[] = { "n",     "N",     "no",  "No",  "NO",  "false",
                                          "False", "FALSE", "off", "Off", "OFF", NULL };
    struct json v;
    if (is_any(text, nulls))
        return (struct json){ .type = JSON_NULL };
    if (is_any(text, trues))
        return json_bool_value(true);
    if (is_any(text, falses))
        return json_bool_value(false);
    if (resolve_number(text, &v))
        return v;
    return json_string_value(a, text);
}

/* ---- reading ---- */

static int fail_at(struct reader *r, yaml_mark_t mark, const char *message)
{
    return error_set(r->err, ERR_BAD_REQUEST, "yaml: line %zu, column %zu: %s", mark.line + 1,
                     mark.column + 1, message);
}

static int next_event(struct reader *r, yaml_event_t *e)
{
    if (yaml_parser_parse(&r->parser, e))
        return 0;
    return fail_at(r, r->parser.problem_mark,
                   r->parser.problem ? r->parser.problem : "not valid YAML");
}

static int count(struct reader *r, size_t nodes, size_t bytes, yaml_mark_t mark)
{
    r->nodes += nodes;
    r->bytes += bytes;
    if (r->nodes > YAML_NODES_MAX || r->bytes > EXPANDED_BYTES_MAX)
        return fail_at(r, mark, "document contains excessive aliasing");
    return 0;
}

static int scalar(struct reader *r, const yaml_event_t *e, struct json *out)
{
    const char *text = (const char *)e->data.scalar.value;
    const char *tag = (const char *)e->data.scalar.tag;
    size_t len = e->data.scalar.length;
    bool is_text = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (tag && (strcmp(tag, "!") == 0 || strcmp(tag, YAML_STR_TAG) == 0))
        is_text = true;
    else if (tag && strcmp(tag, "tag:yaml.org,2002:binary") == 0)
        return fail_at(r, e->start_mark, "binary values are not supported");
    else if (tag)
        is_text = false;
    if (is_text)
        *out = (struct json){ .type = JSON_STRING,
                              .len = (uint32_t)len,
                              .string = arena_strndup(r->arena, text, len) };
    else if (strlen(text) != len)
        return fail_at(r, e->start_mark, "NUL in a plain value");
    else
        *out = resolve(r->arena, text);
    return count(r, 1, len, e->start_mark);
}

static int value(struct reader *r, yaml_event_t *e, struct json *out);

/* Containers are copied so that no two places of the tree are one; text, which nobody changes, is
 * not. */
static struct json copy_shape(const struct json *v, struct arena *a)
{
    struct json c = *v;
    c.room = 0;
    if (v->type == JSON_ARRAY && v->len) {
        c.items = arena_alloc(a, v->len * sizeof(*c.items));
        for (size_t i = 0; i < v->len; i++)
            c.items[i] = copy_shape(&v->items[i], a);
    } else if (v->type == JSON_OBJECT && v->len) {
        c.members = arena_alloc(a, v->len * sizeof(*c.members));
        for (size_t i = 0; i < v->len; i++)
            c.members[i] =
                (struct json_member){ v->members[i].name, copy_shape(&v->members[i].value, a) };
    }
    return c;
}

static int alias(struct reader *r, const yaml_event_t *e, struct json *out)
{
    const char *name = (const char *)e->data.alias.anchor;
    const struct anchor *known = hashmap_get(&r->anchors, bytes_of(name));
    if (!known)
        return error_set(r->err, ERR_BAD_REQUEST, "yaml: unknown anchor '%s' referenced", name);
    if (count(r, known->nodes, known->bytes, e->start_mark) < 0)
        return -1;
    *out = copy_shape(&known->value, r->arena);
    return 0;
}

static int sequence(struct reader *r, struct json *out)
{
    *out = (struct json){ .type = JSON_ARRAY };
    for (;;) {
        yaml_event_t e;
        if (next_event(r, &e) < 0)
            return -1;
        bool is_end = e.type == YAML_SEQUENCE_END_EVENT;
        struct json item;
        int rc = is_end ? 0 : value(r, &e, &item);
        yaml_event_delete(&e);
        if (is_end || rc < 0)
            return rc;
        json_append(r->arena, out, item);
    }
}

/* A key as JSON has it: text. */
static const char *key_text(struct reader *r, const struct json *key, yaml_mark_t mark)
{
    if (key->type == JSON_STRING) {
        if (strlen(key->string) == key->len)
            return key->string;
    } else if (key->type == JSON_BOOL || key->type == JSON_INT || key->type == JSON_DOUBLE) {
        scoped(buffer) struct buffer text = { 0 };
        json_print(key, &text);
        return arena_strndup(r->arena, text.data, text.len);
    }
    fail_at(r, mark, "a key must be text, a number or a boolean");
    return NULL;
}

static int repeated_key(struct reader *r, const char *name, yaml_mark_t mark)
{
    struct json_duplicates *d = r->repeated;
    if (!d)
        return error_set(r->err, ERR_BAD_REQUEST, "yaml: line %zu: key \"%s\" already set in map",
                         mark.line + 1, name);
    if (d->n < JSON_DUPLICATES_MAX) {
        d->paths = arena_grow(r->arena, d->paths, d->n, &d->capacity, sizeof(*d->paths));
        d->paths[d->n++] =
            arena_printf(r->arena, "line %zu: key \"%s\" already set in map", mark.line + 1, name);
    }
    return 0;
}

static int pair(struct reader *r, yaml_event_t *key_event, struct json *object,
                struct hashmap *names)
{
    struct json key, v;
    if (value(r, key_event, &key) < 0)
        return -1;
    const char *name = key_text(r, &key, key_event->start_mark);
    if (!name)
        return -1;
    bool is_repeated = hashmap_put(names, bytes_of(name), object);
    if (is_repeated && repeated_key(r, name, key_event->start_mark) < 0)
        return -1;
    yaml_event_t e;
    if (next_event(r, &e) < 0)
        return -1;
    int rc = value(r, &e, &v);
    yaml_event_delete(&e);
    if (rc < 0)
        return -1;
    if (is_repeated)
        json_set(r->arena, object, name, v);
    else
        json_add(r->arena, object, name, v);
    return 0;
}

static int mapping(struct reader *r, struct json *out)
{
    *out = (struct json){ .type = JSON_OBJECT };
    struct hashmap names = { 0 };
    int rc = 0;
    for (bool is_end = false; !is_end && rc == 0;) {
        yaml_event_t e;
        if (next_event(r, &e) < 0) {
            rc = -1;
            break;
        }
        is_end = e.type == YAML_MAPPING_END_EVENT;
        if (!is_end)
            rc = pair(r, &e, out, &names);
        yaml_event_delete(&e);
    }
    hashmap_deinit(&names);
    return rc;
}

static int container(struct reader *r, const yaml_event_t *e, struct json *out)
{
    if (r->depth == JSON_DEPTH_MAX)
        return fail_at(r, e->start_mark, "exceeded max depth");
    if (count(r, 1, 0, e->start_mark) < 0)
        return -1;
    r->depth++;
    int rc = e->type == YAML_SEQUENCE_START_EVENT ? sequence(r, out) : mapping(r, out);
    r->depth--;
    return rc;
}

static void remember(struct reader *r, const yaml_char_t *name, struct json v, size_t nodes,
                     size_t bytes)
{
    if (!name)
        return;
    struct anchor *known = arena_alloc(r->arena, sizeof(*known));
    *known = (struct anchor){ .value = v, .nodes = r->nodes - nodes, .bytes = r->bytes - bytes };
    hashmap_put(&r->anchors, bytes_of(arena_strdup(r->arena, (const char *)name)), known);
}

/* The value that E begins. */
static int value(struct reader *r, yaml_event_t *e, struct json *out)
{
    size_t nodes = r->nodes, bytes = r->bytes;
    const yaml_char_t *anchor = NULL;
    int rc;
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        anchor = e->data.scalar.anchor;
        rc = scalar(r, e, out);
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = e->data.sequence_start.anchor;
        rc = container(r, e, out);
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = e->data.mapping_start.anchor;
        rc = container(r, e, out);
        break;
    case YAML_ALIAS_EVENT:
        return alias(r, e, out);
    default:
        return fail_at(r, e->start_mark, "a value was expected");
    }
    if (rc == 0)
        remember(r, anchor, *out, nodes, bytes);
    return rc;
}

/* The events of one document up to its value; *OUT stays NULL if there is none. */
static int read_document(struct reader *r, struct json **out)
{
    for (;;) {
        yaml_event_t e;
        if (next_event(r, &e) < 0)
            return -1;
        int rc = 1;
        if (e.type == YAML_STREAM_END_EVENT || e.type == YAML_DOCUMENT_END_EVENT) {
            rc = 0;
        } else if (e.type != YAML_STREAM_START_EVENT && e.type != YAML_DOCUMENT_START_EVENT) {
            *out = arena_alloc(r->arena, sizeof(**out));
            rc = value(r, &e, *out);
        }
        yaml_event_delete(&e);
        if (rc <= 0)
            return rc;
    }
}

/* What follows the value must be the end: "a\n]" is an error, not a document and a rest. */
static int read_end(struct reader *r)
{
    for (yaml_event_type_t type = YAML_NO_EVENT; type != YAML_STREAM_END_EVENT;) {
        yaml_event_t e;
        if (next_event(r, &e) < 0)
            return -1;
        type = e.type;
        yaml_event_delete(&e);
    }
    return 0;
}

/* ---- documents ---- */

static bool is_separator(const char *p, const char *end)
{
    return end - p >= 3 && memcmp(p, "---", 3) == 0 &&
           (end - p == 3 || p[3] == '\n' || p[3] == '\r' || p[3] == ' ' || p[3] == '\t');
}

/* Takes the next document off *TEXT: up to a line that begins with "---", as YAML has it in every
 * context.  That line is the next document's own. */
static struct bytes take_document(struct bytes *text)
{
    const char *begin = text->data, *end = begin + text->len, *p = begin;
    bool may_end = !(p < end && *p == '%'); /* the "---" behind directives belongs to them */
    for (bool is_first = true; p < end; is_first = false) {
        if (is_separator(p, end) && !is_first) {
            if (may_end)
                break;
            may_end = true;
        }
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        p = line_end ? line_end + 1 : end;
    }
    *text = (struct bytes){ p, (size_t)(end - p) };
    return (struct bytes){ begin, (size_t)(p - begin) };
}

int yaml_next(struct bytes *text, struct arena *a, struct json **out, struct error *err)
{
    return yaml_next_lenient(text, a, out, NULL, err);
}

int yaml_next_lenient(struct bytes *text, struct arena *a, struct json **out,
                      struct json_duplicates *repeated, struct error *err)
{
    *out = NULL;
    if (text->len == 0)
        return 0;
    struct bytes document = take_document(text);
    struct reader r = { .arena = a, .repeated = repeated, .err = err };
    ensure(yaml_parser_initialize(&r.parser));
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)document.data, document.len);
    struct json *v = NULL;
    int rc = read_document(&r, &v);
    if (rc == 0 && v)
        rc = read_end(&r);
    yaml_parser_delete(&r.parser);
    hashmap_deinit(&r.anchors);
    if (rc < 0)
        return -1;
    if (v && v->type != JSON_NULL)
        *out = v;
    return 1;
}

/* ---- writing ---- */

static int append(void *ctx, unsigned char *data, size_t n)
{
    buffer_add(ctx, data, n);
    return 1;
}

static void emit(yaml_emitter_t *emitter, yaml_event_t *e)
{
    ensure(yaml_emitter_emit(emitter, e));
}

/* Plain where it reads back as the same text, a block for several lines, else in double quotes. */
static yaml_scalar_style_t style_of(const char *text, size_t len)
{
    scoped(arena) struct arena *a = arena_new();
    if (strlen(text) == len && resolve(a, text).type != JSON_STRING)
        return YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    if (strchr(text, '\n'))
        return YAML_LITERAL_SCALAR_STYLE;
    return YAML_ANY_SCALAR_STYLE;
}

/* Bytes that are not UTF-8 (a process's output, say) cannot be in YAML. */
static void replace_bad_bytes(const char *text, size_t len, struct buffer *out)
{
    for (const char *p = text, *end = text + len; p < end;) {
        size_t n = utf8_sequence(p, end);
        if (n)
            buffer_add(out, p, n);
        else
            buffer_add_str(out, "\xef\xbf\xbd");
        p += n ? n : 1;
    }
}

static void emit_text(yaml_emitter_t *emitter, const char *text, size_t len,
                      yaml_scalar_style_t style)
{
    yaml_event_t e;
    scoped(buffer) struct buffer clean = { 0 };
    if (!utf8_is_valid((struct bytes){ text, len })) {
        replace_bad_bytes(text, len, &clean);
        text = clean.data;
        len = clean.len;
    }
    ensure(yaml_scalar_event_initialize(&e, NULL, NULL, (const yaml_char_t *)text, (int)len, 1, 1,
                                        style));
    emit(emitter, &e);
}

static void emit_value(yaml_emitter_t *emitter, const struct json *v)
{
    yaml_event_t e;
    scoped(buffer) struct buffer text = { 0 };
    switch ((enum json_type)v->type) {
    case JSON_STRING:
        emit_text(emitter, v->string, v->len, style_of(v->string, v->len));
        break;
    case JSON_ARRAY:
        yaml_sequence_start_event_initialize(
            &e, NULL, NULL, 1, v->len ? YAML_BLOCK_SEQUENCE_STYLE : YAML_FLOW_SEQUENCE_STYLE);
        emit(emitter, &e);
        for (size_t i = 0; i < v->len; i++)
            emit_value(emitter, &v->items[i]);
        yaml_sequence_end_event_initialize(&e);
        emit(emitter, &e);
        break;
    case JSON_OBJECT:
        yaml_mapping_start_event_initialize(
            &e, NULL, NULL, 1, v->len ? YAML_BLOCK_MAPPING_STYLE : YAML_FLOW_MAPPING_STYLE);
        emit(emitter, &e);
        for (size_t i = 0; i < v->len; i++) {
            const char *name = v->members[i].name;
            emit_text(emitter, name, strlen(name), style_of(name, strlen(name)));
            emit_value(emitter, &v->members[i].value);
        }
        yaml_mapping_end_event_initialize(&e);
        emit(emitter, &e);
        break;
    default:
        json_print(v, &text);
        emit_text(emitter, text.data, text.len, YAML_PLAIN_SCALAR_STYLE);
    }
}

void yaml_print(const struct json *v, struct buffer *out)
{
    yaml_emitter_t emitter;
    yaml_event_t e;
    ensure(yaml_emitter_initialize(&emitter));
    yaml_emitter_set_output(&emitter, append, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    yaml_stream_start_event_initialize(&e, YAML_UTF8_ENCODING);
    emit(&emitter, &e);
    yaml_document_start_event_initialize(&e, NULL, NULL, NULL, 1);
    emit(&emitter, &e);
    emit_value(&emitter, v);
    yaml_document_end_event_initialize(&e, 1);
    emit(&emitter, &e);
    yaml_stream_end_event_initialize(&e);
    emit(&emitter, &e);
    yaml_emitter_delete(&emitter);
}
