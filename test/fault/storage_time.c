/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_time.c - leases while the wall clock jumps, the server stands still, and starts again.
 *
 * The server's wall clock jumps by up to a day at every look (crash_server.h), all through.
 */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "test/fault/crash_server.h"
#include "test/fault/etcd_calls.h"
#include "test/fault/folder.h"

#define TTL_S       2 /* the least there is */
#define LONG_TTL_S  1000
#define PATIENCE_NS (60 * NS_PER_S)
#define LOOK_US     10000

static char top[FOLDER_BYTES_MAX], dir[FOLDER_BYTES_MAX + 16];
static struct crash_server server;
static struct grpc_channel *channel;

_Noreturn static void die(const char *what)
{
    printf("not ok - %s (%s)\n", what, top);
    exit(1);
}

static void start(void)
{
    struct error err = { 0 };
    if (crash_server_start(&server, dir, NULL, &err) != 1)
        die("the store does not start");
    channel = grpc_channel_new(server.socket, NULL, &err);
    ensure(channel);
}

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&system_clock);
}

static void grant(int64_t id, int64_t ttl_s)
{
    scoped(arena) struct arena *arena = arena_new();
    Etcd__LeaseGrantRequest r = ETCD__LEASE_GRANT_REQUEST__INIT;
    Etcd__LeaseGrantResponse *a;
    r.id = id;
    r.ttl = ttl_s;
    if (etcd_call(channel, "/etcdserverpb.Lease/LeaseGrant", &r.base,
                  &etcd__lease_grant_response__descriptor, arena, &a, NULL) != OUTCOME_DONE)
        die("a lease is not granted");
}

static bool put(const char *key, int64_t lease)
{
    scoped(arena) struct arena *arena = arena_new();
    Etcd__PutRequest r = ETCD__PUT_REQUEST__INIT;
    Etcd__PutResponse *a;
    r.key = etcd_text(key);
    r.lease = lease;
    return etcd_call(channel, "/etcdserverpb.KV/Put", &r.base, &etcd__put_response__descriptor,
                     arena, &a, NULL) == OUTCOME_DONE;
}

static bool exists(const char *key)
{
    scoped(arena) struct arena *arena = arena_new();
    Etcd__RangeRequest r = ETCD__RANGE_REQUEST__INIT;
    Etcd__RangeResponse *a;
    r.key = etcd_text(key);
    if (etcd_call(channel, "/etcdserverpb.KV/Range", &r.base, &etcd__range_response__descriptor,
                  arena, &a, NULL) != OUTCOME_DONE)
        die("the store cannot be read");
    return a->n_kvs;
}

static int64_t time_left_s(int64_t id)
{
    scoped(arena) struct arena *arena = arena_new();
    Etcd__LeaseTimeToLiveRequest r = ETCD__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    Etcd__LeaseTimeToLiveResponse *a;
    r.id = id;
    if (etcd_call(channel, "/etcdserverpb.Lease/LeaseTimeToLive", &r.base,
                  &etcd__lease_time_to_live_response__descriptor, arena, &a, NULL) != OUTCOME_DONE)
        die("a lease cannot be asked for");
    return a->ttl;
}

static void wait_until_gone(const char *key)
{
    int64_t until_ns = now_ns() + PATIENCE_NS;
    while (exists(key)) {
        if (now_ns() > until_ns)
            die("a lease does not end");
        usleep(LOOK_US);
    }
}

static void *put_while_it_stands(void *done)
{
    atomic_store((atomic_int *)done, put("while/it/stands", 0) ? 1 : -1);
    return NULL;
}

/* What was asked meanwhile is answered, and a lease whose time went by ends. */
static void a_server_that_stood_still_goes_on(void)
{
    pthread_t thread;
    atomic_int done = 0;
    grant(1, TTL_S);
    if (!put("of/1", 1))
        die("a key of a lease cannot be put");
    kill(server.pid, SIGSTOP);
    ensure(pthread_create(&thread, NULL, put_while_it_stands, &done) == 0);
    usleep((TTL_S + 1) * 1000000);
    if (atomic_load(&done))
        die("a server that stands still answers");
    kill(server.pid, SIGCONT);
    pthread_join(thread, NULL);
    if (atomic_load(&done) != 1 || !exists("while/it/stands"))
        die("what was asked of a server that stood still is lost");
    wait_until_gone("of/1");
    printf("ok - a server that stood still goes on, and a lease has ended\n");
}

/* As with etcd: who should have kept it alive could not. */
static void a_lease_has_its_whole_time_after_a_start(void)
{
    grant(2, TTL_S);
    if (!put("of/2", 2))
        die("a key of a lease cannot be put");
    usleep(TTL_S * 1000000 / 2);
    crash_server_end(&server, SIGKILL);
    grpc_channel_free(channel);
    int64_t start_ns = now_ns();
    start();
    if (!exists("of/2") && now_ns() - start_ns < TTL_S * NS_PER_S)
        die("a lease ended before its time");
    wait_until_gone("of/2");
    if (now_ns() - start_ns < TTL_S * NS_PER_S)
        die("a lease ended before its time");
    if (time_left_s(2) != -1)
        die("a lease has ended and is still there");
    printf("ok - a lease has its whole time after a start\n");
}

int main(int argc, char **argv)
{
    crash_server_become(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    folder_make(top, "time");
    snprintf(dir, sizeof(dir), "%s/store", top);
    start();
    grant(3, LONG_TTL_S);
    if (!put("of/3", 3))
        die("a key of a lease cannot be put");
    a_server_that_stood_still_goes_on();
    a_lease_has_its_whole_time_after_a_start();
    if (!exists("of/3") || time_left_s(3) < LONG_TTL_S / 2)
        die("a lease went with the wall clock");
    printf("ok - no lease goes with the wall clock\n");
    grpc_channel_free(channel);
    crash_server_end(&server, SIGTERM);
    if (server.status != 0)
        die("the store does not stop in order");
    folder_remove(top);
    return 0;
}
