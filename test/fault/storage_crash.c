/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_crash.c - kills a store again and again, goes on with it, and judges all that was seen.
 *
 *     storage_crash [CRASHES | --soak] [SEED]
 *
 * Each failpoint once, then at random for the rest of a turn, and over again until there were that
 * many crashes.  How often it died at each failpoint is printed at the end.
 *
 * A server is used by many clients and watches over etcd's API until it dies: inside a failpoint,
 * or by SIGKILL at some moment.  It is started again on what is left, and then everything that was
 * seen before must fit together:
 *   - clients: what they were answered is linearizable, key by key; calls that were cut off may
 *     have happened or not;
 *   - revisions: none missing, none twice, none going back; each acknowledged write is at its own;
 *   - reads at old revisions, versions and create revisions, leases and their keys;
 *   - watches: in order, no gap, nothing twice, revisions whole, what was before them right,
 *     resumed over the crash, progress never ahead of events.
 */
#include <glob.h>
#include <signal.h>
#include <unistd.h>

#include "base/files.h"
#include "test/fault/crash_clients.h"
#include "test/fault/crash_server.h"
#include "test/fault/crash_watchers.h"
#include "test/fault/effort.h"
#include "test/fault/folder.h"

#define RUN_MS_MAX       150 /* a random crash comes within that */
#define FAILPOINT_MS_MAX 60000
#define PATIENCE_MS      60000
#define REPLAY_REVISIONS 1000
#define LOOK_MS          5
#define SOURCE_BYTES_MAX (1 << 20)
#define MOMENTS_PER_RUN  12 /* crashes of one store in the slice over the failpoints */
#define SOAK_CRASHES     2500
#define TURN_CRASHES     500 /* the most between two visits of a failpoint */

static const char *const flush_often = "storage.index.freeze=error";

/* ---- how each failpoint is reached ---- */

#define NEW_STORE    0x100 /* reached while there is little in the log */
#define FAILS        0x800 /* may fail as well as crash */
#define COMMITS_ONLY 0

static const struct scenario {
    const char *failpoint;
    int times;         /* the most times it is passed before it crashes */
    int needs;         /* enum crash_upkeep, and the above */
    const char *with;  /* other failpoints that lead there */
    const char *after; /* where it dies before, so that the next start gets there */
} scenarios[] = {
    { "storage.commit.before_apply", 60, COMMITS_ONLY, "", "" },
    { "storage.commit.before_log", 60, COMMITS_ONLY, "", "" },
    { "storage.commit.before_publish", 60, COMMITS_ONLY, "", "" },
    { "storage.commit.before_answer", 60, COMMITS_ONLY, "", "" },
    { "storage.log.allocate", 1, NEW_STORE | FAILS, "", "" },
    { "storage.log.before_write", 60, FAILS, "", "" },
    { "storage.log.torn_write", 60, COMMITS_ONLY, "", "" },
    { "storage.log.before_sync", 60, FAILS, "", "" },
    { "storage.log.after_sync", 60, COMMITS_ONLY, "", "" },
    { "storage.log.before_erase", 3, COMMITS_ONLY, "storage.log.before_sync=error", "" },
    { "storage.log.rotate", 5, COMMITS_ONLY, "storage.index.freeze=error", "" },
    { "storage.index.freeze", 20, FAILS, "", "" },
    { "storage.flush.begin", 5, UPKEEP_COMPACT, "storage.index.freeze=error", "" },
    { "storage.flush.next_part", 20, UPKEEP_COMPACT | FAILS, "storage.index.freeze=error", "" },
    { "storage.flush.before_leases", 5, UPKEEP_LEASES, "storage.index.freeze=error", "" },
    { "storage.flush.before_commit", 20, UPKEEP_LEASES,
      "storage.index.freeze=error,storage.flush.next_part=error", "" },
    { "storage.flush.after_commit", 5, UPKEEP_DEFRAGMENT, "", "" },
    { "storage.flush.end", 5, UPKEEP_DEFRAGMENT, "", "" },
    { "storage.database.before_name", 1, NEW_STORE, "", "" },
    { "storage.database.commit", 10, UPKEEP_COMPACT | UPKEEP_DEFRAGMENT | FAILS, "", "" },
    { "storage.database.committed", 20, UPKEEP_COMPACT,
      "storage.index.freeze=error,storage.flush.next_part=error", "" },
    { "storage.defragment.copy", 3, UPKEEP_DEFRAGMENT | FAILS, "", "" },
    { "storage.defragment.copied", 3, UPKEEP_DEFRAGMENT, "", "" },
    { "storage.defragment.rename", 3, UPKEEP_DEFRAGMENT | FAILS, "", "" },
    { "storage.defragment.renamed", 3, UPKEEP_DEFRAGMENT, "", "" },
    { "storage.defragment.sync_folder", 3, UPKEEP_DEFRAGMENT | FAILS, "", "" },
    { "storage.defragment.end", 3, UPKEEP_DEFRAGMENT, "", "" },
    { "storage.compact.before_publish", 3, UPKEEP_COMPACT, "", "" },
    { "storage.compact.begin", 3, UPKEEP_COMPACT, "storage.index.freeze=error", "" },
    { "storage.compact.row", 60, UPKEEP_COMPACT, "storage.index.freeze=error", "" },
    { "storage.compact.next_part", 20, UPKEEP_COMPACT | FAILS, "storage.index.freeze=error", "" },
    { "storage.compact.before_commit", 6, UPKEEP_COMPACT,
      "storage.index.freeze=error,storage.compact.next_part=error", "" },
    { "storage.compact.after_commit", 6, UPKEEP_COMPACT,
      "storage.index.freeze=error,storage.compact.next_part=error", "" },
    { "storage.lease.before_grant", 4, UPKEEP_LEASES, "", "" },
    { "storage.lease.before_revoke", 2, UPKEEP_LEASES, "", "" },
    { "storage.lease.before_remove", 2, UPKEEP_LEASES, "", "" },
    { "storage.lease.before_expiry", 1, UPKEEP_SHORT_LEASES, "", "" },
    { "storage.watch.before_send", 100, COMMITS_ONLY, "", "" },
    { "storage.watch.after_send", 100, COMMITS_ONLY, "", "" },
    { "storage.watch.from_history", 1, UPKEEP_DEFRAGMENT, "", "storage.flush.end=crash@2" },
    { "storage.watch.send_history", 20, UPKEEP_DEFRAGMENT, "", "storage.flush.end=crash@3" },
    { "storage.watch.before_progress", 5, COMMITS_ONLY, "", "" },
    { "storage.watch.before_fail", 1, UPKEEP_COMPACT, "",
      "storage.compact.before_publish=crash@2" },
    { "storage.snapshot.begin", 3, UPKEEP_SNAPSHOT, "", "" },
    { "storage.snapshot.write", 3, UPKEEP_SNAPSHOT | FAILS, "", "" },
    { "storage.snapshot.front", 3, UPKEEP_SNAPSHOT, "", "" },
    { "storage.snapshot.digest", 3, UPKEEP_SNAPSHOT, "", "" },
    { "storage.snapshot.send", 20, UPKEEP_SNAPSHOT, "", "" },
    { "storage.recover.before_log", 1, COMMITS_ONLY, "", "" },
    { "storage.recover.frame", 10, COMMITS_ONLY, "", "storage.commit.before_answer=crash@40" },
    { "storage.recover.sync", 1, FAILS, "", "storage.commit.before_answer=crash@10" },
};

/* Steps of the snapshot and migrate commands: test/api/snapshot_test.sh. */
static bool is_tested_elsewhere(struct bytes name)
{
    static const char *const prefixes[] = { "storage.import.", "storage.migrate.",
                                            "storage.snapshot.before_" };
    bool is_elsewhere = false;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        is_elsewhere |= strncmp(name.data, prefixes[i], strlen(prefixes[i])) == 0;
    return is_elsewhere;
}

/* Notes which of the table's failpoints a source file has; there may be no others. */
static void check_source(const char *path, bool found[])
{
    scoped(arena) struct arena *arena = arena_new();
    static const char before[] = "failpoint(\"";
    struct bytes text;
    struct error err = { 0 };
    if (files_read(path, SOURCE_BYTES_MAX, arena, &text, &err) < 0)
        return;
    for (const char *at = arena_strndup(arena, text.data, text.len); (at = strstr(at, before));) {
        at += strlen(before);
        struct bytes name = { at, strcspn(at, "\"") };
        if (is_tested_elsewhere(name))
            continue;
        size_t i = 0;
        while (i < ARRAY_LEN(scenarios) && !bytes_equal(name, bytes_of(scenarios[i].failpoint)))
            i++;
        if (i == ARRAY_LEN(scenarios)) {
            printf("not ok - nothing here dies at %.*s\n", (int)name.len, name.data);
            exit(1);
        }
        found[i] = true;
    }
}

/* A failpoint that somebody adds has to be visited, and one that goes must leave the table. */
static void check_scenarios(void)
{
    glob_t sources = { 0 };
    bool found[ARRAY_LEN(scenarios)] = { false };
    if (glob(CORACLE_SOURCE_DIR "/storage/*.c", 0, NULL, &sources) != 0)
        return; /* the program runs without its source */
    for (size_t i = 0; i < sources.gl_pathc; i++)
        check_source(sources.gl_pathv[i], found);
    globfree(&sources);
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        if (found[i])
            continue;
        printf("not ok - %s is not in the source\n", scenarios[i].failpoint);
        exit(1);
    }
    printf("ok - each failpoint of the source is visited\n");
}

/* ---- where it died, over all stores ---- */

static int deaths[ARRAY_LEN(scenarios)];
static int deaths_elsewhere; /* at any moment */

static const char *crash_action(const struct scenario *s)
{
    return strcmp(s->failpoint, "storage.log.torn_write") == 0 ? "error" : "crash";
}

/* By itself, so at the one of FAILPOINTS that makes it. */
static void count_death(const char *failpoints)
{
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        scoped(str) char *told =
            xasprintf("%s=%s", scenarios[i].failpoint, crash_action(&scenarios[i]));
        deaths[i] += strstr(failpoints, told) != NULL;
    }
}

static void print_deaths(void)
{
    size_t missed = 0;
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        printf("# died %3d times at %s\n", deaths[i], scenarios[i].failpoint);
        missed += !deaths[i];
    }
    printf("# killed %d times at any moment\n", deaths_elsewhere);
    printf("%sok - it died at each of %zu failpoints\n", missed ? "not " : "",
           ARRAY_LEN(scenarios));
    if (missed)
        exit(1);
}

/* ---- one store's life ---- */

struct run {
    char parent[FOLDER_BYTES_MAX], dir[FOLDER_BYTES_MAX + 16];
    struct rng *rng;
    struct crash_world world;
    struct crash_server server;
    struct crash_clients clients;
    struct crash_watchers watchers;
    struct timeline *timeline;
    bool has_clients;  /* whose notes are to be judged */
    int64_t judged;    /* revision */
    bool stands_still; /* now and then */
    bool disk_fails;   /* it is made to: then it may also refuse to start, for once */
    int crashes;
    char failpoints[256];
};

_Noreturn static void die(const struct run *r, const struct error *err)
{
    printf("not ok - after %d crashes of %s, %s: %s\n", r->crashes, r->dir, r->failpoints,
           err->message);
    exit(1);
}

_Noreturn static void die_of(const struct run *r, const char *what)
{
    struct error err = { 0 };
    error_set(&err, ERR_CONFLICT, "%s", what);
    die(r, &err);
}

static struct run *run_new(struct rng *rng)
{
    struct run *r = xcalloc(1, sizeof(*r));
    r->rng = rng;
    folder_make(r->parent, "crash");
    snprintf(r->dir, sizeof(r->dir), "%s/store", r->parent);
    r->timeline = timeline_new(KEYS);
    r->judged = TIMELINE_FIRST_REVISION - 1;
    atomic_init(&r->world.revision, r->judged);
    crash_watchers_init(&r->watchers, &r->world.watched);
    return r;
}

static void run_free(struct run *r)
{
    folder_remove(r->parent);
    timeline_free(r->timeline);
    free(r->world.leases.items);
    free(r);
}

/* ---- what happened, from all who saw a part ---- */

static struct crash_client *nth_client(struct run *r, size_t i)
{
    return i < CLIENTS ? &r->clients.clients[i] : &r->clients.lessor;
}

static int note_changes(struct timeline *t, const struct crash_client *c, struct error *err)
{
    for (size_t i = 0; i < c->changes.n;) {
        const struct change *first = &c->changes.items[i];
        size_t n = 0;
        while (i < c->changes.n && c->changes.items[i].revision == first->revision)
            i++, n++;
        if (timeline_note(t, first->revision, first, n, TIMELINE_WHOLE, err) < 0)
            return error_wrap(err, "a client's write");
    }
    return 0;
}

static void note_all(struct run *r)
{
    struct error err = { 0 };
    for (size_t i = 0; i <= CLIENTS; i++)
        if (note_changes(r->timeline, nth_client(r, i), &err) < 0)
            die(r, &err);
    if (crash_watchers_note(&r->watchers, r->timeline, &err) < 0)
        die(r, &err);
}

/* The restarted store did not answer: that is fine only if it has died again. */
static bool has_died_again(struct run *r, enum outcome outcome, const char *asked)
{
    if (outcome == OUTCOME_FAILED)
        die_of(r, xasprintf("the restarted store refuses %s", asked));
    int64_t until_ns = clock_monotonic_ns(&system_clock) + PATIENCE_MS * NS_PER_MS;
    while (crash_server_is_alive(&r->server)) {
        if (clock_monotonic_ns(&system_clock) > until_ns)
            die_of(r, "the restarted store does not answer");
        usleep(LOOK_MS * 1000);
    }
    if (!crash_server_was_killed(&r->server))
        die_of(r, "the restarted store ended by itself");
    return true;
}

/* What nobody knows of REVISION: a call that was cut off may be at it.  False: the store died. */
static bool look_at(struct run *r, struct grpc_channel *channel, int64_t revision)
{
    scoped(arena) struct arena *arena = arena_new();
    Etcd__RangeResponse *a;
    enum outcome outcome = crash_read_all(channel, revision, arena, &a);
    if (outcome != OUTCOME_DONE)
        return !has_died_again(r, outcome, "to tell of a revision that nobody knows");
    struct change changes[KEYS];
    bool is_there[KEYS] = { false };
    size_t n = 0;
    struct error err = { 0 };
    for (size_t i = 0; i < a->n_kvs && i < KEYS; i++) {
        struct change c;
        if (change_of(a->kvs[i], false, &c, &err) < 0)
            die(r, &err);
        is_there[c.key] = true;
        if (c.revision == revision)
            changes[n++] = c;
    }
    for (uint32_t k = 0; k < KEYS; k++)
        if (!is_there[k] && timeline_find(r->timeline, k, revision - 1))
            changes[n++] = (struct change){ .revision = revision, .key = k };
    if (timeline_note(r->timeline, revision, changes, n, TIMELINE_WHOLE, &err) < 0)
        die(r, &err);
    return true;
}

static bool seal(struct run *r, struct grpc_channel *channel, int64_t revision)
{
    struct error err = { 0 };
    for (int64_t at = timeline_sealed(r->timeline) + 1; at <= revision; at++) {
        if (!timeline_is_whole(r->timeline, at) && !look_at(r, channel, at))
            return false;
        if (timeline_seal(r->timeline, at, &err) < 0)
            die(r, &err);
    }
    return true;
}

/* ---- judging ---- */

static void judge_state(struct run *r, int64_t revision, const struct change *found, size_t n)
{
    bool is_there[KEYS] = { false };
    for (size_t i = 0; i < n; i++) {
        const struct change *c = timeline_find(r->timeline, found[i].key, revision);
        is_there[found[i].key] = true;
        if (!c || memcmp(c, &found[i], sizeof(*c)) != 0)
            die_of(r, xasprintf("%s at revision %lld is not what was written",
                                key_name(found[i].key), (long long)revision));
    }
    for (uint32_t k = 0; k < KEYS; k++)
        if (!is_there[k] && timeline_find(r->timeline, k, revision))
            die_of(r, xasprintf("%s is lost at revision %lld", key_name(k), (long long)revision));
}

static void judge_now(struct run *r, const Etcd__RangeResponse *now)
{
    struct change found[KEYS];
    struct error err = { 0 };
    if (now->n_kvs > KEYS)
        die_of(r, "there are keys that nobody wrote");
    for (size_t i = 0; i < now->n_kvs; i++)
        if (change_of(now->kvs[i], false, &found[i], &err) < 0)
            die(r, &err);
    judge_state(r, now->header->revision, found, now->n_kvs);
}

static void judge_linearizability(struct run *r, int64_t before, int64_t after)
{
    VECTOR(struct lin_op) all = { 0 };
    uint64_t initial[KEYS];
    uint32_t culprit = 0;
    int64_t last_ns = clock_monotonic_ns(&system_clock);
    for (size_t i = 0; i < CLIENTS; i++)
        for (size_t k = 0; k < r->clients.clients[i].ops.n; k++)
            *vector_add(&all) = r->clients.clients[i].ops.items[k];
    for (uint32_t k = 0; k < KEYS; k++) {
        bool is_leased =
            k >= FIRST_LEASED && k < FIRST_GROUPED; /* the store deletes those itself */
        const struct change *first = timeline_find(r->timeline, k, before);
        const struct change *last = timeline_find(r->timeline, k, after);
        initial[k] = first ? first->value : LIN_NOTHING;
        if (!is_leased)
            *vector_add(&all) = (struct lin_op){ .key = k,
                                                 .type = LIN_READ,
                                                 .start_ns = last_ns,
                                                 .end_ns = last_ns + 1,
                                                 .value = last ? last->value : LIN_NOTHING };
    }
    enum lin_verdict verdict = lin_check(all.items, all.n, initial, KEYS, &culprit);
    if (verdict != LIN_YES)
        die_of(r, xasprintf("the history of %s is %s", key_name(culprit),
                            verdict == LIN_NO ? "not linearizable" : "too hard to judge"));
    free(all.items);
}

static int compare_ends(const void *a, const void *b)
{
    const struct seen_revision *x = a, *y = b;
    return x->end_ns < y->end_ns ? -1 : x->end_ns > y->end_ns;
}

/* No answer is older than one that was there before its call began. */
static void judge_revisions(struct run *r, int64_t before)
{
    VECTOR(struct seen_revision) all = { 0 };
    for (size_t i = 0; i <= CLIENTS; i++)
        for (size_t k = 0; k < nth_client(r, i)->revisions.n; k++)
            *vector_add(&all) = nth_client(r, i)->revisions.items[k];
    if (all.n)
        qsort(all.items, all.n, sizeof(all.items[0]), compare_ends);
    int64_t *highest = xcalloc(all.n + 1, sizeof(highest[0])); /* of the first so many */
    highest[0] = before;
    for (size_t i = 0; i < all.n; i++)
        highest[i + 1] = all.items[i].revision > highest[i] ? all.items[i].revision : highest[i];
    for (size_t i = 0; i < all.n; i++) {
        const struct seen_revision *s = &all.items[i];
        size_t low = 0, high = all.n; /* how many had ended before it began? */
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (all.items[middle].end_ns < s->start_ns)
                low = middle + 1;
            else
                high = middle;
        }
        if (s->revision < highest[low] + s->is_write)
            die_of(r, "an answer's revision is below one that was seen before");
    }
    free(highest);
    free(all.items);
}

static void judge_old_reads(struct run *r)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        struct crash_client *c = &r->clients.clients[i];
        for (size_t k = 0; k < c->old_reads.n; k++)
            judge_state(r, c->old_reads.items[k].revision, c->old_reads.items[k].found,
                        c->old_reads.items[k].n);
    }
}

static void judge_lease(struct run *r, struct lease_note *note,
                        const Etcd__LeaseTimeToLiveResponse *lease)
{
    size_t attached = 0;
    bool is_there = lease->ttl >= 0;
    for (uint32_t k = FIRST_LEASED; k < FIRST_GROUPED; k++) {
        const struct change *c = timeline_find(r->timeline, k, timeline_sealed(r->timeline));
        attached += c && c->lease == note->id;
    }
    if (is_there && note->state == LEASE_GONE)
        die_of(r, "a lease that was revoked is back");
    if (!is_there && note->state == LEASE_LIVE && !note->is_short)
        die_of(r, "a lease is lost");
    /* One that ends by itself may do so between two looks. */
    if (!note->is_short && attached != lease->n_keys)
        die_of(r, "a lease and its keys do not agree");
    note->state = is_there ? LEASE_LIVE : LEASE_GONE;
}

static bool judge_leases(struct run *r, struct grpc_channel *channel)
{
    for (size_t i = 0; i < r->world.leases.n; i++) {
        scoped(arena) struct arena *arena = arena_new();
        Etcd__LeaseTimeToLiveRequest request = ETCD__LEASE_TIME_TO_LIVE_REQUEST__INIT;
        Etcd__LeaseTimeToLiveResponse *a;
        request.id = r->world.leases.items[i].id;
        request.keys = true;
        enum outcome outcome =
            etcd_call(channel, "/etcdserverpb.Lease/LeaseTimeToLive", &request.base,
                      &etcd__lease_time_to_live_response__descriptor, arena, &a, NULL);
        if (outcome != OUTCOME_DONE)
            return !has_died_again(r, outcome, "to tell of a lease");
        judge_lease(r, &r->world.leases.items[i], a);
    }
    return true;
}

static void forget_ended_leases(struct run *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->world.leases.n; i++)
        if (r->world.leases.items[i].state != LEASE_GONE)
            r->world.leases.items[kept++] = r->world.leases.items[i];
    r->world.leases.n = kept;
}

static void judge_clients(struct run *r)
{
    struct error err = { 0 };
    judge_linearizability(r, r->judged, timeline_sealed(r->timeline));
    judge_revisions(r, r->judged);
    judge_old_reads(r);
    if (crash_watchers_judge(&r->watchers, r->timeline, atomic_load(&r->world.compact_asked),
                             &err) < 0)
        die(r, &err);
    crash_clients_free(&r->clients);
    r->has_clients = false;
}

static bool settle_over(struct run *r, struct grpc_channel *channel)
{
    scoped(arena) struct arena *arena = arena_new();
    Etcd__RangeResponse *now;
    enum outcome outcome = crash_read_all(channel, 0, arena, &now);
    if (outcome != OUTCOME_DONE)
        return !has_died_again(r, outcome, "to be read");
    int64_t revision = now->header->revision;
    if (revision < atomic_load(&r->world.revision))
        die_of(r, "the revision went back");
    if (r->has_clients)
        note_all(r);
    if (!seal(r, channel, revision) || !judge_leases(r, channel))
        return false;
    judge_now(r, now);
    forget_ended_leases(r);
    if (r->has_clients)
        judge_clients(r);
    r->judged = revision;
    atomic_store(&r->world.revision, revision);
    return true;
}

/* The server is up again: all that was seen until it died is put together and judged.  False: it
 * died again before that was done. */
static bool settle(struct run *r)
{
    struct error err = { 0 };
    struct grpc_channel *channel = grpc_channel_new(r->server.socket, NULL, &err);
    ensure(channel);
    bool is_done = settle_over(r, channel);
    grpc_channel_free(channel);
    return is_done;
}

/* ---- a stretch of its life ---- */

static void open_watchers(struct run *r)
{
    int64_t newest = timeline_sealed(r->timeline);
    int64_t compacted = atomic_load(&r->world.compact_asked);
    /* As far back as can be, or not so far. */
    int64_t from = newest - (int64_t)rng_below(r->rng, REPLAY_REVISIONS);
    if (from <= compacted || strstr(r->failpoints, "history"))
        from = compacted + 1;
    if (from < TIMELINE_FIRST_REVISION)
        from = TIMELINE_FIRST_REVISION;
    crash_watchers_open(&r->watchers, r->server.socket, from, TIMELINE_FIRST_REVISION);
}

static void wait_for_end(struct run *r, int64_t until_ns)
{
    while (crash_server_is_alive(&r->server) && clock_monotonic_ns(&system_clock) < until_ns) {
        if (r->stands_still)
            crash_server_stand_still(&r->server, LOOK_MS);
        usleep(LOOK_MS * 1000);
        crash_watchers_ask_progress(&r->watchers);
    }
}

static int64_t ms_from_now(int64_t ms)
{
    return clock_monotonic_ns(&system_clock) + ms * NS_PER_MS;
}

/* Starts the store and judges what it has; false: it died at once, as it was told to. */
static bool start(struct run *r)
{
    struct error err = { 0 };
    int got = crash_server_start(&r->server, r->dir, r->failpoints, &err);
    if (got < 0)
        die(r, &err);
    if (got == 0 && !crash_server_was_killed(&r->server) && !r->disk_fails)
        die_of(r, "the store does not open");
    bool is_up = got && settle(r);
    r->crashes += !is_up;
    if (!is_up && crash_server_was_killed(&r->server))
        count_death(r->failpoints);
    return is_up;
}

/* Until it dies by itself, or at the latest after MS; then, was it by itself? */
static bool live(struct run *r, enum crash_upkeep upkeep, int64_t ms)
{
    if (!start(r))
        return true;
    open_watchers(r);
    crash_clients_start(&r->clients, &r->world, r->server.socket, upkeep, rng_next(r->rng));
    r->has_clients = true;
    wait_for_end(r, ms_from_now(ms));
    bool by_itself = !crash_server_is_alive(&r->server);
    crash_server_end(&r->server, SIGKILL);
    if (!crash_server_was_killed(&r->server))
        die_of(r, "the store ended by itself");
    crash_clients_join(&r->clients);
    crash_watchers_join(&r->watchers);
    for (size_t i = 0; i < CLIENTS; i++)
        if (r->clients.clients[i].err.code)
            die(r, &r->clients.clients[i].err);
    if (r->clients.upkeeper.err.code)
        die(r, &r->clients.upkeeper.err);
    r->crashes++;
    if (by_itself)
        count_death(r->failpoints);
    else
        deaths_elsewhere++;
    return by_itself;
}

/* The last: nothing is killed, and every watch is told everything. */
static void finish(struct run *r)
{
    r->failpoints[0] = '\0';
    r->disk_fails = false;
    if (!start(r))
        die_of(r, "the store does not stay up");
    open_watchers(r);
    int64_t until_ns = ms_from_now(PATIENCE_MS);
    while (crash_watchers_progress(&r->watchers) < timeline_sealed(r->timeline)) {
        crash_watchers_ask_progress(&r->watchers);
        usleep(LOOK_MS * 1000);
        if (clock_monotonic_ns(&system_clock) > until_ns)
            die_of(r, "a watch is not told everything");
    }
    crash_watchers_join(&r->watchers);
    struct error err = { 0 };
    if (crash_watchers_judge(&r->watchers, r->timeline, atomic_load(&r->world.compact_asked),
                             &err) < 0)
        die(r, &err);
    crash_server_end(&r->server, SIGTERM);
    if (r->server.status != 0)
        die_of(r, "the store does not stop in order");
}

static int crashes_done;

static void end(struct run *r)
{
    finish(r);
    printf("ok - %d crashes of one store: %lu calls, %lu refused, %lu snapshots, %lld revisions\n",
           r->crashes, atomic_load(&r->world.calls), atomic_load(&r->world.refused),
           atomic_load(&r->world.snapshots), (long long)timeline_sealed(r->timeline));
    fflush(stdout);
    crashes_done += r->crashes;
    run_free(r);
}

/* ---- the plans ---- */

static void set_failpoints(struct run *r, const struct scenario *s, const char *action)
{
    snprintf(r->failpoints, sizeof(r->failpoints), "%s=%s@%d%s%s", s->failpoint, action,
             1 + (int)rng_below(r->rng, (uint64_t)s->times), *s->with ? "," : "", s->with);
}

static enum crash_upkeep all_upkeep(void)
{
    return UPKEEP_COMPACT | UPKEEP_DEFRAGMENT | UPKEEP_SNAPSHOT | UPKEEP_LEASES;
}

static enum crash_upkeep upkeep_of(const struct scenario *s)
{
    return s->needs & (all_upkeep() | UPKEEP_SHORT_LEASES);
}

static void reach(struct run *r, enum crash_upkeep upkeep)
{
    if (!live(r, upkeep, FAILPOINT_MS_MAX))
        die_of(r, "the failpoint is not reached");
}

/* Dies at S, however long it takes to get there. */
static void die_at(struct run *r, const struct scenario *s)
{
    set_failpoints(r, s, crash_action(s));
    reach(r, upkeep_of(s));
    printf("ok - %s\n", r->failpoints);
    fflush(stdout);
}

static void live_a_while(struct run *r, enum crash_upkeep upkeep)
{
    live(r, upkeep, 1 + (int64_t)rng_below(r->rng, RUN_MS_MAX));
}

static void visit(struct run **r, struct rng *rng, const struct scenario *s)
{
    if (s->needs & NEW_STORE || (*r)->crashes > MOMENTS_PER_RUN) {
        end(*r);
        *r = run_new(rng);
    }
    if (*s->after) {
        snprintf((*r)->failpoints, sizeof((*r)->failpoints), "%s", s->after);
        reach(*r, upkeep_of(s));
    }
    die_at(*r, s);
}

static void visit_every_failpoint(struct rng *rng)
{
    struct run *r = run_new(rng);
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
        visit(&r, rng, &scenarios[i]);
    end(r);
}

/* Some go to a failpoint, some let one fail or be slow, most die at any moment. */
static void crash_at_random(struct run *r)
{
    static const char *const actions[] = { "error", "nospace", "delay:20" };
    const struct scenario *s = &scenarios[rng_below(r->rng, ARRAY_LEN(scenarios))];
    bool often = rng_below(r->rng, 3) == 0;
    uint64_t choice = rng_below(r->rng, 4);
    r->failpoints[0] = '\0';
    r->stands_still = rng_below(r->rng, 5) == 0;
    r->disk_fails = choice == 1 && s->needs & FAILS;
    if (choice == 0)
        set_failpoints(r, s, crash_action(s));
    else if (choice == 1)
        set_failpoints(r, s, r->disk_fails ? actions[rng_below(r->rng, 3)] : "delay:20");
    else if (often)
        snprintf(r->failpoints, sizeof(r->failpoints), "%s", flush_often);
    live_a_while(r, rng_below(r->rng, 4) ? all_upkeep() : UPKEEP_LEASES);
}

/* A store that lives through CRASHES of them. */
static void crash_until(int crashes, struct rng *rng)
{
    if (crashes_done >= crashes)
        return;
    struct run *r = run_new(rng);
    while (crashes_done + r->crashes < crashes) {
        crash_at_random(r);
        effort_progress("# %d crashes of %d\n", crashes_done + r->crashes, crashes);
    }
    end(r);
}

int main(int argc, char **argv)
{
    crash_server_become(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    struct effort effort = effort_of(argc, argv, 0, SOAK_CRASHES);
    struct rng rng;
    seeded_rng_init(&rng, effort.seed);
    check_scenarios();
    do {
        int turn_end = crashes_done + TURN_CRASHES;
        visit_every_failpoint(&rng);
        crash_until(turn_end < effort.count ? turn_end : effort.count, &rng);
    } while (crashes_done < effort.count);
    print_deaths();
    printf("# storage_crash: %d crashes\n", crashes_done);
    return 0;
}
