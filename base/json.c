/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.c - JSON text to a tree, over yajl.
 *
 * Values under construction wait on one stack; when a container ends, its children move from the
 * top of the stack to an array of the exact size in the arena:
 *
 *     {"a": [1, 2        stack:  a: (open)  1  2        frames: {0, object} {1, array}
 */
#include "base/json.h"

#include <math.h>
#include <yajl/yajl_parse.h>

#include "base/hashmap.h"
#include "base/json_error.h"
#include "base/limits.h"
#include "base/utf8.h"

#define STACK_FIRST 128 /* members on the C stack; larger documents move to the heap */
#define SCAN_MAX    64  /* members of an object up to which names are compared one by one */

struct frame {
    size_t first;          /* where its children begin on the stack */
    uint64_t seen;         /* a bit per hash of the names so far: most names need no comparison */
    struct hashmap *names; /* of an object with more than SCAN_MAX members: name to index + 1 */
    size_t repeats;        /* 1 + stack index of the member that the current one repeats; 0: none */
    bool is_object;
};

struct parser {
    struct arena *arena;
    struct bytes text;
    yajl_handle yajl;
    struct json_duplicates *duplicates;
    struct error *err; /* set by a callback that stopped the parse */
    bool is_stopped;
    struct json root;
    struct json_member *stack;
    size_t n, capacity;
    size_t depth;
    struct frame frames[JSON_DEPTH_MAX];
    struct json_member first[STACK_FIRST];
};

static struct json_member *push(struct parser *p)
{
    if (__builtin_expect(p->n == p->capacity, 0)) {
        size_t bytes = p->capacity * 2 * sizeof(*p->stack);
        if (p->stack == p->first)
            p->stack = memcpy(xmalloc(bytes), p->first, sizeof(p->first));
        else
            p->stack = xrealloc(p->stack, bytes);
        p->capacity *= 2;
    }
    return &p->stack[p->n++];
}

/* ---- repeated names ---- */

static void report_duplicate(struct parser *p)
{
    struct json_duplicates *d = p->duplicates;
    if (!d || d->n == JSON_DUPLICATES_MAX)
        return;
    scoped(buffer) struct buffer path = { 0 };
    for (size_t i = 0; i < p->depth; i++) {
        const struct frame *f = &p->frames[i];
        /* The child that is open now lies right before the next frame's children. */
        size_t child = (i + 1 < p->depth ? p->frames[i + 1].first : p->n) - 1;
        if (f->is_object)
            buffer_printf(&path, "%s%.256s", path.len ? "." : "", p->stack[child].name);
        else
            buffer_printf(&path, "[%zu]", child - f->first);
    }
    d->paths = arena_grow(p->arena, d->paths, d->n, &d->capacity, sizeof(*d->paths));
    d->paths[d->n++] = arena_strndup(p->arena, path.data, path.len);
}

/* The stack index + 1 of an earlier member of the same name; 0 if there is none. */
static size_t find_earlier(struct frame *f, const struct json_member *stack, size_t last)
{
    if (f->names)
        return (size_t)hashmap_get(f->names, bytes_of(stack[last].name));
    for (size_t i = f->first; i < last; i++)
        if (strcmp(stack[i].name, stack[last].name) == 0)
            return i + 1;
    return 0;
}

static void check_name(struct parser *p, struct frame *f, size_t len)
{
    size_t last = p->n - 1;
    const char *name = p->stack[last].name;
    if (last - f->first >= SCAN_MAX && !f->names) {
        f->names = xcalloc(1, sizeof(*f->names));
        for (size_t i = f->first; i < last; i++)
            hashmap_put(f->names, bytes_of(p->stack[i].name), (void *)(i + 1));
    }
    unsigned hash = (unsigned)len;
    if (len)
        hash += (unsigned char)name[0] * 7U + (unsigned char)name[len - 1] * 3U +
                (unsigned char)name[len / 2];
    uint64_t bit = UINT64_C(1) << (hash & 63);
    f->repeats = f->seen & bit ? find_earlier(f, p->stack, last) : 0;
    f->seen |= bit;
    if (f->repeats)
        report_duplicate(p);
    else if (f->names)
        hashmap_put(f->names, bytes_of(name), (void *)(last + 1));
}

/* ---- values ---- */

/* Where the next value goes.  In an object its member waits on the stack since its name was read.
 */
static struct json *place(struct parser *p)
{
    if (p->depth == 0)
        return &p->root;
    if (p->frames[p->depth - 1].is_object)
        return &p->stack[p->n - 1].value;
    struct json_member *m = push(p);
    m->name = NULL;
    return &m->value;
}

/* The value is complete: one of a repeated name takes the place of the earlier one. */
static int value_done(struct parser *p)
{
    if (p->depth == 0)
        return 1;
    struct frame *f = &p->frames[p->depth - 1];
    if (__builtin_expect(f->repeats != 0, 0)) {
        p->stack[f->repeats - 1].value = p->stack[p->n - 1].value;
        p->n--;
        f->repeats = 0;
    }
    return 1;
}

static int stop(struct parser *p)
{
    p->is_stopped = true;
    return 0;
}

static int on_null(void *ctx)
{
    *place(ctx) = (struct json){ .type = JSON_NULL };
    return value_done(ctx);
}

static int on_boolean(void *ctx, int value)
{
    *place(ctx) = (struct json){ .type = JSON_BOOL, .boolean = value };
    return value_done(ctx);
}

static bool parse_int(const char *text, size_t len, int64_t *out)
{
    bool is_negative = len && text[0] == '-';
    uint64_t v = 0;
    for (size_t i = is_negative; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v))
            return false;
    }
    if (v > (uint64_t)INT64_MAX + is_negative)
        return false;
    *out = (int64_t)(is_negative ? -v : v);
    return true;
}

static int on_number(void *ctx, const char *text, size_t len)
{
    struct parser *p = ctx;
    struct json v = { .type = JSON_INT };
    if (!parse_int(text, len, &v.integer)) {
        scoped(str) char *copy = strndup(text, len); /* strtod needs the NUL */
        ensure(copy);
        v.type = JSON_DOUBLE;
        v.number = strtod(copy, NULL);
        if (isinf(v.number)) {
            error_set(p->err, ERR_BAD_REQUEST,
                      "json: cannot unmarshal number %.64s into Go value of type float64", copy);
            return stop(p);
        }
    }
    *place(p) = v;
    return value_done(p);
}

/* ---- strings ---- */

static uint32_t hex4(const char *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        v = v << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return v;
}

/* The code at "\uXXXX" and the bytes it took.  Half of a pair alone becomes U+FFFD, as in Go. */
static uint32_t unescape_unicode(const char *p, const char *end, size_t *taken)
{
    uint32_t code = hex4(p + 2);
    *taken = 6;
    if (code < 0xd800 || code > 0xdfff)
        return code;
    if (code < 0xdc00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
        uint32_t low = hex4(p + 8);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *taken = 12;
            return 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
        }
    }
    return 0xfffd;
}

static struct bytes unescape(struct arena *a, const char *p, const char *end)
{
    char *out = arena_strndup(a, p, (size_t)(end - p)); /* escapes only ever shrink */
    size_t n = 0;
    while (p < end) {
        if (*p != '\\') {
            out[n++] = *p++;
        } else if (p[1] == 'u') {
            size_t taken;
            n += utf8_encode(unescape_unicode(p, end, &taken), out + n);
            p += taken;
        } else {
            static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
            const char *f = strchr(from, p[1]);
            out[n++] = f ? to[f - from] : p[1];
            p += 2;
        }
    }
    out[n] = 0;
    return (struct bytes){ out, n };
}

/* Where the content of the string that ends at QUOTE begins: behind the nearest quote that is not
 * escaped.  The quotes around strings have no backslash before them. */
static const char *content_begin(const char *text, const char *quote)
{
    for (const char *p = quote - 1;; p--) {
        if (*p != '"')
            continue;
        const char *before = p;
        while (before > text && before[-1] == '\\')
            before--;
        if ((p - before) % 2 == 0)
            return p + 1;
    }
}

/* yajl hands over a plain string where it lies in the text, one with escapes as a decoded copy; it
 * decodes lone surrogates to "?", so those are decoded here instead. */
static struct bytes copy_string(struct parser *p, const char *s, size_t len)
{
    if (s >= p->text.data && s < p->text.data + p->text.len)
        return (struct bytes){ arena_strndup(p->arena, s, len), len };
    const char *quote = p->text.data + yajl_get_bytes_consumed(p->yajl) - 1;
    return unescape(p->arena, content_begin(p->text.data, quote), quote);
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
    struct parser *p = ctx;
    struct bytes copy = copy_string(p, (const char *)s, len);
    *place(p) =
        (struct json){ .type = JSON_STRING, .len = (uint32_t)copy.len, .string = copy.data };
    return value_done(p);
}

/* Names end at a NUL in the tree, so one inside is kept as the bytes C0 80, which no valid text
 * has; the printer turns them back. */
static struct bytes encode_nuls(struct arena *a, struct bytes name)
{
    char *out = arena_alloc(a, 2 * name.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i]) {
            out[n++] = name.data[i];
        } else {
            out[n++] = '\xc0';
            out[n++] = '\x80';
        }
    }
    out[n] = 0;
    return (struct bytes){ out, n };
}

static int on_name(void *ctx, const unsigned char *s, size_t len)
{
    struct parser *p = ctx;
    struct bytes copy = copy_string(p, (const char *)s, len);
    if (__builtin_expect(strlen(copy.data) != copy.len, 0))
        copy = encode_nuls(p->arena, copy);
    push(p)->name = copy.data;
    check_name(p, &p->frames[p->depth - 1], copy.len);
    return 1;
}

/* ---- containers ---- */

static int container_begin(struct parser *p, bool is_object)
{
    if (p->depth == JSON_DEPTH_MAX) {
        error_set(p->err, ERR_BAD_REQUEST, "exceeded max depth");
        return stop(p);
    }
    *place(p) = (struct json){ .type = is_object ? JSON_OBJECT : JSON_ARRAY };
    p->frames[p->depth++] = (struct frame){ .first = p->n, .is_object = is_object };
    return 1;
}

static void frame_deinit(struct frame *f)
{
    if (f->names)
        hashmap_deinit(f->names);
    free(f->names);
}

static int container_end(void *ctx)
{
    struct parser *p = ctx;
    struct frame *f = &p->frames[--p->depth];
    struct json_member *children = p->stack + f->first;
    size_t n = p->n - f->first;
    struct json v = { .type = f->is_object ? JSON_OBJECT : JSON_ARRAY, .len = (uint32_t)n };
    if (f->is_object) {
        v.members = n ? arena_memdup(p->arena, children, n * sizeof(*children)) : NULL;
    } else if (n) {
        v.items = arena_alloc(p->arena, n * sizeof(*v.items));
        for (size_t i = 0; i < n; i++)
            v.items[i] = children[i].value;
    }
    p->n = f->first;
    frame_deinit(f);
    if (p->depth == 0)
        p->root = v;
    else
        p->stack[p->n - 1].value = v; /* its parent's youngest child */
    return value_done(p);
}

static int on_object(void *ctx)
{
    return container_begin(ctx, true);
}

static int on_array(void *ctx)
{
    return container_begin(ctx, false);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_object,
    .yajl_map_key = on_name,
    .yajl_end_map = container_end,
    .yajl_start_array = on_array,
    .yajl_end_array = container_end,
};

/* False for control characters that are never legal, which yajl lets pass as space, and for bytes
 * that are not UTF-8. */
static bool text_is_clean(struct bytes text)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    const char *p = text.data, *end = p + text.len;
    while (p < end) {
        if (end - p >= 8) {
            uint64_t word;
            memcpy(&word, p, 8);
            /* No high bit, and no byte below 0x20. */
            if (!((word | ((word - ones * 0x20) & ~word)) & high)) {
                p += 8;
                continue;
            }
        }
        if ((unsigned char)*p < 0x20 && *p != '\n' && *p != '\t' && *p != '\r')
            return false;
        size_t n = utf8_sequence(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

static bool run_yajl(struct parser *p)
{
    p->yajl = yajl_alloc(&callbacks, NULL, p);
    ensure(p->yajl);
    yajl_config(p->yajl, yajl_dont_validate_strings, 1); /* text_is_clean() did, and better */
    yajl_status status = yajl_parse(p->yajl, (const unsigned char *)p->text.data, p->text.len);
    if (status == yajl_status_ok)
        status = yajl_complete_parse(p->yajl);
    yajl_free(p->yajl);
    return status == yajl_status_ok;
}

struct json *json_parse(struct bytes text, struct arena *arena, struct json_duplicates *duplicates,
                        struct error *err)
{
    if (text.len > ARENA_ALLOC_BYTES_MAX) {
        error_set(err, ERR_TOO_LARGE, "JSON text of %zu bytes is too large", text.len);
        return NULL;
    }
    if (text.len == 0 || !text_is_clean(text)) {
        json_error_explain(text, err);
        return NULL;
    }
    struct parser p; /* not cleared: most of it is room */
    p.arena = arena;
    p.text = text;
    p.duplicates = duplicates;
    p.err = err;
    p.is_stopped = false;
    p.stack = p.first;
    p.n = p.depth = 0;
    p.capacity = STACK_FIRST;

    bool ok = run_yajl(&p);
    for (size_t i = 0; i < p.depth; i++)
        frame_deinit(&p.frames[i]);
    if (p.stack != p.first)
        free(p.stack);
    if (!ok) {
        if (!p.is_stopped)
            json_error_explain(text, err);
        return NULL;
    }
    return arena_memdup(arena, &p.root, sizeof(p.root));
}
