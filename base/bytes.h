/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytes.h - a view of bytes, a growing buffer, and counted immutable bytes.
 */
#pragma once

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/scoped.h"

/* A borrowed view; DATA need not end in NUL. */
struct bytes {
    const char *data;
    size_t len;
};

#define BYTES(literal) ((struct bytes){ (literal), sizeof(literal) - 1 })

static inline struct bytes bytes_of(const char *s)
{
    return (struct bytes){ s, s ? strlen(s) : 0 };
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

int bytes_compare(struct bytes a, struct bytes b); /* memcmp order, shorter first */
bool bytes_has_prefix(struct bytes b, struct bytes prefix);
bool bytes_equal_str(struct bytes b, const char *s);
uint64_t bytes_hash(struct bytes b);

/* str_* are for NUL-terminated text and accept NULL as "". */
bool str_equal(const char *a, const char *b);
bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);
static inline bool str_empty(const char *s)
{
    return !s || !*s;
}

/* Text that grows on the heap.  Zero-initialised is empty and ready. */
struct buffer {
    char *data; /* NUL after the last byte once anything was added */
    size_t len;
    size_t capacity;
};

void buffer_add(struct buffer *b, const void *data, size_t len);
void buffer_add_bytes(struct buffer *b, struct bytes v);
void buffer_add_str(struct buffer *b, const char *s);
void buffer_add_char(struct buffer *b, char c);
void buffer_add_int(struct buffer *b, int64_t v);
void buffer_printf(struct buffer *b, const char *fmt, ...) printf_like(2, 3);
void buffer_vprintf(struct buffer *b, const char *fmt, va_list args) printf_like(2, 0);
void buffer_add_quoted(struct buffer *b, struct bytes v); /* as Go's %q writes it */
void buffer_reserve(struct buffer *b, size_t more);
void buffer_fit(struct buffer *b);   /* gives back what is not used */
void buffer_clear(struct buffer *b); /* keeps the memory */
void buffer_free(struct buffer *b);
char *buffer_take(struct buffer *b); /* the text, "" if nothing was added; free() it */
static inline struct bytes buffer_bytes(const struct buffer *b)
{
    return (struct bytes){ b->data, b->len };
}
static inline void buffer_scoped(struct buffer *b)
{
    buffer_free(b);
}

/* Immutable bytes shared between threads: an object's encoding, a watch event's frame. */
struct shared_bytes {
    atomic_uint refs;
    size_t len;
    char data[];
};

struct shared_bytes *shared_bytes_new(struct bytes v);
struct shared_bytes *shared_bytes_new_sized(size_t len); /* to be filled before it is shared */
struct shared_bytes *shared_bytes_ref(struct shared_bytes *s);
void shared_bytes_unref(struct shared_bytes *s);
static inline struct bytes shared_bytes_view(const struct shared_bytes *s)
{
    return (struct bytes){ s->data, s->len };
}
DEFINE_SCOPED(shared_bytes, struct shared_bytes *, shared_bytes_unref)
