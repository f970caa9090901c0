/* SPDX-License-Identifier: Apache-2.0 */
/* crash_clients.c - what each client does, call by call. */
#include "test/fault/crash_clients.h"

#include <unistd.h>

#include "base/crypto.h"
#include "test/fault/etcd_calls.h"

#define GROUP_MAX         3
#define OLD_REVISIONS     400 /* how far back is read */
#define COMPACT_DISTANCE  40  /* as little is left, so that readers and watchers meet it */
#define LEASES_LIVE_MAX   6
#define LEASE_TTL_S       600
#define LEASE_SHORT_TTL_S 2
#define UPKEEP_PAUSE_US   3000
#define RETRY_PAUSE_US    1000

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&system_clock);
}

static void raise_to(_Atomic int64_t *highest, int64_t revision)
{
    int64_t old = atomic_load(highest);
    while (old < revision && !atomic_compare_exchange_weak(highest, &old, revision))
        continue;
}

/* ---- one call ---- */

struct call {
    struct crash_client *client;
    int64_t start_ns, end_ns;
    enum outcome outcome;
};

#define CALL(client, method, request, type, answer)                                                \
    call((client), "/etcdserverpb." method, &(request)->base, &etcd__##type##__descriptor, (answer))

static struct call call(struct crash_client *c, const char *method, const ProtobufCMessage *request,
                        const ProtobufCMessageDescriptor *response, void *answer)
{
    struct call k = { .client = c, .start_ns = now_ns() };
    k.outcome = etcd_call(c->channel, method, request, response, c->arena, answer, NULL);
    k.end_ns = now_ns();
    atomic_fetch_add(&c->world->calls, 1);
    c->is_cut_off |= k.outcome == OUTCOME_UNKNOWN;
    if (k.outcome == OUTCOME_FAILED) {
        atomic_fetch_add(&c->world->refused, 1);
        usleep(RETRY_PAUSE_US); /* a full disk is no reason to spin */
    }
    return k;
}

static void saw_revision(const struct call *k, const Etcd__ResponseHeader *header, bool is_write)
{
    *vector_add(&k->client->revisions) =
        (struct seen_revision){ k->start_ns, k->end_ns, header->revision, is_write };
    raise_to(&k->client->world->revision, header->revision);
}

static void add_op(const struct call *k, struct lin_op op)
{
    op.start_ns = k->start_ns;
    op.end_ns = k->end_ns;
    op.is_unknown = k->outcome == OUTCOME_UNKNOWN;
    if (k->outcome != OUTCOME_FAILED)
        *vector_add(&k->client->ops) = op;
}

static void add_change(struct crash_client *c, int64_t revision, uint32_t key, uint64_t value)
{
    *vector_add(&c->changes) = (struct change){ .revision = revision, .key = key, .value = value };
}

static void complain(struct crash_client *c, const char *what)
{
    if (!c->err.code)
        error_set(&c->err, ERR_IO, "%s", what);
}

static uint64_t value_in(struct crash_client *c, const Etcd__KeyValue *kv)
{
    uint64_t value = kv ? value_read(kv->value) : LIN_NOTHING;
    if (kv && !value)
        complain(c, "an answer holds a value that nobody wrote");
    return value;
}

static uint64_t next_value(struct crash_client *c, ProtobufCBinaryData *out)
{
    uint64_t number = atomic_fetch_add(&c->world->last_value, 1) + 1;
    uint8_t *data = arena_alloc(c->arena, VALUE_BYTES_MAX);
    *out = (ProtobufCBinaryData){ value_make(number, data), data };
    return number;
}

/* ---- registers ---- */

static void put(struct crash_client *c, uint32_t key)
{
    Etcd__PutRequest r = ETCD__PUT_REQUEST__INIT;
    Etcd__PutResponse *a;
    r.key = etcd_text(key_name(key));
    r.prev_kv = rng_below(&c->rng, 2);
    struct lin_op op = { .key = key, .type = LIN_WRITE };
    op.value = next_value(c, &r.value);
    struct call k = CALL(c, "KV/Put", &r, put_response, &a);
    if (k.outcome == OUTCOME_DONE) {
        saw_revision(&k, a->header, true);
        add_change(c, a->header->revision, key, op.value);
        if (r.prev_kv) { /* it tells what it replaced */
            op.type = LIN_SWAP;
            op.expected = value_in(c, a->prev_kv);
            op.applied = true;
        }
    }
    add_op(&k, op);
}

static Etcd__KeyValue *get(struct crash_client *c, uint32_t key, bool *is_known)
{
    Etcd__RangeRequest r = ETCD__RANGE_REQUEST__INIT;
    Etcd__RangeResponse *a;
    r.key = etcd_text(key_name(key));
    struct call k = CALL(c, "KV/Range", &r, range_response, &a);
    *is_known = k.outcome == OUTCOME_DONE;
    if (!*is_known)
        return NULL;
    saw_revision(&k, a->header, false);
    Etcd__KeyValue *kv = a->n_kvs ? a->kvs[0] : NULL;
    add_op(&k, (struct lin_op){ .key = key, .type = LIN_READ, .value = value_in(c, kv) });
    return kv;
}

static void delete_one(struct crash_client *c, uint32_t key)
{
    Etcd__DeleteRangeRequest r = ETCD__DELETE_RANGE_REQUEST__INIT;
    Etcd__DeleteRangeResponse *a;
    r.key = etcd_text(key_name(key));
    struct lin_op op = { .key = key, .type = LIN_DELETE };
    struct call k = CALL(c, "KV/DeleteRange", &r, delete_range_response, &a);
    if (k.outcome == OUTCOME_DONE) {
        op.applied = a->deleted;
        saw_revision(&k, a->header, op.applied);
        if (op.applied)
            add_change(c, a->header->revision, key, LIN_NOTHING);
    }
    add_op(&k, op);
}

/* As an apiserver updates: if it is still what was read, else tell what it is now. */
static void swap(struct crash_client *c, uint32_t key)
{
    bool is_known;
    Etcd__KeyValue *kv = get(c, key, &is_known);
    if (!is_known)
        return;
    Etcd__Compare compare = ETCD__COMPARE__INIT, *compares[] = { &compare };
    Etcd__PutRequest put_request = ETCD__PUT_REQUEST__INIT;
    Etcd__RangeRequest range = ETCD__RANGE_REQUEST__INIT;
    Etcd__RequestOp success = ETCD__REQUEST_OP__INIT, *successes[] = { &success };
    Etcd__RequestOp failure = ETCD__REQUEST_OP__INIT, *failures[] = { &failure };
    Etcd__TxnRequest r = ETCD__TXN_REQUEST__INIT;
    Etcd__TxnResponse *a;
    compare.key = put_request.key = range.key = etcd_text(key_name(key));
    compare.target = ETCD__COMPARE__TARGET__MOD;
    compare.target_union_case = ETCD__COMPARE__TARGET_UNION_MOD_REVISION;
    compare.mod_revision = kv ? kv->mod_revision : 0;
    struct lin_op op = { .key = key, .type = LIN_SWAP, .expected = value_in(c, kv) };
    op.value = next_value(c, &put_request.value);
    success.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
    success.request_put = &put_request;
    failure.request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_RANGE;
    failure.request_range = &range;
    r = (Etcd__TxnRequest){ r.base, 1, compares, 1, successes, 1, failures };
    struct call k = CALL(c, "KV/Txn", &r, txn_response, &a);
    if (k.outcome == OUTCOME_DONE) {
        op.applied = a->succeeded;
        saw_revision(&k, a->header, op.applied);
        if (op.applied) {
            add_change(c, a->header->revision, key, op.value);
        } else {
            Etcd__RangeResponse *now = a->responses[0]->response_range;
            uint64_t value = value_in(c, now->n_kvs ? now->kvs[0] : NULL);
            add_op(&k, (struct lin_op){ .key = key, .type = LIN_READ, .value = value });
        }
    }
    add_op(&k, op);
}

/* ---- several keys at once ---- */

static void put_group(struct crash_client *c)
{
    Etcd__PutRequest puts[GROUP_MAX];
    Etcd__RequestOp ops[GROUP_MAX], *pointers[GROUP_MAX];
    uint64_t values[GROUP_MAX];
    Etcd__TxnRequest r = ETCD__TXN_REQUEST__INIT;
    Etcd__TxnResponse *a;
    uint32_t n = 2 + (uint32_t)rng_below(&c->rng, GROUP_MAX - 1);
    uint32_t first = (uint32_t)rng_below(&c->rng, GROUPED);
    for (uint32_t i = 0; i < n; i++) {
        etcd__put_request__init(&puts[i]);
        puts[i].key = etcd_text(key_name(FIRST_GROUPED + (first + i) % GROUPED));
        values[i] = next_value(c, &puts[i].value);
        etcd__request_op__init(&ops[i]);
        ops[i].request_case = ETCD__REQUEST_OP__REQUEST_REQUEST_PUT;
        ops[i].request_put = &puts[i];
        pointers[i] = &ops[i];
    }
    r.n_success = n;
    r.success = pointers;
    struct call k = CALL(c, "KV/Txn", &r, txn_response, &a);
    if (k.outcome == OUTCOME_DONE)
        saw_revision(&k, a->header, true);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t key = FIRST_GROUPED + (first + i) % GROUPED;
        add_op(&k, (struct lin_op){ .key = key, .type = LIN_WRITE, .value = values[i] });
        if (k.outcome == OUTCOME_DONE)
            add_change(c, a->header->revision, key, values[i]);
    }
}

static void delete_group(struct crash_client *c)
{
    Etcd__DeleteRangeRequest r = ETCD__DELETE_RANGE_REQUEST__INIT;
    Etcd__DeleteRangeResponse *a;
    r.key = etcd_text("m/");
    r.range_end = etcd_text("m0");
    r.prev_kv = true;
    struct call k = CALL(c, "KV/DeleteRange", &r, delete_range_response, &a);
    uint64_t before[GROUPED] = { 0 };
    if (k.outcome == OUTCOME_DONE) {
        saw_revision(&k, a->header, a->deleted);
        for (size_t i = 0; i < a->n_prev_kvs; i++) {
            uint32_t key = key_find(a->prev_kvs[i]->key);
            if (key < FIRST_GROUPED || key == KEYS) {
                complain(c, "a range was deleted that nobody asked for");
                return;
            }
            before[key - FIRST_GROUPED] = value_in(c, a->prev_kvs[i]);
            add_change(c, a->header->revision, key, LIN_NOTHING);
        }
    }
    for (uint32_t i = 0; i < GROUPED; i++) {
        struct lin_op op = { .key = FIRST_GROUPED + i, .type = LIN_DELETE };
        if (before[i])
            op = (struct lin_op){
                .key = op.key, .type = LIN_SWAP, .expected = before[i], .applied = true
            };
        add_op(&k, op);
    }
}

/* ---- the past ---- */

enum outcome crash_read_all(struct grpc_channel *channel, int64_t revision, struct arena *arena,
                            Etcd__RangeResponse **out)
{
    Etcd__RangeRequest r = ETCD__RANGE_REQUEST__INIT;
    r.key = etcd_text("k/");
    r.range_end = etcd_text("n");
    r.revision = revision;
    return etcd_call(channel, "/etcdserverpb.KV/Range", &r.base, &etcd__range_response__descriptor,
                     arena, out, NULL);
}

static void read_old(struct crash_client *c)
{
    int64_t oldest = atomic_load(&c->world->compact_asked) + 1;
    int64_t newest = atomic_load(&c->world->revision);
    oldest = oldest < newest - OLD_REVISIONS ? newest - OLD_REVISIONS : oldest;
    if (oldest < TIMELINE_FIRST_REVISION || oldest >= newest)
        return;
    struct old_read old = { .revision = oldest };
    old.revision += (int64_t)rng_below(&c->rng, (uint64_t)(newest - oldest + 1));
    Etcd__RangeResponse *a;
    /* It may be compacted by now. */
    if (crash_read_all(c->channel, old.revision, c->arena, &a) != OUTCOME_DONE)
        return;
    old.n = a->n_kvs;
    old.found = xcalloc(old.n + 1, sizeof(old.found[0]));
    for (size_t i = 0; i < old.n; i++)
        if (change_of(a->kvs[i], false, &old.found[i], &c->err) < 0)
            break;
    *vector_add(&c->old_reads) = old;
}

static bool is_on(const struct crash_client *c)
{
    return !c->is_cut_off && !atomic_load(c->is_over);
}

static void *client_main(void *arg)
{
    struct crash_client *c = arg;
    while (is_on(c)) {
        uint32_t key = (uint32_t)rng_below(&c->rng, REGISTERS);
        uint64_t choice = rng_below(&c->rng, 100);
        bool is_known;
        if (choice < 35)
            put(c, key);
        else if (choice < 50)
            (void)get(c, key, &is_known);
        else if (choice < 60)
            delete_one(c, key);
        else if (choice < 80)
            swap(c, key);
        else if (choice < 92)
            put_group(c);
        else if (choice < 94)
            delete_group(c);
        else
            read_old(c);
        arena_reset(c->arena);
    }
    return NULL;
}

/* ---- leases ---- */

static void grant(struct crash_client *c, bool is_short)
{
    static atomic_long last_id;
    Etcd__LeaseGrantRequest r = ETCD__LEASE_GRANT_REQUEST__INIT;
    Etcd__LeaseGrantResponse *a;
    r.id = ((int64_t)getpid() << 20) + atomic_fetch_add(&last_id, 1) + 1;
    r.ttl = is_short ? LEASE_SHORT_TTL_S : LEASE_TTL_S;
    struct lease_note *note = vector_add(&c->world->leases);
    *note = (struct lease_note){ .id = r.id, .state = LEASE_ASKED, .is_short = is_short };
    struct call k = CALL(c, "Lease/LeaseGrant", &r, lease_grant_response, &a);
    if (k.outcome == OUTCOME_DONE)
        note->state = LEASE_LIVE;
    else if (k.outcome == OUTCOME_FAILED)
        note->state = LEASE_GONE;
}

static void put_leased(struct crash_client *c, uint32_t key, int64_t lease)
{
    Etcd__PutRequest r = ETCD__PUT_REQUEST__INIT;
    Etcd__PutResponse *a;
    r.key = etcd_text(key_name(key));
    r.lease = lease;
    uint64_t value = next_value(c, &r.value);
    struct call k = CALL(c, "KV/Put", &r, put_response, &a);
    if (k.outcome != OUTCOME_DONE)
        return;
    saw_revision(&k, a->header, true);
    add_change(c, a->header->revision, key, value);
    c->changes.items[c->changes.n - 1].lease = lease;
}

static void revoke_lease(struct crash_client *c, struct lease_note *note)
{
    Etcd__LeaseRevokeRequest r = ETCD__LEASE_REVOKE_REQUEST__INIT;
    Etcd__LeaseRevokeResponse *a;
    r.id = note->id;
    note->state = LEASE_ENDING;
    struct call k = CALL(c, "Lease/LeaseRevoke", &r, lease_revoke_response, &a);
    if (k.outcome == OUTCOME_DONE) {
        note->state = LEASE_GONE;
        saw_revision(&k, a->header, false);
    } else if (k.outcome == OUTCOME_FAILED) {
        note->state = LEASE_LIVE;
    }
}

static struct lease_note *random_live(struct crash_client *c, size_t *live)
{
    struct lease_note *chosen = NULL;
    *live = 0;
    for (size_t i = 0; i < c->world->leases.n; i++) {
        struct lease_note *note = &c->world->leases.items[i];
        if (note->state == LEASE_LIVE && rng_below(&c->rng, ++*live) == 0)
            chosen = note;
    }
    return chosen;
}

static void *lessor_main(void *arg)
{
    struct crash_client *c = arg;
    while (is_on(c) && c->upkeep & (UPKEEP_LEASES | UPKEEP_SHORT_LEASES)) {
        size_t live;
        struct lease_note *note = random_live(c, &live);
        uint32_t key = FIRST_LEASED + (uint32_t)rng_below(&c->rng, LEASED);
        if (live < LEASES_LIVE_MAX && rng_below(&c->rng, 3) == 0)
            grant(c, c->upkeep & UPKEEP_SHORT_LEASES);
        else if (note && !note->is_short && rng_below(&c->rng, 6) == 0)
            revoke_lease(c, note);
        else
            put_leased(c, key, note ? note->id : 0);
        arena_reset(c->arena);
        usleep(RETRY_PAUSE_US);
    }
    return NULL;
}

/* ---- compaction, defragmentation, snapshots ---- */

static void compact(struct crash_client *c)
{
    Etcd__CompactionRequest r = ETCD__COMPACTION_REQUEST__INIT;
    Etcd__CompactionResponse *a;
    r.revision = atomic_load(&c->world->revision) - COMPACT_DISTANCE;
    r.revision -= (int64_t)rng_below(&c->rng, OLD_REVISIONS / 2);
    /* What a lease's end deleted is known to watches alone. */
    int64_t watched = atomic_load(&c->world->watched);
    r.revision = r.revision < watched ? r.revision : watched;
    if (r.revision <= atomic_load(&c->world->compact_asked))
        return;
    raise_to(&c->world->compact_asked, r.revision);
    (void)CALL(c, "KV/Compact", &r, compaction_response, &a);
}

static void defragment(struct crash_client *c)
{
    Etcd__DefragmentRequest r = ETCD__DEFRAGMENT_REQUEST__INIT;
    Etcd__DefragmentResponse *a;
    (void)CALL(c, "Maintenance/Defragment", &r, defragment_response, &a);
}

/* The last bytes are the digest of all before them. */
static void check_snapshot(struct crash_client *c, struct bytes file)
{
    uint8_t digest[SHA256_BYTES];
    bool has_digest = file.len > sizeof(digest);
    if (has_digest)
        crypto_sha256((struct bytes){ file.data, file.len - sizeof(digest) }, digest);
    if (!has_digest || memcmp(file.data + file.len - sizeof(digest), digest, sizeof(digest)) != 0)
        complain(c, "a snapshot is not whole");
    atomic_fetch_add(&c->world->snapshots, 1);
}

static void snapshot(struct crash_client *c)
{
    Etcd__SnapshotRequest r = ETCD__SNAPSHOT_REQUEST__INIT;
    struct grpc_call_options options = { 0 };
    struct error err = { 0 };
    struct buffer file = { 0 };
    struct grpc_stream *s =
        grpc_stream_open(c->channel, "/etcdserverpb.Maintenance/Snapshot", &options, &err);
    if (!s)
        return;
    int got = grpc_stream_send(s, etcd_pack(&r, c->arena), &err);
    grpc_stream_end_send(s);
    struct bytes message;
    while (got >= 0 && (got = grpc_stream_receive(s, c->arena, &message, &err)) == 1) {
        Etcd__SnapshotResponse *part =
            etcd_unpack(&etcd__snapshot_response__descriptor, message, c->arena);
        if (part)
            buffer_add_bytes(&file, etcd_data(part->blob));
    }
    grpc_stream_close(s);
    if (got == 0)
        check_snapshot(c, buffer_bytes(&file));
    buffer_free(&file);
}

static void *upkeeper_main(void *arg)
{
    struct crash_client *c = arg;
    while (is_on(c)) {
        uint64_t choice = rng_below(&c->rng, 3);
        if (choice == 0 && c->upkeep & UPKEEP_COMPACT)
            compact(c);
        else if (choice == 1 && c->upkeep & UPKEEP_DEFRAGMENT)
            defragment(c);
        else if (choice == 2 && c->upkeep & UPKEEP_SNAPSHOT)
            snapshot(c);
        arena_reset(c->arena);
        usleep(UPKEEP_PAUSE_US);
    }
    return NULL;
}

/* ---- all of them ---- */

static void start(struct crash_client *c, const struct crash_client *like, void *(*run)(void *),
                  uint64_t seed)
{
    *c = *like;
    c->arena = arena_new();
    seeded_rng_init(&c->rng, seed);
    ensure(pthread_create(&c->thread, NULL, run, c) == 0);
}

void crash_clients_start(struct crash_clients *c, struct crash_world *world, const char *target,
                         enum crash_upkeep upkeep, uint64_t seed)
{
    struct error err = { 0 };
    memset(c, 0, sizeof(*c));
    c->channel = grpc_channel_new(target, NULL, &err);
    ensure(c->channel);
    struct crash_client like = {
        .world = world, .channel = c->channel, .is_over = &c->is_over, .upkeep = upkeep
    };
    for (uint64_t i = 0; i < CLIENTS; i++)
        start(&c->clients[i], &like, client_main, seed + i);
    start(&c->lessor, &like, lessor_main, seed + CLIENTS);
    start(&c->upkeeper, &like, upkeeper_main, seed + CLIENTS + 1);
}

void crash_clients_join(struct crash_clients *c)
{
    atomic_store(&c->is_over, true);
    for (size_t i = 0; i < CLIENTS; i++)
        pthread_join(c->clients[i].thread, NULL);
    pthread_join(c->lessor.thread, NULL);
    pthread_join(c->upkeeper.thread, NULL);
    grpc_channel_free(c->channel);
}

static void client_free(struct crash_client *c)
{
    for (size_t i = 0; i < c->old_reads.n; i++)
        free(c->old_reads.items[i].found);
    free(c->old_reads.items);
    free(c->ops.items);
    free(c->changes.items);
    free(c->revisions.items);
    arena_free(c->arena);
}

void crash_clients_free(struct crash_clients *c)
{
    for (size_t i = 0; i < CLIENTS; i++)
        client_free(&c->clients[i]);
    client_free(&c->lessor);
    client_free(&c->upkeeper);
}
