/* SPDX-License-Identifier: Apache-2.0 */
/* service_allocator.c - bitmaps of addresses and ports. */

#include "apiserver/service_allocator.h"

#include <arpa/inet.h>
#include <pthread.h>

#include "base/bytes.h"

struct bitmap {
    uint64_t *words;
    uint32_t first, end; /* usable offsets */
    uint32_t used;
};

struct service_allocator {
    struct rng *rng;
    uint32_t network; /* host order */
    char cidr[32], range[16];
    int first_port;

    pthread_mutex_t lock; /* guards what follows */
    struct bitmap addresses, ports;
};

static bool bit_get(const struct bitmap *b, uint32_t i)
{
    return b->words[i / 64] >> (i % 64) & 1;
}

static bool bit_set(struct bitmap *b, uint32_t i)
{
    if (bit_get(b, i))
        return false;
    b->words[i / 64] |= UINT64_C(1) << (i % 64);
    b->used++;
    return true;
}

static void bit_clear(struct bitmap *b, uint32_t i)
{
    if (!bit_get(b, i))
        return;
    b->words[i / 64] &= ~(UINT64_C(1) << (i % 64));
    b->used--;
}

/* A free bit in [from, to), searched from a random place; -1: none.  Whole words that are full are
 * stepped over, so even an almost full range is searched quickly. */
static int64_t bit_find_free(const struct bitmap *b, uint32_t from, uint32_t to, struct rng *rng)
{
    if (from >= to)
        return -1;
    uint32_t start = from + (uint32_t)rng_below(rng, to - from);
    for (uint32_t step = 0, i = start; step < to - from; step++, i = i + 1 < to ? i + 1 : from) {
        while (i % 64 == 0 && i + 64 <= to && step + 64 <= to - from &&
               b->words[i / 64] == UINT64_MAX) {
            step += 64;
            i = i + 64 < to ? i + 64 : from;
        }
        if (!bit_get(b, i))
            return i;
    }
    return -1;
}

static void bitmap_init(struct bitmap *b, uint32_t first, uint32_t end)
{
    b->first = first;
    b->end = end;
    b->words = xcalloc(end / 64 + 1, sizeof(*b->words));
}

/* How much of a range automatic choices leave to people: a sixteenth, between 16 and 256 addresses
 * (ports: between 16 and 128, a thirty-second); nothing of a range that is tiny. */
static uint32_t reserved_part(uint32_t size, uint32_t divisor, uint32_t most)
{
    uint32_t part = size / divisor < 16 ? 16 : size / divisor > most ? most : size / divisor;
    return part >= size ? 0 : part;
}

struct service_allocator *service_allocator_new(const char *cidr, const char *ports,
                                                struct rng *rng, struct error *err)
{
    char address[INET_ADDRSTRLEN] = "";
    unsigned bits, first_port, last_port;
    int cidr_len = 0, ports_len = 0;
    struct in_addr in;
    if (sscanf(cidr, "%15[0-9.]/%u%n", address, &bits, &cidr_len) != 2 || cidr[cidr_len] ||
        inet_pton(AF_INET, address, &in) != 1 || bits < 8 || bits > 29) {
        error_set(err, ERR_BAD_REQUEST, "service network \"%s\": must be IPv4, /8 to /29", cidr);
        return NULL;
    }
    if (sscanf(ports, "%u-%u%n", &first_port, &last_port, &ports_len) != 2 || ports[ports_len] ||
        first_port == 0 || last_port > 65535 || first_port > last_port) {
        error_set(err, ERR_BAD_REQUEST, "node port range \"%s\": must be like 30000-32767", ports);
        return NULL;
    }
    struct service_allocator *s = xcalloc(1, sizeof(*s));
    uint32_t size = 1u << (32 - bits);
    pthread_mutex_init(&s->lock, NULL);
    s->rng = rng;
    s->network = ntohl(in.s_addr) & ~(size - 1);
    s->first_port = (int)first_port;
    snprintf(s->cidr, sizeof(s->cidr), "%s", cidr);
    snprintf(s->range, sizeof(s->range), "%u-%u", first_port, last_port);
    if (size > SERVICE_ADDRESSES_MAX)
        size = SERVICE_ADDRESSES_MAX;
    bitmap_init(&s->addresses, 1, size - 1); /* neither the network's nor the broadcast address */
    bitmap_init(&s->ports, 0, last_port - first_port + 1);
    return s;
}

void service_allocator_free(struct service_allocator *s)
{
    if (!s)
        return;
    free(s->addresses.words);
    free(s->ports.words);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* The offset of ADDRESS in the range, -1 outside. */
static int64_t address_offset(const struct service_allocator *s, const char *address)
{
    struct in_addr in;
    if (inet_pton(AF_INET, address, &in) != 1)
        return -1;
    int64_t offset = (int64_t)ntohl(in.s_addr) - s->network;
    return offset >= s->addresses.first && offset < s->addresses.end ? offset : -1;
}

static int64_t port_offset(const struct service_allocator *s, int port)
{
    int64_t offset = (int64_t)port - s->first_port;
    return offset >= 0 && offset < s->ports.end ? offset : -1;
}

static int64_t find_above_then_below(const struct bitmap *b, uint32_t boundary, struct rng *rng)
{
    int64_t found = bit_find_free(b, boundary, b->end, rng);
    return found >= 0 ? found : bit_find_free(b, b->first, boundary, rng);
}

int service_allocator_take_address(struct service_allocator *s, const char *wanted, char *out,
                                   struct error *err)
{
    int64_t offset = wanted ? address_offset(s, wanted) : 0;
    if (offset < 0)
        return error_set(
            err, ERR_INVALID,
            "failed to allocate IP %s: the provided IP (%s) is not in the valid range. The "
            "range of valid IPs is %s",
            wanted, wanted, s->cidr);
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    if (!wanted) {
        uint32_t boundary = s->addresses.first + reserved_part(s->addresses.end, 16, 256);
        offset = find_above_then_below(&s->addresses, boundary, s->rng);
    }
    if (offset < 0)
        rc = error_set(err, ERR_INVALID, "failed to allocate a serviceIP: range is full");
    else if (!bit_set(&s->addresses, (uint32_t)offset))
        rc = error_set(err, ERR_INVALID,
                       "failed to allocate IP %s: provided IP is already allocated", wanted);
    pthread_mutex_unlock(&s->lock);
    struct in_addr in = { .s_addr = htonl(s->network + (uint32_t)offset) };
    if (rc == 0)
        inet_ntop(AF_INET, &in, out, INET_ADDRSTRLEN);
    return rc;
}

int service_allocator_take_port(struct service_allocator *s, int wanted, int *out,
                                struct error *err)
{
    int64_t offset = wanted ? port_offset(s, wanted) : 0;
    if (offset < 0)
        return error_set(err, ERR_INVALID,
                         "provided port is not in the valid range. The range of valid ports is %s",
                         s->range);
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    if (!wanted) {
        uint32_t boundary = reserved_part(s->ports.end, 32, 128);
        offset = find_above_then_below(&s->ports, boundary, s->rng);
    }
    if (offset < 0)
        rc = error_set(err, ERR_INVALID, "failed to allocate a nodePort: range is full");
    else if (!bit_set(&s->ports, (uint32_t)offset))
        rc = error_set(err, ERR_INVALID, "provided port is already allocated");
    pthread_mutex_unlock(&s->lock);
    *out = s->first_port + (int)offset;
    return rc;
}

static void change(struct service_allocator *s, struct bitmap *b, int64_t offset, bool is_used)
{
    if (offset < 0)
        return;
    pthread_mutex_lock(&s->lock);
    if (is_used)
        bit_set(b, (uint32_t)offset);
    else
        bit_clear(b, (uint32_t)offset);
    pthread_mutex_unlock(&s->lock);
}

void service_allocator_release_address(struct service_allocator *s, const char *address)
{
    change(s, &s->addresses, address_offset(s, address), false);
}

void service_allocator_release_port(struct service_allocator *s, int port)
{
    change(s, &s->ports, port_offset(s, port), false);
}

void service_allocator_mark_address(struct service_allocator *s, const char *address)
{
    change(s, &s->addresses, address_offset(s, address), true);
}

void service_allocator_mark_port(struct service_allocator *s, int port)
{
    change(s, &s->ports, port_offset(s, port), true);
}
