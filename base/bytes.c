/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.c - views, buffers, counted bytes; the keyed hash of every table. */
#include "base/bytes.h"

#include <sys/random.h>

#include "base/utf8.h"

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.data, b.data, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool bytes_has_prefix(struct bytes b, struct bytes prefix)
{
    return b.len >= prefix.len && (prefix.len == 0 || memcmp(b.data, prefix.data, prefix.len) == 0);
}

bool bytes_equal_str(struct bytes b, const char *s)
{
    return bytes_equal(b, bytes_of(s));
}

bool str_equal(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

bool str_has_prefix(const char *s, const char *prefix)
{
    return bytes_has_prefix(bytes_of(s), bytes_of(prefix));
}

bool str_has_suffix(const char *s, const char *suffix)
{
    struct bytes a = bytes_of(s), b = bytes_of(suffix);
    return a.len >= b.len && (b.len == 0 || memcmp(a.data + a.len - b.len, b.data, b.len) == 0);
}

/* ---- SipHash-1-3, keyed at start: peers choose names, they must not choose collisions ---- */

static uint64_t hash_key[2];

__attribute__((constructor)) static void hash_key_init(void)
{
    if (getrandom(hash_key, sizeof(hash_key), 0) != sizeof(hash_key))
        ensure(!"getrandom works");
}

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

uint64_t bytes_hash(struct bytes b)
{
    uint64_t v[4] = {
        hash_key[0] ^ UINT64_C(0x736f6d6570736575),
        hash_key[1] ^ UINT64_C(0x646f72616e646f6d),
        hash_key[0] ^ UINT64_C(0x6c7967656e657261),
        hash_key[1] ^ UINT64_C(0x7465646279746573),
    };
    size_t whole = b.len & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, b.data + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = 0;
    if (b.len > whole)
        memcpy(&last, b.data + whole, b.len - whole);
    last |= (uint64_t)b.len << 56;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- buffer ---- */

#define BUFFER_FIRST_BYTES 64

void buffer_reserve(struct buffer *b, size_t more)
{
    if (more < b->capacity - b->len) /* one byte stays for the NUL */
        return;
    size_t capacity = b->capacity ? b->capacity : BUFFER_FIRST_BYTES;
    while (capacity - b->len <= more) {
        ensure(capacity <= SIZE_MAX / 4);
        capacity *= 2;
    }
    b->data = xrealloc(b->data, capacity);
    b->capacity = capacity;
}

void buffer_fit(struct buffer *b)
{
    if (!b->data)
        return;
    b->capacity = b->len + 1;
    b->data = xrealloc(b->data, b->capacity);
}

void buffer_add(struct buffer *b, const void *data, size_t len)
{
    buffer_reserve(b, len);
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = 0;
}

void buffer_add_bytes(struct buffer *b, struct bytes v)
{
    buffer_add(b, v.data, v.len);
}

void buffer_add_str(struct buffer *b, const char *s)
{
    buffer_add_bytes(b, bytes_of(s));
}

void buffer_add_char(struct buffer *b, char c)
{
    buffer_add(b, &c, 1);
}

void buffer_add_int(struct buffer *b, int64_t v)
{
    char text[24];
    char *p = text + sizeof(text);
    uint64_t rest = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do
        *--p = (char)('0' + rest % 10);
    while (rest /= 10);
    if (v < 0)
        *--p = '-';
    buffer_add(b, p, (size_t)(text + sizeof(text) - p));
}

void buffer_vprintf(struct buffer *b, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    buffer_reserve(b, BUFFER_FIRST_BYTES);
    size_t room = b->capacity - b->len;
    int n = vsnprintf(b->data + b->len, room, fmt, args);
    ensure(n >= 0);
    if ((size_t)n >= room) {
        buffer_reserve(b, (size_t)n);
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    b->len += (size_t)n;
}

void buffer_printf(struct buffer *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    buffer_vprintf(b, fmt, args);
    va_end(args);
}

/* The escape of the character at P, whose sequence is N bytes long (0: not UTF-8). */
static void add_quoted_char(struct buffer *b, const char *p, size_t n)
{
    static const char from[] = "\a\b\f\n\r\t\v\"\\", to[] = "abfnrtv\"\\";
    unsigned char c = (unsigned char)*p;
    const char *f = c ? strchr(from, c) : NULL;
    if (f)
        buffer_printf(b, "\\%c", to[f - from]);
    else if (n == 0 || c < 0x20 || c == 0x7f)
        buffer_printf(b, "\\x%02x", c);
    else if (c == 0xc2 && (unsigned char)p[1] < 0xa1) /* control characters and the hard space */
        buffer_printf(b, "\\u00%02x", (unsigned char)p[1]);
    else
        buffer_add(b, p, n);
}

void buffer_add_quoted(struct buffer *b, struct bytes v)
{
    buffer_add_char(b, '"');
    const char *end = v.data + v.len;
    for (const char *p = v.data; p < end;) {
        size_t n = utf8_sequence(p, end);
        add_quoted_char(b, p, n);
        p += n ? n : 1;
    }
    buffer_add_char(b, '"');
}

void buffer_clear(struct buffer *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = 0;
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){ 0 };
}

char *buffer_take(struct buffer *b)
{
    char *text = b->data ? b->data : xstrdup("");
    *b = (struct buffer){ 0 };
    return text;
}

/* ---- shared bytes ---- */

struct shared_bytes *shared_bytes_new_sized(size_t len)
{
    struct shared_bytes *s = xmalloc(sizeof(*s) + len + 1);
    atomic_init(&s->refs, 1);
    s->len = len;
    s->data[len] = 0;
    return s;
}

struct shared_bytes *shared_bytes_new(struct bytes v)
{
    struct shared_bytes *s = shared_bytes_new_sized(v.len);
    if (v.len)
        memcpy(s->data, v.data, v.len);
    return s;
}

struct shared_bytes *shared_bytes_ref(struct shared_bytes *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void shared_bytes_unref(struct shared_bytes *s)
{
    if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        free(s);
}
