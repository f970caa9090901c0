/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd_bench.c - load on servers of etcd's API: puts, ranges, transactions, watches, over gRPC.
 *
 *     etcd_bench SECONDS ROWS NAME=ADDRESS:PORT,PID ...     one round, see etcd.sh
 *
 * Each row is measured on every server in turn, for SECONDS; ROWS is text that a row's name must
 * have, or "".  A client waits for each answer; CLIENTS_PER_CONNECTION share a connection.
 * Prints a line a measurement, separated by tabs:
 *
 *     row  server  operations/s  p50 us  p99 us  server's CPU us/op  this program's CPU us/op
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/varint.h"
#include "storage/etcd.pb-c.h"
#include "test/bench/grpc_load.h"

#define CLIENTS_PER_CONNECTION 32
#define CLIENTS_MAX            1000
#define SERVERS_MAX            4
#define LATENCIES_MAX          ((size_t)1 << 20)
#define FILL_KEYS              10000
#define FILL_CLIENTS           64
#define FILL_VALUE_BYTES       1024
#define KEYS_PER_CLIENT        100
#define PUTS_AHEAD             16 /* of what the watchers have seen */
#define VALUE_BYTES_MAX        2048
#define PAUSE_US               200000 /* what a server still does in the background ends */

struct server {
    const char *name, *address;
    clockid_t cpu;
    bool is_filled;
};

enum row_kind { PUT, UPDATE, GET, LIST, FILL, WATCH };
struct row {
    const char *name;
    enum row_kind kind;
    size_t value_bytes;
    int clients;
};
static const struct row rows[] = {
    { "put 256 B, 1 client", PUT, 256, 1 },
    { "put 256 B, 16 clients", PUT, 256, 16 },
    { "put 256 B, 256 clients", PUT, 256, 256 },
    { "put 256 B, 1000 clients", PUT, 256, 1000 },
    { "put 2 KB, 1 client", PUT, 2048, 1 },
    { "put 2 KB, 16 clients", PUT, 2048, 16 },
    { "put 2 KB, 256 clients", PUT, 2048, 256 },
    { "put 2 KB, 1000 clients", PUT, 2048, 1000 },
    { "txn 1 KB, 1 client", UPDATE, 1024, 1 },
    { "txn 1 KB, 16 clients", UPDATE, 1024, 16 },
    { "txn 1 KB, 256 clients", UPDATE, 1024, 256 },
    { "txn 1 KB, 1000 clients", UPDATE, 1024, 1000 },
    { "range 1 key, 1 client", GET, FILL_VALUE_BYTES, 1 },
    { "range 1 key, 16 clients", GET, FILL_VALUE_BYTES, 16 },
    { "range 1 key, 256 clients", GET, FILL_VALUE_BYTES, 256 },
    { "range 1 key, 1000 clients", GET, FILL_VALUE_BYTES, 1000 },
    { "range 10000 keys, 1 client", LIST, FILL_VALUE_BYTES, 1 },
    { "range 10000 keys, 4 clients", LIST, FILL_VALUE_BYTES, 4 },
    { "watch 256 B, 1000 watchers", WATCH, 256, 1000 },
};
static const struct row fill_row = { "fill", FILL, FILL_VALUE_BYTES, FILL_CLIENTS };

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&system_clock);
}

static int64_t cpu_ns(clockid_t clock)
{
    struct timespec t = { 0 };
    clock_gettime(clock, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* ---- requests: packed once a row, then only the digits in their keys change ---- */

#define DIGITS      7 /* in a key, written in this place holder */
#define PLACEHOLDER "@@@@@@@"
#define PLACES_MAX  3

struct request {
    uint8_t data[VALUE_BYTES_MAX + 512];
    size_t len;
    size_t places[PLACES_MAX];
    size_t places_n;
};

static ProtobufCBinaryData text(const char *s)
{
    return (ProtobufCBinaryData){ strlen(s), (uint8_t *)(uintptr_t)s };
}

static void pack(struct request *r, const ProtobufCMessage *m)
{
    *r = (struct request){ .len = protobuf_c_message_get_packed_size(m) };
    ensure(r->len <= sizeof(r->data));
    protobuf_c_message_pack(m, r->data);
    uint8_t *at = r->data;
    while ((at = memmem(at, r->len - (size_t)(at - r->data), PLACEHOLDER, DIGITS))) {
        r->places[r->places_n++] = (size_t)(at - r->data);
        at += DIGITS;
    }
}

static void number(struct request *r, int64_t n)
{
    char digits[DIGITS];
    for (int i = DIGITS; i-- > 0; n /= 10)
        digits[i] = (char)('0' + n % 10);
    for (size_t i = 0; i < r->places_n; i++)
        memcpy(r->data + r->places[i], digits, DIGITS);
}

static const uint8_t value[VALUE_BYTES_MAX];

static Etcd__PutRequest put_request(const char *key, size_t value_bytes)
{
    Etcd__PutRequest put = ETCD__PUT_REQUEST__INIT;
    put.key = text(key);
    put.value = (ProtobufCBinaryData){ value_bytes, (uint8_t *)(uintptr_t)value };
    return put;
}

static void pack_put(struct request *r, const char *key, size_t value_bytes)
{
    Etcd__PutRequest put = put_request(key, value_bytes);
    pack(r, &put.base);
}

static void pack_range(struct request *r, const char *key, const char *end)
{
    Etcd__RangeRequest range = ETCD__RANGE_REQUEST__INIT;
    range.key = text(key);
    if (end)
        range.range_end = text(end);
    pack(r, &range.base);
}

/* As an apiserver writes: put the key if it is as it was (IS_NEW: not there), else read it. */
static void pack_update(struct request *r, const char *key, size_t value_bytes, bool is_new)
{
    Etcd__Compare compare = ETCD__COMPARE__INIT, *compares[] = { &compare };
    compare.target = ETCD__COMPARE__TARGET__MOD;
    compare.result = is_new ? ETCD__COMPARE__RESULT__EQUAL : ETCD__COMPARE__RESULT__GREATER;
    compare.target_union_case = ETCD__COMPARE__TARGET_UNION_MOD_REVISION;
    compare.key = text(key);
    Etcd__PutRequest put = put_request(key, value_bytes);
    Etcd__RangeRequest get = ETCD__RANGE_REQUEST__INIT;
    get.key = text(key);
    Etcd__RequestOp success = ETCD__REQUEST_OP__INIT, *successes[] = { &success };
    success.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
    success.request_put = &put;
    Etcd__RequestOp failure = ETCD__REQUEST_OP__INIT, *failures[] = { &failure };
    failure.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE;
    failure.request_range = &get;
    Etcd__TxnRequest txn = ETCD__TXN_REQUEST__INIT;
    txn.n_compare = txn.n_success = txn.n_failure = 1;
    txn.compare = compares;
    txn.success = successes;
    txn.failure = failures;
    pack(r, &txn.base);
}

static void pack_watch(struct request *r, const char *key, const char *end)
{
    Etcd__WatchCreateRequest create = ETCD__WATCH_CREATE_REQUEST__INIT;
    create.key = text(key);
    create.range_end = text(end);
    Etcd__WatchRequest watch = ETCD__WATCH_REQUEST__INIT;
    watch.request_union_case = ETCD__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    watch.create_request = &create;
    pack(r, &watch.base);
}

/* ---- one measurement ---- */

struct client {
    struct load_call *call;
    int64_t started_ns, calls;
};

struct run {
    const struct row *row;
    const struct server *server;
    struct request first, later; /* what a client sends for a key of its own; and again */
    struct client *clients;
    int running;
    int64_t start_ns, until_ns, done, server_ns, own_ns;
    int64_t fill_left;
    uint32_t *latencies_us;
    size_t latencies_n;
};

static void pack_requests(struct run *run)
{
    const struct row *row = run->row;
    char key[64];
    snprintf(key, sizeof(key), "/%d/%zu/%d/" PLACEHOLDER, (int)row->kind, row->value_bytes,
             row->clients);
    switch (row->kind) {
    case PUT:
        pack_put(&run->first, key, row->value_bytes);
        break;
    case FILL:
        pack_put(&run->first, "/fill/" PLACEHOLDER, row->value_bytes);
        break;
    case UPDATE:
        pack_update(&run->first, key, row->value_bytes, true);
        pack_update(&run->later, key, row->value_bytes, false);
        return;
    case GET:
        pack_range(&run->first, "/fill/" PLACEHOLDER, NULL);
        break;
    case LIST:
        pack_range(&run->first, "/fill/", "/fill0");
        break;
    case WATCH:
        pack_watch(&run->first, "/watched/", "/watched0");
        pack_put(&run->later, "/watched/" PLACEHOLDER, row->value_bytes);
        return;
    }
    run->later = run->first;
}

static const char *method(enum row_kind kind)
{
    switch (kind) {
    case PUT:
    case FILL:
        return "/etcdserverpb.KV/Put";
    case UPDATE:
        return "/etcdserverpb.KV/Txn";
    case GET:
    case LIST:
        return "/etcdserverpb.KV/Range";
    case WATCH:
        break;
    }
    return "/etcdserverpb.Watch/Watch";
}

static int64_t next_key(struct run *run, int client, int64_t calls)
{
    if (run->row->kind == FILL)
        return --run->fill_left;
    if (run->row->kind == GET)
        return (client * 31 + calls * 7919) % FILL_KEYS;
    return client * KEYS_PER_CLIENT + calls % KEYS_PER_CLIENT;
}

static void start_next(struct run *run, int i, int64_t now)
{
    struct client *c = &run->clients[i];
    struct request *r = c->calls < KEYS_PER_CLIENT ? &run->first : &run->later;
    number(r, next_key(run, i, c->calls));
    c->calls++;
    c->started_ns = now;
    load_call_start(c->call, LOAD_UNARY, (struct bytes){ (const char *)r->data, r->len });
}

static bool is_over(const struct run *run, int64_t now)
{
    return run->row->kind == FILL ? run->fill_left == 0 : now >= run->until_ns;
}

static void note_latency(struct run *run, int64_t ns)
{
    if (run->latencies_n < LATENCIES_MAX)
        run->latencies_us[run->latencies_n++] = (uint32_t)(ns / 1000);
}

static void check_list(struct load_call *call, struct bytes message, void *arg)
{
    (void)call, (void)arg;
    ensure(message.len > (size_t)FILL_KEYS * FILL_VALUE_BYTES);
}

static void call_ended(struct load_call *call, void *arg)
{
    struct run *run = arg;
    int i = load_call_place(call);
    int64_t now = now_ns();
    note_latency(run, now - run->clients[i].started_ns);
    run->done++;
    if (is_over(run, now))
        run->running--;
    else
        start_next(run, i, now);
}

static void begin(struct run *run, int64_t seconds_ns)
{
    run->server_ns = cpu_ns(run->server->cpu);
    run->own_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
    run->start_ns = now_ns();
    run->until_ns = run->start_ns + seconds_ns;
}

static int connections_for(int clients)
{
    return (clients + CLIENTS_PER_CONNECTION - 1) / CLIENTS_PER_CONNECTION;
}

static void run_calls(struct run *run, int64_t seconds_ns)
{
    int n = run->row->clients;
    struct load_config config = {
        .address = run->server->address,
        .method = method(run->row->kind),
        .connections = connections_for(n),
        .message = run->row->kind == LIST ? check_list : NULL,
        .ended = call_ended,
        .arg = run,
    };
    struct load *load = load_open(&config);
    run->clients = xcalloc((size_t)n, sizeof(run->clients[0]));
    begin(run, seconds_ns);
    for (int i = 0; i < n; i++) {
        run->clients[i].call = load_call_new(load, i);
        start_next(run, i, now_ns());
        run->running++;
    }
    while (run->running)
        load_turn(load);
    for (int i = 0; i < n; i++)
        load_call_free(run->clients[i].call);
    free(run->clients);
    load_close(load);
}

/* ---- watches: a client puts, every watcher sees each put ---- */

/* The events of a WatchResponse: its fields number 11. */
static int count_events(struct bytes message)
{
    int n = 0;
    uint64_t tag, len;
    while (varint_read(&message, &tag) && varint_read(&message, &len)) {
        n += tag == (11 << 3 | 2);
        if ((tag & 7) == 2) {
            ensure(len <= message.len);
            message.data += len;
            message.len -= len;
        }
    }
    return n;
}

struct fanout {
    struct run run;
    struct load_call *writer;
    bool is_writing;
    int created;
    int64_t puts;
};

static void watch_message(struct load_call *call, struct bytes message, void *arg)
{
    struct fanout *f = arg;
    if (load_call_place(call) == LOAD_OTHER_PLACE)
        return;
    int n = count_events(message);
    if (n)
        f->run.done += n;
    else
        f->created++;
}

static void put_ended(struct load_call *call, void *arg)
{
    struct fanout *f = arg;
    ensure(call == f->writer); /* a watch has no end */
    f->is_writing = false;
}

static void put_next(struct fanout *f)
{
    struct request *r = &f->run.later;
    number(r, f->puts++ % KEYS_PER_CLIENT);
    f->is_writing = true;
    load_call_start(f->writer, LOAD_UNARY, (struct bytes){ (const char *)r->data, r->len });
}

/* Starts the next put when it is due.  False: time is up, and every watcher has seen all. */
static bool wants_more(struct fanout *f)
{
    int64_t n = f->run.row->clients, unseen = f->puts * n - f->run.done;
    bool is_time_up = now_ns() >= f->run.until_ns;
    if (!is_time_up && !f->is_writing && unseen <= PUTS_AHEAD * n)
        put_next(f);
    return !is_time_up || unseen > 0 || f->is_writing;
}

static void run_watches(struct fanout *f, int64_t seconds_ns)
{
    struct run *run = &f->run;
    int n = run->row->clients;
    struct load_config config = {
        .address = run->server->address,
        .method = method(WATCH),
        .connections = connections_for(n),
        .other_method = method(PUT),
        .message = watch_message,
        .ended = put_ended,
        .arg = f,
    };
    struct load *load = load_open(&config);
    struct load_call **watchers = xcalloc((size_t)n, sizeof(watchers[0]));
    for (int i = 0; i < n; i++) {
        watchers[i] = load_call_new(load, i);
        load_call_start(watchers[i], LOAD_OPEN,
                        (struct bytes){ (const char *)run->first.data, run->first.len });
    }
    f->writer = load_other_call_new(load);
    while (f->created < n)
        load_turn(load);
    begin(run, seconds_ns);
    while (wants_more(f))
        load_turn(load);
    for (int i = 0; i < n; i++)
        load_call_free(watchers[i]);
    load_call_free(f->writer);
    free(watchers);
    load_close(load);
}

/* ---- rows ---- */

static int compare_latencies(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(struct run *run)
{
    double took = (double)(now_ns() - run->start_ns), done = (double)run->done;
    double server = (double)(cpu_ns(run->server->cpu) - run->server_ns);
    double own = (double)(cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - run->own_ns);
    size_t n = run->latencies_n;
    qsort(run->latencies_us, n, sizeof(run->latencies_us[0]), compare_latencies);
    printf("%s\t%s\t%.0f\t%u\t%u\t%.2f\t%.2f\n", run->row->name, run->server->name,
           done * 1e9 / took, n ? run->latencies_us[n / 2] : 0,
           n ? run->latencies_us[n * 99 / 100] : 0, server / done / 1e3, own / done / 1e3);
    fflush(stdout);
}

static void measure(const struct row *row, const struct server *server, int64_t seconds_ns)
{
    usleep(PAUSE_US);
    struct fanout f = { .run = { .row = row, .server = server, .fill_left = FILL_KEYS } };
    f.run.latencies_us = xmalloc(LATENCIES_MAX * sizeof(f.run.latencies_us[0]));
    pack_requests(&f.run);
    if (row->kind == WATCH)
        run_watches(&f, seconds_ns);
    else
        run_calls(&f.run, seconds_ns);
    if (row->kind != FILL)
        report(&f.run);
    free(f.run.latencies_us);
}

static void measure_row(const struct row *row, struct server *servers, int n, int64_t seconds_ns)
{
    for (int i = 0; i < n; i++) {
        if ((row->kind == GET || row->kind == LIST) && !servers[i].is_filled) {
            measure(&fill_row, &servers[i], 0);
            servers[i].is_filled = true;
        }
        measure(row, &servers[i], seconds_ns);
    }
}

/* NAME=ADDRESS:PORT,PID; the text is cut into its parts. */
static bool parse_server(char *text_, struct server *out)
{
    char *address = strchr(text_, '='), *pid = strchr(text_, ',');
    if (!address || !pid)
        return false;
    *address++ = 0;
    *pid++ = 0;
    *out = (struct server){ .name = text_, .address = address };
    return clock_getcpuclockid(atoi(pid), &out->cpu) == 0;
}

int main(int argc, char **argv)
{
    struct server servers[SERVERS_MAX];
    int n = 0;
    for (int i = 3; i < argc && n < SERVERS_MAX; i++)
        if (parse_server(argv[i], &servers[n]))
            n++;
    if (n == 0 || n != argc - 3) {
        fprintf(stderr, "usage: etcd_bench SECONDS ROWS NAME=ADDRESS:PORT,PID ...\n");
        return 2;
    }
    int64_t seconds_ns = (int64_t)(atof(argv[1]) * 1e9);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strstr(rows[i].name, argv[2]))
            measure_row(&rows[i], servers, n, seconds_ns);
    return 0;
}
