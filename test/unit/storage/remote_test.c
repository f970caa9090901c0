/* SPDX-License-Identifier: Apache-2.0 */
/* remote_test.c - the store over the wire when the wire or the far end is bad. */
#include "test/unit/storage/fixture.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/tls.h"
#include "storage/remote.h"
#include "test/unit/storage/cut_proxy.h"

/* Two ways to one store: "a" and "b". */
struct wired {
    struct fixture *f; /* f->s is the store itself, served */
    struct proxy a, b;
    struct storage *remote;
};

static char *path_of(struct wired *w, const char *name)
{
    return arena_printf(w->f->arena, "%s/%s", w->f->dir, name);
}

/* A call has more time than a slow machine takes for it, but where that time is to run out. */
#define AMPLE_MS  60000
#define TRIES_MAX 60

static void open_both(struct wired *w, const char *endpoints)
{
    struct error err = { 0 };
    struct storage_remote_config config = { .endpoints = endpoints,
                                            .compact_interval_ms = -1,
                                            .call_timeout_ms = AMPLE_MS };
    w->remote = storage_open_remote(&config, &err);
    if (!w->remote)
        fail_msg("%s", err.message);
}

static int wire(void **state)
{
    struct wired *w = xcalloc(1, sizeof(*w));
    setup((void **)&w->f);
    w->f->served = w->f->s;
    open_server(w->f);
    proxy_start(&w->a, path_of(w, "a"), path_of(w, "etcd"));
    proxy_start(&w->b, path_of(w, "b"), path_of(w, "etcd"));
    open_both(w, arena_printf(w->f->arena, "unix://%s/a,unix://%s/b", w->f->dir, w->f->dir));
    *state = w;
    return 0;
}

static int unwire(void **state)
{
    struct wired *w = *state;
    storage_close(w->remote);
    proxy_stop(&w->a);
    proxy_stop(&w->b);
    storage_etcd_stop(w->f->server);
    w->f->server = NULL;
    w->f->served = NULL;
    teardown((void **)&w->f);
    free(w);
    return 0;
}

static int remote_put(struct wired *w, const char *key, const char *value, struct error *err)
{
    struct storage_op op = { .type = STORAGE_PUT, .key = bytes_of(key), .value = bytes_of(value) };
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    struct storage_txn_result out;
    return storage_txn(w->remote, &txn, w->f->arena, &out, err);
}

static int remote_get(struct wired *w, const char *key, struct storage_range_result *out,
                      struct error *err)
{
    struct storage_range r = { .key = bytes_of(key) };
    return storage_range(w->remote, &r, w->f->arena, out, err);
}

/* ---- opening ---- */

static void endpoints_are_urls_that_we_know(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wrong;
    } cases[] = {
        { "https://a:2379,https://b:2379", NULL },
        { "http://10.0.0.1:2379", NULL },
        { "https://etcd.example", NULL },
        { "https://[fd00::1]:2379/", NULL },
        { "unix:/run/etcd.sock", NULL },
        { "unix:///run/etcd.sock", NULL },
        { "mysql://u:p@tcp(db:3306)/x", "begins with none of" },
        { "a:2379", "begins with none of" },
        { "https://", "is not like" },
        { "https://a:port", "is not like" },
        { "https://a:0", "is not like" },
        { "https://a:99999", "is not like" },
        { "https://a:2379/path", "is not like" },
        { ",", "no datastore endpoint" },
        { "http://1,http://2,http://3,http://4,http://5,http://6,http://7,http://8,http://9,http://"
          "10,"
          "http://11,http://12,http://13,http://14,http://15,http://16,http://17",
          "more than 16" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = { 0 };
        int rc = storage_check_endpoints(cases[i].text, &err);
        assert_int_equal(rc, cases[i].wrong ? -1 : 0);
        if (cases[i].wrong && !strstr(err.message, cases[i].wrong))
            fail_msg("%s: %s", cases[i].text, err.message);
    }
}

static void assert_does_not_open(const struct storage_remote_config *config, const char *why)
{
    struct error err = { 0 };
    assert_null(storage_open_remote(config, &err));
    assert_int_equal(err.code, ERR_BAD_REQUEST);
    if (!strstr(err.message, why))
        fail_msg("%s", err.message);
}

static void bad_certificates_are_named(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    const char *junk = arena_printf(f->arena, "%s/junk.pem", f->dir);
    assert_int_equal(files_write(junk, BYTES("junk"), 0600, &err), 0);
    struct storage_remote_config config = { .endpoints = "https://127.0.0.1:1",
                                            .ca_file = "/none" };
    assert_does_not_open(&config, "/none");
    config.ca_file = junk;
    assert_does_not_open(&config, junk);
    config =
        (struct storage_remote_config){ .endpoints = "https://127.0.0.1:1", .cert_file = junk };
    assert_does_not_open(&config, "both or neither");
}

/* ---- TLS ---- */

struct authority {
    struct bytes cert, key;
};

static void sign(struct fixture *f, const struct authority *ca, bool is_server,
                 struct authority *out)
{
    static const char *const addresses[] = { "127.0.0.1", NULL };
    static const char *const organizations[] = { "admins", NULL };
    struct error err = { 0 };
    int64_t now = clock_wall_ns(&system_clock);
    struct certificate_request r = { .common_name = "test",
                                     .organizations = organizations,
                                     .ip_addresses = is_server ? addresses : NULL,
                                     .is_ca = !ca,
                                     .for_server = is_server,
                                     .for_client = ca && !is_server,
                                     .not_before_ns = now - 60 * NS_PER_S,
                                     .not_after_ns = now + 3600 * NS_PER_S };
    assert_int_equal(crypto_new_key(f->arena, &out->key, &err), 0);
    struct bytes none = { 0 };
    assert_int_equal(crypto_sign_certificate(&r, out->key, ca ? ca->cert : none,
                                             ca ? ca->key : out->key, f->arena, &out->cert, &err),
                     0);
}

static const char *file_with(struct fixture *f, const char *name, struct bytes text)
{
    struct error err = { 0 };
    const char *path = arena_printf(f->arena, "%s/%s", f->dir, name);
    assert_int_equal(files_write(path, text, 0600, &err), 0);
    return path;
}

static void the_far_end_is_verified(void **state)
{
    struct fixture *f = *state;
    struct error err = { 0 };
    struct authority ca, other, server, client;
    sign(f, NULL, false, &ca);
    sign(f, NULL, false, &other);
    sign(f, &ca, true, &server);
    sign(f, &ca, false, &client);
    f->served = take_ptr(&f->s); /* whatever happens, it outlives the server */
    struct tls_server_config tls_config = { server.cert, server.key, ca.cert };
    scoped(tls) struct tls *tls = tls_server_new(&tls_config, &err);
    struct storage_etcd_config etcd = { .storage = f->served,
                                        .bind_address = "127.0.0.1",
                                        .tls = tls,
                                        .organization = "admins",
                                        .scratch_dir = f->dir };
    f->server = storage_etcd_start(&etcd, &err);
    assert_non_null(f->server);
    struct storage_remote_config config = {
        .endpoints = arena_printf(f->arena, "https://127.0.0.1:%d", storage_etcd_port(f->server)),
        .ca_file = file_with(f, "ca.pem", ca.cert),
        .cert_file = file_with(f, "client.pem", client.cert),
        .key_file = file_with(f, "client.key", client.key),
        .compact_interval_ms = -1,
        .call_timeout_ms = AMPLE_MS,
    };
    int64_t revision;
    struct storage *s = storage_open_remote(&config, &err);
    if (storage_read_revision(s, &revision, &err) < 0)
        fail_msg("%s", err.message);
    storage_close(s);

    config.call_timeout_ms = 1000; /* it tries for so long */
    config.ca_file = file_with(f, "other.pem", other.cert);
    s = storage_open_remote(&config, &err);
    for (int tries = 0; !strstr(err.message, "tls: unable to get local issuer"); tries++) {
        assert_int_equal(storage_read_revision(s, &revision, &err), -1);
        if (tries == TRIES_MAX)
            fail_msg("%s", err.message);
    }
    storage_close(s);
}

/* ---- calls ---- */

static void what_one_member_cannot_do_another_does(void **state)
{
    struct wired *w = *state;
    struct storage_range_result out;
    struct error err = { 0 };
    struct proxy *proxies[] = { &w->a, &w->b };
    for (size_t i = 0; i < 2; i++) {
        proxy_set(proxies[i], PROXY_REFUSE);
        if (remote_put(w, "k", "v", &err) < 0)
            fail_msg("%s", err.message);
        if (remote_get(w, "k", &out, &err) < 0)
            fail_msg("%s", err.message);
        assert_int_equal(out.n, 1);
        proxy_set(proxies[i], PROXY_PASS);
    }
}

static void a_read_outlives_nonsense(void **state)
{
    struct wired *w = *state;
    struct storage_range_result out;
    struct error err = { 0 };
    put(w->f, "k", "v");
    proxy_set(&w->a, PROXY_GARBAGE);
    if (remote_get(w, "k", &out, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(out.n, 1);
}

/* The member that is used hangs: the answer to a write never comes, and nobody sends it again. */
static void a_write_without_an_answer_is_not_repeated(void **state)
{
    struct wired *w = *state;
    struct error err = { 0 };
    if (remote_put(w, "k", "1", &err) < 0)
        fail_msg("%s", err.message);
    proxy_set(&w->a, PROXY_SWALLOW);
    proxy_set(&w->b, PROXY_SWALLOW);
    storage_hurry(w->remote, 4000);
    assert_int_equal(remote_put(w, "k", "2", &err), -1);
    assert_int_equal(err.code, ERR_TIMEOUT);
    while (range(w->f, "k", NULL, 0).kvs[0].version < 2) /* done, though nobody was told */
        usleep(1000);
    assert_int_equal(range(w->f, "k", NULL, 0).kvs[0].version, 2);
}

static void of_members_that_all_failed_one_that_answered_is_asked_first(void **state)
{
    (void)state;
    struct remote r = { .endpoints_n = 3 };
    for (size_t i = 0; i < 3; i++)
        r.endpoints[i].url = "https://member:2379";
    remote_endpoint_failed(&r, &r.endpoints[0], "context deadline exceeded");
    remote_endpoint_failed(&r, &r.endpoints[1], "etcdserver: no leader");
    remote_endpoint_failed(&r, &r.endpoints[2], "the peer does not answer");

    assert_ptr_equal(remote_endpoint(&r), &r.endpoints[1]);
}

static void a_member_that_hangs_is_left(void **state)
{
    struct wired *w = *state;
    struct storage_range_result out;
    struct error err = { 0 };
    put(w->f, "k", "v");
    struct proxy *used = atomic_load(&w->a.links_n) ? &w->a : &w->b;
    proxy_set(used, PROXY_HOLD);
    storage_hurry(w->remote, 10000); /* less than half of it is for that member */
    if (remote_get(w, "k", &out, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(out.n, 1);
    if (remote_put(w, "k", "2", &err) < 0) /* to the other one, at once */
        fail_msg("%s", err.message);
    proxy_set(used, PROXY_PASS);
}

/* Each takes nearly half of the time that a call has, so there is none for a second one. */
static void members_that_are_all_slow_get_the_time_they_need(void **state)
{
    struct wired *w = *state;
    struct error err = { 0 };
    int64_t last = put(w->f, "k", "v"), revision = 0;
    atomic_store(&w->a.delay_ms, 900);
    atomic_store(&w->b.delay_ms, 900);
    storage_hurry(w->remote, 2000);
    int tries = 0;
    while (storage_read_revision(w->remote, &revision, &err) < 0)
        if (++tries == TRIES_MAX)
            fail_msg("%s", err.message);
    assert_int_equal(revision, last);
    struct storage_range_result out;
    tries = 0;
    while (remote_get(w, "k", &out, &err) < 0)
        if (++tries == TRIES_MAX)
            fail_msg("%s", err.message);
    assert_int_equal(out.n, 1);
    atomic_store(&w->a.delay_ms, 0);
    atomic_store(&w->b.delay_ms, 0);
}

static void without_a_member_calls_fail_until_there_is_one(void **state)
{
    struct wired *w = *state;
    struct error err = { 0 };
    proxy_set(&w->a, PROXY_REFUSE);
    proxy_set(&w->b, PROXY_REFUSE);
    storage_hurry(w->remote, 2000);
    assert_int_equal(remote_put(w, "k", "1", &err), -1);
    assert_int_equal(err.code, ERR_UNAVAILABLE); /* certainly not done */
    assert_int_equal(storage_revision(w->remote), -1);
    storage_hurry(w->remote, AMPLE_MS);
    proxy_set(&w->b, PROXY_PASS);
    err = (struct error){ 0 };
    if (remote_put(w, "k", "2", &err) < 0)
        fail_msg("%s", err.message);
    assert_int_not_equal(storage_revision(w->remote), -1);
}

/* ---- many at once ---- */

struct tally {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int done, failed;
};

static void count(const struct storage_txn_result *result, const struct error *err, void *arg)
{
    struct tally *t = arg;
    (void)result;
    pthread_mutex_lock(&t->lock);
    t->done++;
    t->failed += err->code != ERR_NONE;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void many_writes_share_a_connection(void **state)
{
    enum { WRITES = 2000 };
    struct wired *w = *state;
    struct tally t = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };
    struct storage_op *ops = xcalloc(WRITES, sizeof(*ops));
    struct storage_txn *txns = xcalloc(WRITES, sizeof(*txns));
    struct arena *arenas[WRITES];
    for (int i = 0; i < WRITES; i++) {
        arenas[i] = arena_new();
        ops[i] = (struct storage_op){ .type = STORAGE_PUT,
                                      .key = bytes_of(arena_printf(arenas[i], "k%d", i)) };
        txns[i] = (struct storage_txn){ .success = &ops[i], .success_n = 1 };
        storage_txn_submit(w->remote, &txns[i], arenas[i], count, &t);
    }
    pthread_mutex_lock(&t.lock);
    while (t.done < WRITES)
        pthread_cond_wait(&t.changed, &t.lock);
    pthread_mutex_unlock(&t.lock);
    assert_int_equal(t.failed, 0);
    assert_int_equal(range(w->f, "k", "l", 0).n, WRITES);
    assert_true(atomic_load(&w->a.links_n) + atomic_load(&w->b.links_n) <= 2);
    for (int i = 0; i < WRITES; i++)
        arena_free(arenas[i]);
    free(txns);
    free(ops);
}

/* ---- watches ---- */

struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t last, first, progress;
    int64_t gaps; /* revisions that did not come, or came twice */
    enum error_code failed;
    int64_t compacted;
    struct storage_watch *watch;
};

static void on_events(const struct storage_event *events, size_t n, int64_t revision, void *arg)
{
    struct seen *s = arg;
    (void)events, (void)n;
    pthread_mutex_lock(&s->lock);
    if (!s->first)
        s->first = revision;
    else if (revision != s->last + 1)
        s->gaps++;
    s->last = revision;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void on_progress(int64_t revision, void *arg)
{
    struct seen *s = arg;
    pthread_mutex_lock(&s->lock);
    s->progress = revision;
    pthread_mutex_unlock(&s->lock);
}

static void on_failed(const struct error *err, int64_t compacted, void *arg)
{
    struct seen *s = arg;
    pthread_mutex_lock(&s->lock);
    s->failed = err->code;
    s->compacted = compacted;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void watch(struct wired *w, struct seen *s, const char *key, const char *end, int64_t from)
{
    struct error err = { 0 };
    *s = (struct seen){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    struct storage_watch_config config = { .key = bytes_of(key),
                                           .end = bytes_of(end),
                                           .start_revision = from,
                                           .events = on_events,
                                           .failed = on_failed,
                                           .progress = on_progress,
                                           .arg = s };
    s->watch = storage_watch(w->remote, &config, &err);
    if (!s->watch)
        fail_msg("%s", err.message);
}

static void wait_for(struct seen *s, int64_t revision)
{
    pthread_mutex_lock(&s->lock);
    while (s->last < revision && !s->failed)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    assert_int_equal(s->failed, ERR_NONE);
}

static void a_watch_goes_on_where_it_was_cut(void **state)
{
    enum { PUTS = 600 };
    struct wired *w = *state;
    struct seen s;
    int64_t last = 0;
    watch(w, &s, "k", "l", 2);
    for (int i = 0; i < PUTS; i++) {
        last = put(w->f, "k", "v");
        if (i % 100 == 50) {
            atomic_store(&w->a.is_cut, true);
            atomic_store(&w->b.is_cut, true);
        }
    }
    wait_for(&s, last);
    assert_int_equal(s.first, 2);
    assert_int_equal(s.gaps, 0);
    storage_watch_close(s.watch);
}

static void a_watch_whose_history_is_gone_says_so(void **state)
{
    struct wired *w = *state;
    struct seen s;
    struct error err = { 0 };
    int64_t last = put(w->f, "k", "1");
    watch(w, &s, "k", "l", 2);
    wait_for(&s, last);
    proxy_set(&w->a, PROXY_REFUSE);
    proxy_set(&w->b, PROXY_REFUSE);
    for (int i = 0; i < 10; i++)
        last = put(w->f, "k", "2");
    assert_int_equal(storage_compact(w->f->s, last, &err), 0);
    proxy_set(&w->a, PROXY_PASS);
    proxy_set(&w->b, PROXY_PASS);
    pthread_mutex_lock(&s.lock);
    while (!s.failed)
        pthread_cond_wait(&s.changed, &s.lock);
    pthread_mutex_unlock(&s.lock);
    assert_int_equal(s.failed, ERR_COMPACTED);
    assert_int_equal(s.compacted, last);
    storage_watch_close(s.watch);
}

static void a_watch_knows_how_far_it_is(void **state)
{
    struct wired *w = *state;
    struct seen s;
    struct error err = { 0 };
    watch(w, &s, "k", "l", 0);
    int64_t last = put(w->f, "k", "1");
    if (storage_watch_sync(s.watch, 0, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(s.last, last);
    last = put(w->f, "elsewhere", "1"); /* no event tells of it */
    if (storage_watch_sync(s.watch, 0, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(s.progress, last);
    assert_int_equal(storage_watch_revision(s.watch), last);
    storage_watch_close(s.watch);
}

/* ---- leases and history ---- */

static void leases_are_those_of_the_store(void **state)
{
    struct wired *w = *state;
    struct error err = { 0 };
    struct arena *a = w->f->arena;
    int64_t id, other, ttl_s;
    assert_int_equal(storage_lease_grant(w->remote, 0, 100, &id, &err), 0);
    assert_int_equal(storage_lease_grant(w->remote, 77, 50, &other, &err), 0);
    assert_int_equal(other, 77);
    assert_int_equal(storage_lease_grant(w->remote, 77, 50, &other, &err), -1);
    assert_int_equal(err.code, ERR_ALREADY_EXISTS);
    struct storage_op op = { .type = STORAGE_PUT, .key = BYTES("k"), .lease = id };
    struct storage_txn txn = { .success = &op, .success_n = 1 };
    struct storage_txn_result out;
    assert_int_equal(storage_txn(w->remote, &txn, a, &out, &err), 0);
    assert_int_equal(storage_lease_keep_alive(w->remote, id, &ttl_s, &err), 0);
    assert_int_equal(ttl_s, 100);

    struct storage_lease lease, *all;
    size_t n;
    assert_int_equal(storage_lease_find(w->remote, id, a, &lease, &err), 0);
    assert_int_equal(lease.keys_n, 1);
    assert_int_equal(lease.granted_s, 100);
    assert_int_equal(storage_lease_list(w->remote, a, &all, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_int_equal(all[0].id, 77);

    assert_int_equal(storage_lease_revoke(w->remote, id, &err), 0);
    assert_int_equal(range(w->f, "k", NULL, 0).n, 0);
    assert_int_equal(storage_lease_keep_alive(w->remote, id, &ttl_s, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(storage_lease_find(w->remote, id, a, &lease, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static int write_down(const struct storage_version *v, void *arg, struct error *err)
{
    struct buffer *b = arg;
    (void)err;
    buffer_printf(b, "%lld.%u:%s%.*s=%.*s@%lld,%lld%s ", (long long)v->kv.mod_revision, v->sub,
                  v->is_delete ? "-" : "", (int)v->kv.key.len, v->kv.key.data, (int)v->kv.value.len,
                  v->kv.value.len ? v->kv.value.data : "", (long long)v->kv.create_revision,
                  (long long)v->kv.version, v->is_replaced ? "!" : "");
    return 0;
}

static char *history_of(struct wired *w, struct storage *s, int64_t revision)
{
    struct buffer b = { 0 };
    struct storage_history history;
    struct error err = { 0 };
    if (storage_each_version(s, revision, &history, write_down, &b, &err) < 0)
        fail_msg("%s", err.message);
    buffer_printf(&b, "(%lld, %lld)", (long long)history.revision,
                  (long long)history.compacted_revision);
    char *text = arena_strndup(w->f->arena, b.data, b.len);
    buffer_free(&b);
    return text;
}

static void history_is_the_same_from_afar(void **state)
{
    struct wired *w = *state;
    struct error err = { 0 };
    put(w->f, "a", "1");
    put(w->f, "b", "1");
    struct storage_op two[] = {
        { .type = STORAGE_PUT, .key = BYTES("d"), .value = BYTES("x") },
        { .type = STORAGE_PUT, .key = BYTES("c"), .value = BYTES("x") },
    };
    struct storage_txn txn = { .success = two, .success_n = 2 };
    apply(w->f, &txn, NULL);
    int64_t middle = put(w->f, "a", "2");
    del(w->f, "b");
    put(w->f, "a", "3");
    assert_string_equal(history_of(w, w->remote, 0), history_of(w, w->f->s, 0));
    assert_string_equal(history_of(w, w->remote, middle), history_of(w, w->f->s, middle));
    assert_int_equal(storage_compact(w->remote, middle, &err), 0);
    put(w->f, "e", "1");
    /* Both in the order of keys then: of one revision, the wire does not tell which came first. */
    two[0].key = BYTES("f");
    two[1].key = BYTES("g");
    apply(w->f, &txn, NULL);
    del(w->f, "c");
    del(w->f, "d");
    char *near = history_of(w, w->f->s, 0), *far = history_of(w, w->remote, 0);
    assert_int_equal(strlen(near), strlen(far));
    assert_string_equal(strstr(near, "5."), strstr(far, "5."));
}

/* Two servers of the store: the version of the key tells how often either has had its turn. */
static void of_all_servers_one_compacts(void **state)
{
    struct wired *w = *state;
    struct error err = { 0 };
    struct storage *servers[2];
    for (int i = 0; i < 2; i++) {
        struct storage_remote_config config = {
            .endpoints = arena_printf(w->f->arena, "unix://%s/etcd", w->f->dir),
            .compact_interval_ms = 20,
        };
        servers[i] = storage_open_remote(&config, &err);
        assert_non_null(servers[i]);
    }
    int64_t early = put(w->f, "k", "1");
    while (storage_compacted_revision(w->f->s) < early)
        usleep(1000);
    struct storage_range_result turns = range(w->f, "compact_rev_key", NULL, 0);
    assert_int_equal(turns.n, 1);
    assert_true(turns.kvs[0].version >= 2);
    assert_true(strtoll(turns.kvs[0].value.data, NULL, 10) < turns.kvs[0].mod_revision);
    for (int i = 0; i < 2; i++)
        storage_close(servers[i]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, wire, unwire)
#define U(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_urls_that_we_know),
        cmocka_unit_test(of_members_that_all_failed_one_that_answered_is_asked_first),
        U(bad_certificates_are_named),
        U(the_far_end_is_verified),
        T(what_one_member_cannot_do_another_does),
        T(a_read_outlives_nonsense),
        T(a_write_without_an_answer_is_not_repeated),
        T(a_member_that_hangs_is_left),
        T(members_that_are_all_slow_get_the_time_they_need),
        T(without_a_member_calls_fail_until_there_is_one),
        T(many_writes_share_a_connection),
        T(a_watch_goes_on_where_it_was_cut),
        T(a_watch_whose_history_is_gone_says_so),
        T(a_watch_knows_how_far_it_is),
        T(leases_are_those_of_the_store),
        T(history_is_the_same_from_afar),
        T(of_all_servers_one_compacts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
