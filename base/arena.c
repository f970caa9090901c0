/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.c - a list of blocks that are filled from both ends.
 *
 *     | header | structs (aligned) -->        <-- text (unaligned) |
 *
 * Text from the back costs no padding: most of an API object is short strings.
 */
#include "base/arena.h"

#include <stdalign.h>

#include "base/limits.h"

#define FIRST_BLOCK_BYTES 2048
#define BLOCK_BYTES_MAX   (64 * 1024) /* blocks double up to here; larger ones fit one value */
#define ALIGNMENT         alignof(max_align_t)

struct block {
    struct block *next;
    size_t size;  /* bytes of DATA */
    size_t front; /* first free byte */
    size_t back;  /* first used byte of the end */
    alignas(max_align_t) char data[];
};

struct arena { /* lies at the start of its first block */
    struct block *blocks;
    struct block *first;
    size_t size_bytes;
    size_t next_bytes; /* of the next block */
};

static size_t align_up(size_t n)
{
    return (n + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
}

static struct block *block_new(size_t bytes)
{
    struct block *b = xmalloc(sizeof(*b) + bytes);
    b->next = NULL;
    b->size = b->back = bytes;
    b->front = 0;
    return b;
}

struct arena *arena_new(void)
{
    return arena_new_sized(FIRST_BLOCK_BYTES - sizeof(struct block) - sizeof(struct arena));
}

struct arena *arena_new_sized(size_t first_block_bytes)
{
    ensure(first_block_bytes <= ARENA_ALLOC_BYTES_MAX);
    struct block *b = block_new(align_up(sizeof(struct arena)) + align_up(first_block_bytes));
    struct arena *a = (struct arena *)b->data;
    b->front = align_up(sizeof(*a));
    *a = (struct arena){
        .blocks = b, .first = b, .size_bytes = sizeof(*b) + b->size, .next_bytes = FIRST_BLOCK_BYTES
    };
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    for (struct block *b = a->blocks, *next; b; b = next) { /* one of them holds A itself */
        next = b->next;
        free(b);
    }
}

void arena_reset(struct arena *a)
{
    for (struct block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        if (b != a->first)
            free(b);
    }
    struct block *b = a->first;
    b->next = NULL;
    b->front = align_up(sizeof(*a));
    b->back = b->size;
    a->blocks = b;
    a->size_bytes = sizeof(*b) + b->size;
    a->next_bytes = FIRST_BLOCK_BYTES;
}

size_t arena_size_bytes(const struct arena *a)
{
    return a->size_bytes;
}

/* A block with room for BYTES.  A large request gets a block of its own behind the current one,
 * whose rest stays in use. */
static struct block *block_with_room(struct arena *a, size_t bytes)
{
    struct block *b = a->blocks;
    if (b->back - b->front >= bytes)
        return b;
    ensure(bytes <= ARENA_ALLOC_BYTES_MAX);
    bool is_large = bytes > a->next_bytes / 2;
    b = block_new(is_large ? bytes : a->next_bytes);
    a->size_bytes += sizeof(*b) + b->size;
    if (a->next_bytes < BLOCK_BYTES_MAX)
        a->next_bytes *= 2;
    if (is_large) {
        b->next = a->blocks->next;
        a->blocks->next = b;
    } else {
        b->next = a->blocks;
        a->blocks = b;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    ensure(bytes <= ARENA_ALLOC_BYTES_MAX);
    bytes = align_up(bytes);
    struct block *b = a->blocks;
    /* The front is always aligned, the back need not be. */
    if (__builtin_expect(b->back - b->front < bytes, 0))
        b = block_with_room(a, bytes);
    void *p = b->data + b->front;
    b->front += bytes;
    return p;
}

void *arena_zalloc(struct arena *a, size_t bytes)
{
    return memset(arena_alloc(a, bytes), 0, bytes);
}

void *arena_memdup(struct arena *a, const void *data, size_t bytes)
{
    void *p = arena_alloc(a, bytes);
    return bytes ? memcpy(p, data, bytes) : p;
}

/* LEN bytes and a NUL, unaligned. */
static char *text_alloc(struct arena *a, size_t len)
{
    ensure(len < ARENA_ALLOC_BYTES_MAX);
    struct block *b = a->blocks;
    if (__builtin_expect(b->back - b->front < len + 1, 0))
        b = block_with_room(a, len + 1);
    b->back -= len + 1;
    char *text = b->data + b->back;
    text[len] = 0;
    return text;
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
    char *text = text_alloc(a, len);
    return len ? memcpy(text, s, len) : text;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    char room[256];
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(room, sizeof(room), fmt, args);
    ensure(n >= 0);
    char *text = text_alloc(a, (size_t)n);
    if ((size_t)n < sizeof(room))
        memcpy(text, room, (size_t)n);
    else
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(args);
    return text;
}

struct bytes arena_bytes(struct arena *a, struct bytes v)
{
    return (struct bytes){ arena_strndup(a, v.data, v.len), v.len };
}

void *arena_grow(struct arena *a, void *items, size_t n, size_t *capacity, size_t item_bytes)
{
    if (n < *capacity)
        return items;
    size_t larger = *capacity ? *capacity * 2 : 8;
    ensure(n <= larger && larger <= PTRDIFF_MAX / item_bytes);
    void *moved = arena_alloc(a, larger * item_bytes);
    if (n)
        memcpy(moved, items, n * item_bytes);
    *capacity = larger;
    return moved;
}
