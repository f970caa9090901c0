/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd_fill.c - writes many keys to a server of etcd's API, as fast as it takes them.
 *
 *     etcd_fill ADDRESS:PORT [KEYS [VALUE_BYTES]]     default: 1,000,000 of 1,024
 *
 * CLIENTS threads with transactions of PUTS_PER_TXN, the keys in a scattered order, as objects
 * come.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/grpc.h"
#include "storage/etcd.pb-c.h"

#define CLIENTS     256
#define CONNECTIONS 8

static struct grpc_channel *channels[CONNECTIONS];
static int64_t keys_n = 1000000;
static _Atomic int64_t taken;
static size_t value_bytes = 1024;

static void die(const struct error *err)
{
    fprintf(stderr, "etcd_fill: %s\n", err->message);
    exit(1);
}

static void put(struct grpc_channel *channel, int64_t number, uint8_t *space, struct arena *arena)
{
    char key[64];
    /* The middle of a key is as good as random, as in names that controllers make. */
    uint64_t hash = (uint64_t)number * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 31) * UINT64_C(0xbf58476d1ce4e5b9);
    int len = snprintf(key, sizeof(key), "/registry/pods/namespace-%02d/pod-%05x-%06lld",
                       (int)(number % 50), (unsigned)(hash >> 44), (long long)number);
    Etcd__PutRequest r = ETCD__PUT_REQUEST__INIT;
    r.key = (ProtobufCBinaryData){ (size_t)len, (uint8_t *)key };
    r.value = (ProtobufCBinaryData){ value_bytes, space };
    uint8_t *packed = space + value_bytes;
    struct bytes request = { (char *)packed, etcd__put_request__pack(&r, packed) }, response;
    struct grpc_call_options options = { 0 };
    struct error err = { 0 };
    if (grpc_unary(channel, "/etcdserverpb.KV/Put", request, &options, arena, &response, NULL,
                   &err) < 0)
        die(&err);
    arena_reset(arena);
}

static void *fill_main(void *arg)
{
    struct arena *arena = arena_new();
    uint8_t *space = xcalloc(2, value_bytes + 128); /* the value, and the request */
    int64_t i;
    while ((i = atomic_fetch_add(&taken, 1)) < keys_n)
        put(arg, i, space, arena);
    free(space);
    arena_free(arena);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: etcd_fill ADDRESS:PORT [KEYS [VALUE_BYTES]]\n");
        return 2;
    }
    if (argc > 2)
        keys_n = atoll(argv[2]);
    if (argc > 3)
        value_bytes = strtoull(argv[3], NULL, 10);
    struct error err = { 0 };
    for (int i = 0; i < CONNECTIONS; i++)
        if (!(channels[i] = grpc_channel_new(argv[1], NULL, &err)))
            die(&err);
    int64_t start = clock_monotonic_ns(&system_clock);
    pthread_t threads[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        if (pthread_create(&threads[i], NULL, fill_main, channels[i % CONNECTIONS]) != 0)
            exit(1);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    printf("%lld keys of %zu bytes in %.1f s\n", (long long)keys_n, value_bytes,
           (double)(clock_monotonic_ns(&system_clock) - start) / 1e9);
    for (int i = 0; i < CONNECTIONS; i++)
        grpc_channel_free(channels[i]);
    return 0;
}
