/* SPDX-License-Identifier: Apache-2.0 */
/* remote.c - the store in an etcd cluster: endpoints, and calls that move on when one fails. */
#include "storage/remote.h"

#include "base/cond.h"
#include "base/files.h"
#include "base/log.h"

#define CONNECT_TIMEOUT_MS 2000
/* etcd takes more than one question in five seconds for an attack. */
#define PING_AFTER_MS   5500
#define PING_TIMEOUT_MS 2500
/* etcd itself gives up on a proposal after 7 seconds. */
#define CALL_TIMEOUT_MS 10000
#define ATTEMPTS_MAX    64
#define CALLS_MAX       65536
/* Parts of a call's time that a member gets for a read before the next one is asked; of a probe
 * twice as much in each turn through all of them. */
#define PROBE_PERCENT 4
#define READ_PERCENT  40
#define PATIENCE_MAX  5 /* all of it */
/* A member that does not answer at all is passed over for longer than one that has no leader yet.
 */
#define SILENT_BAD_NS  (5 * NS_PER_S)
#define BACKOFF_NS_MIN (50 * NS_PER_MS)
/* A cluster that has elected a leader is used again within this. */
#define BACKOFF_NS_MAX (500 * NS_PER_MS)
/* A page of a list of the largest objects there may be. */
#define MESSAGE_BYTES_MAX ((size_t)1 << 30)
#define PEM_BYTES_MAX     (1 << 20)
#define COMPACT_MS        (INT64_C(5) * 60 * 1000)

const struct grpc_metadata remote_metadata[1] = { { "hasleader", "true" } };

/* ---- what etcd says ---- */

static const struct {
    const char *text;
    enum error_code code;
    bool is_refusal; /* another member may do it, and this one has not */
} known_failures[] = {
    { "required revision has been compacted", ERR_COMPACTED, false },
    { "required revision is a future revision", ERR_FUTURE_REVISION, false },
    { "database space exceeded", ERR_NO_SPACE, false },
    { "requested lease not found", ERR_NOT_FOUND, false },
    { "lease already exists", ERR_ALREADY_EXISTS, false },
    { "request is too large", ERR_TOO_LARGE, false },
    { "message larger than max", ERR_TOO_LARGE, false },
    { "too many requests", ERR_UNAVAILABLE, false },
    { "etcdserver: no leader", ERR_UNAVAILABLE, true },
    { "rpc not supported for learner", ERR_UNAVAILABLE, true },
    { "etcdserver: not capable", ERR_UNAVAILABLE, true },
};

static bool is_refusal(const char *message)
{
    for (size_t i = 0; i < ARRAY_LEN(known_failures); i++)
        if (known_failures[i].is_refusal && strstr(message, known_failures[i].text))
            return true;
    return false;
}

/* ---- endpoints ---- */

/* The one in use until it fails; then the next that has not failed of late, or the one of which
 * that will be forgotten first. */
struct remote_endpoint *remote_endpoint(struct remote *r)
{
    unsigned current = atomic_load(&r->current);
    int64_t now_ns = clock_monotonic_ns(&system_clock), best_ns = INT64_MAX;
    struct remote_endpoint *best = NULL;
    for (unsigned i = 0; i < r->endpoints_n; i++) {
        unsigned at = (current + i) % (unsigned)r->endpoints_n;
        int64_t bad_until_ns = atomic_load(&r->endpoints[at].bad_until_ns);
        if (bad_until_ns > now_ns) {
            if (bad_until_ns < best_ns)
                best = &r->endpoints[at];
            best_ns = bad_until_ns < best_ns ? bad_until_ns : best_ns;
            continue;
        }
        if (i > 0 && atomic_compare_exchange_strong(&r->current, &current, at))
            log_info("storage", "now using etcd at %s", r->endpoints[at].url);
        return &r->endpoints[at];
    }
    return best;
}

void remote_endpoint_failed(struct remote *r, struct remote_endpoint *e, const char *why)
{
    unsigned failures = atomic_fetch_add(&e->failures, 1);
    int64_t until_ns = clock_monotonic_ns(&system_clock) + remote_backoff_ns(failures);
    if (!is_refusal(why))
        until_ns += SILENT_BAD_NS;
    atomic_store(&e->bad_until_ns, until_ns);
    if (failures == 0 && !atomic_load(&r->is_closing))
        log_warn("storage", "etcd at %s: %s", e->url, why);
    unsigned at = (unsigned)(e - r->endpoints);
    atomic_compare_exchange_strong(&r->current, &at, (at + 1) % (unsigned)r->endpoints_n);
}

void remote_endpoint_answered(struct remote_endpoint *e)
{
    if (atomic_load(&e->failures) == 0)
        return;
    atomic_store(&e->failures, 0);
    atomic_store(&e->bad_until_ns, 0);
}

int64_t remote_backoff_ns(unsigned failures)
{
    int64_t ns = BACKOFF_NS_MIN << (failures > 10 ? 10 : failures);
    ns = ns > BACKOFF_NS_MAX ? BACKOFF_NS_MAX : ns;
    return ns / 2 + (int64_t)rng_below(system_rng, (uint64_t)ns / 2 + 1);
}

void remote_saw_revision(struct remote *r, int64_t revision)
{
    int64_t known = atomic_load(&r->revision);
    while (revision > known && !atomic_compare_exchange_weak(&r->revision, &known, revision))
        ;
}

/* ---- the timer ---- */

void remote_schedule(struct remote *r, struct remote_task *t, int64_t after_ns)
{
    pthread_mutex_lock(&r->timer_lock);
    bool closing = !r->timer_runs;
    if (!closing) {
        due_heap_add(&r->timers, &t->due, clock_monotonic_ns(&system_clock) + after_ns);
        pthread_cond_signal(&r->timer_changed);
    }
    pthread_mutex_unlock(&r->timer_lock);
    if (closing)
        t->run(t); /* which sees that nothing is begun any more */
}

/* Under the lock: waits for what is due next.  NULL: the store closes. */
static struct remote_task *next_task(struct remote *r)
{
    for (;;) {
        struct due_node *first = due_heap_first(&r->timers);
        int64_t now_ns = clock_monotonic_ns(&system_clock);
        if (first && (!r->timer_runs || first->due_ns <= now_ns)) {
            due_heap_remove(&r->timers, first);
            return (struct remote_task *)first;
        }
        if (!r->timer_runs)
            return NULL;
        cond_wait_until(&r->timer_changed, &r->timer_lock, first ? first->due_ns : INT64_MAX);
    }
}

static void *run_timer(void *arg)
{
    struct remote *r = arg;
    struct remote_task *t;
    pthread_mutex_lock(&r->timer_lock);
    while ((t = next_task(r))) {
        pthread_mutex_unlock(&r->timer_lock);
        t->run(t);
        pthread_mutex_lock(&r->timer_lock);
    }
    pthread_mutex_unlock(&r->timer_lock);
    return NULL;
}

static void stop_timer(struct remote *r)
{
    pthread_mutex_lock(&r->timer_lock);
    bool ran = r->timer_runs;
    r->timer_runs = false;
    pthread_cond_signal(&r->timer_changed);
    pthread_mutex_unlock(&r->timer_lock);
    if (ran)
        pthread_join(r->timer, NULL);
    due_heap_deinit(&r->timers);
}

/* ---- errors ---- */

/* What may be otherwise at another member, or a moment later. */
static bool is_passing(enum grpc_status status)
{
    return status == GRPC_UNAVAILABLE || status == GRPC_DEADLINE_EXCEEDED ||
           status == GRPC_CANCELLED || status == GRPC_INTERNAL || status == GRPC_UNKNOWN ||
           status == GRPC_UNIMPLEMENTED;
}

static enum error_code code_of(enum grpc_status status, bool not_sent, const struct error *from)
{
    for (size_t i = 0; i < ARRAY_LEN(known_failures); i++)
        if (strstr(from->message, known_failures[i].text))
            return known_failures[i].code;
    if (not_sent)
        return ERR_UNAVAILABLE;
    if (status == GRPC_INVALID_ARGUMENT)
        return ERR_BAD_REQUEST;
    /* Who may not use the store is us, not our client. */
    if (status == GRPC_UNAUTHENTICATED || status == GRPC_PERMISSION_DENIED)
        return ERR_INTERNAL;
    return is_passing(status) ? ERR_TIMEOUT : ERR_INTERNAL;
}

void remote_error(enum grpc_status status, bool not_sent, const struct error *from,
                  struct error *to)
{
    error_set(to, code_of(status, not_sent, from), "%s", from->message);
}

/* ---- calls ---- */

struct call {
    struct remote_task task; /* first: the wait before another attempt */
    struct remote *remote;
    struct remote_endpoint *endpoint; /* of this attempt */
    const char *method;
    enum remote_repeat repeat;
    struct buffer request, response;
    bool has_response;
    int64_t begin_ns, attempt_ns;
    unsigned attempts, patience; /* patience: that it began with */
    bool ran_out;                /* an attempt took too long */
    struct error failure;        /* of the attempt before */
    remote_done_fn *done;
    void *arg;
};

static void call_end(struct call *c, const struct error *err)
{
    atomic_fetch_sub(&c->remote->calls_n, 1);
    c->done(buffer_bytes(&c->response), err, c->arg);
    buffer_free(&c->request);
    buffer_free(&c->response);
    free(c);
}

static void on_message(struct bytes message, void *arg)
{
    struct call *c = arg;
    buffer_clear(&c->response);
    buffer_add_bytes(&c->response, message);
    c->has_response = true;
}

static void attempt(struct call *c);

static void attempt_again(struct remote_task *t)
{
    attempt((struct call *)t);
}

static int64_t deadline_ns(const struct call *c)
{
    return c->begin_ns + atomic_load(&c->remote->call_timeout_ms) * NS_PER_MS;
}

/* ---- how long a member may take ---- */

/* A read may be answered by another member when this one hangs, so it is sent on soon; every member
 * has had its turn before any of them gets more.  Where all are slow a call would be over before
 * any of them got to answer: the calls after it begin with as much time as it ended with, until a
 * member is quick again. */

static int64_t probe_ms(const struct remote *r, unsigned patience)
{
    int64_t whole_ms = atomic_load(&r->call_timeout_ms);
    int64_t ms = (whole_ms * PROBE_PERCENT / 100) << patience;
    return ms < whole_ms ? ms : whole_ms;
}

static unsigned patience_of(const struct call *c)
{
    unsigned patience = c->patience + c->attempts / (unsigned)c->remote->endpoints_n;
    return patience < PATIENCE_MAX ? patience : PATIENCE_MAX;
}

static int64_t part_of_call_ms(const struct call *c)
{
    int64_t part_ms = probe_ms(c->remote, patience_of(c));
    int64_t read_ms = atomic_load(&c->remote->call_timeout_ms) * READ_PERCENT / 100;
    return c->repeat == REMOTE_PROBE || part_ms > read_ms ? part_ms : read_ms;
}

static void was_in_time(struct call *c)
{
    struct remote *r = c->remote;
    int64_t took_ms = (clock_monotonic_ns(&system_clock) - c->attempt_ns) / NS_PER_MS;
    unsigned patience = 0;
    while (patience < PATIENCE_MAX && probe_ms(r, patience) < 2 * took_ms)
        patience++;
    if (c->repeat == REMOTE_PROBE && atomic_load(&r->patience) != patience)
        atomic_store(&r->patience, patience);
}

static void was_never_in_time(struct call *c)
{
    unsigned known = atomic_load(&c->remote->patience), wanted = patience_of(c);
    if (wanted == c->patience && wanted < PATIENCE_MAX)
        wanted++;
    while (c->ran_out && known < wanted &&
           !atomic_compare_exchange_weak(&c->remote->patience, &known, wanted))
        ;
}

/* ---- attempts ---- */

/* Whether to try once more; WAIT_NS is set if every endpoint had its turn. */
static bool goes_on(struct call *c, enum grpc_status status, bool not_sent, const struct error *err,
                    int64_t *wait_ns)
{
    struct remote *r = c->remote;
    bool refused = is_refusal(err->message);
    bool is_safe = not_sent || refused || c->repeat != REMOTE_WRITE;
    if (!is_safe || (!is_passing(status) && !refused) || atomic_load(&r->is_closing) ||
        c->attempts >= ATTEMPTS_MAX)
        return false;
    *wait_ns = c->attempts % r->endpoints_n == 0
                   ? remote_backoff_ns(c->attempts / (unsigned)r->endpoints_n)
                   : 0;
    return clock_monotonic_ns(&system_clock) + *wait_ns < deadline_ns(c);
}

static void on_end(enum grpc_status status, bool not_sent, const struct error *err, void *arg)
{
    struct call *c = arg;
    int64_t wait_ns = 0;
    if (status == GRPC_OK && c->has_response) {
        remote_endpoint_answered(c->endpoint);
        was_in_time(c);
        call_end(c, &(struct error){ 0 });
        return;
    }
    struct error missing = { 0 };
    if (status == GRPC_OK) {
        error_set(&missing, ERR_INTERNAL, "answer without a message");
        err = &missing;
        status = GRPC_UNKNOWN;
    }
    if (is_passing(status)) {
        remote_endpoint_failed(c->remote, c->endpoint, err->message);
        if (c->remote->endpoints_n > 1 && !atomic_load(&c->remote->is_closing))
            remote_watches_leave(c->remote->watches, c->endpoint);
    } else {
        remote_endpoint_answered(c->endpoint);
    }
    c->ran_out |= status == GRPC_DEADLINE_EXCEEDED && c->repeat != REMOTE_WRITE;
    remote_error(status, not_sent, err, &c->failure);
    error_wrap(&c->failure, "etcd at %s", c->endpoint->url);
    if (!goes_on(c, status, not_sent, err, &wait_ns)) {
        was_never_in_time(c);
        call_end(c, &c->failure);
    } else if (wait_ns == 0) {
        attempt(c);
    } else {
        remote_schedule(c->remote, &c->task, wait_ns);
    }
}

static void attempt(struct call *c)
{
    struct remote *r = c->remote;
    c->attempt_ns = clock_monotonic_ns(&system_clock);
    int64_t left_ms = (deadline_ns(c) - c->attempt_ns) / NS_PER_MS;
    if (atomic_load(&r->is_closing) || left_ms <= 0) {
        if (!c->failure.code)
            error_set(&c->failure, ERR_UNAVAILABLE, "%s: no member of etcd answers", c->method);
        was_never_in_time(c);
        call_end(c, &c->failure);
        return;
    }
    int64_t timeout_ms = left_ms, part_ms = part_of_call_ms(c);
    if (c->repeat != REMOTE_WRITE && timeout_ms > part_ms && r->endpoints_n > 1)
        timeout_ms = part_ms;
    c->attempts++;
    c->has_response = false;
    c->endpoint = remote_endpoint(r);
    struct grpc_call_options options = { .timeout_ms = (int)timeout_ms,
                                         .metadata = remote_metadata,
                                         .metadata_n = ARRAY_LEN(remote_metadata) };
    struct grpc_events events = { on_message, on_end, c };
    grpc_unary_start(c->endpoint->channel, c->method, buffer_bytes(&c->request), &options, &events);
}

struct bytes remote_pack(const ProtobufCMessage *m, struct arena *arena)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *data = arena_alloc(arena, len + 1);
    protobuf_c_message_pack(m, data);
    return (struct bytes){ (const char *)data, len };
}

void remote_start(struct remote *r, const char *method, enum remote_repeat repeat,
                  const ProtobufCMessage *request, remote_done_fn *done, void *arg)
{
    struct error err = { 0 };
    size_t len = protobuf_c_message_get_packed_size(request);
    bool is_full = atomic_fetch_add(&r->calls_n, 1) >= CALLS_MAX;
    if (is_full || len > GRPC_MESSAGE_BYTES_MAX) {
        atomic_fetch_sub(&r->calls_n, 1);
        if (is_full)
            error_set(&err, ERR_UNAVAILABLE, "%d calls to etcd wait already", CALLS_MAX);
        else
            error_set(&err, ERR_TOO_LARGE, "etcdserver: request is too large");
        done((struct bytes){ 0 }, &err, arg);
        return;
    }
    struct call *c = xcalloc(1, sizeof(*c));
    c->task.run = attempt_again;
    c->remote = r;
    c->method = method;
    c->repeat = repeat;
    c->patience = atomic_load(&r->patience);
    c->begin_ns = clock_monotonic_ns(&system_clock);
    c->done = done;
    c->arg = arg;
    buffer_reserve(&c->request, len + 1);
    protobuf_c_message_pack(request, (uint8_t *)c->request.data);
    c->request.len = len;
    attempt(c);
}

/* ---- waiting for one ---- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct arena *arena;
    struct bytes response;
    struct error *err;
    bool is_done;
};

static void waiter_done(struct bytes response, const struct error *err, void *arg)
{
    struct waiter *w = arg;
    pthread_mutex_lock(&w->lock);
    if (err->code)
        *w->err = *err;
    else
        w->response = arena_bytes(w->arena, response);
    w->is_done = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void *allocate(void *arena, size_t bytes)
{
    return arena_alloc(arena, bytes);
}

static void keep(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

void *remote_unpack(const ProtobufCMessageDescriptor *type, struct bytes message,
                    struct arena *arena)
{
    ProtobufCAllocator allocator = { allocate, keep, arena };
    return protobuf_c_message_unpack(type, &allocator, message.len, (const uint8_t *)message.data);
}

int remote_call(struct remote *r, const char *method, enum remote_repeat repeat,
                const ProtobufCMessage *request, struct arena *arena,
                const ProtobufCMessageDescriptor *response, void *out, struct error *err)
{
    struct error failure = { 0 };
    struct waiter w = { .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER,
                        .arena = arena,
                        .err = &failure };
    remote_start(r, method, repeat, request, waiter_done, &w);
    pthread_mutex_lock(&w.lock);
    while (!w.is_done)
        pthread_cond_wait(&w.changed, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_cond_destroy(&w.changed);
    pthread_mutex_destroy(&w.lock);
    if (failure.code) {
        *err = failure;
        return -1;
    }
    void *message = remote_unpack(response, w.response, arena);
    if (!message)
        return error_set(err, ERR_INTERNAL, "etcd: %s: the answer does not parse", method);
    *(void **)out = message;
    return 0;
}

/* ---- what needs no file of its own ---- */

static int64_t op_revision(struct storage *s)
{
    struct remote *r = remote_of(s);
    for (size_t i = 0; i < r->endpoints_n; i++)
        if (atomic_load(&r->endpoints[i].failures) == 0)
            return atomic_load(&r->revision);
    return -1;
}

static int64_t op_compacted_revision(struct storage *s)
{
    return atomic_load(&remote_of(s)->compacted_revision);
}

/* What is read lies in an arena of its own, which is the hold. */
static int op_range_hold(struct storage *s, const struct storage_range *range, struct arena *arena,
                         struct storage_range_result *out, struct storage_hold **hold,
                         struct error *err)
{
    (void)arena;
    struct arena *own = arena_new();
    if (remote_range(s, range, own, out, err) < 0) {
        arena_free(own);
        return -1;
    }
    *hold = (struct storage_hold *)own;
    return 0;
}

static int op_hold_check(struct storage *s, const struct storage_hold *hold, struct error *err)
{
    (void)s, (void)hold, (void)err;
    return 0;
}

static void op_hold_release(struct storage *s, struct storage_hold *hold)
{
    (void)s;
    arena_free((struct arena *)hold);
}

static void op_hurry(struct storage *s, int64_t call_timeout_ms)
{
    atomic_store(&remote_of(s)->call_timeout_ms, call_timeout_ms);
}

static void op_close(struct storage *s)
{
    struct remote *r = remote_of(s);
    atomic_store(&r->is_closing, true);
    if (r->watches)
        remote_watches_stop(r->watches);
    stop_timer(r);
    for (size_t i = 0; i < r->endpoints_n; i++)
        grpc_channel_free(r->endpoints[i].channel);
    remote_watches_free(r->watches);
    remote_compactor_free(r->compactor);
    for (size_t i = 0; i < r->endpoints_n; i++) {
        free(r->endpoints[i].url);
        tls_unref(r->endpoints[i].tls);
    }
    pthread_cond_destroy(&r->timer_changed);
    pthread_mutex_destroy(&r->timer_lock);
    pthread_cond_destroy(&r->read_changed);
    pthread_mutex_destroy(&r->read_lock);
    free(r->marker_key);
    free(r);
}

static const struct storage_ops remote_ops = {
    .is_shared = true,
    .hurry = op_hurry,
    .close = op_close,
    .range = remote_range,
    .range_hold = op_range_hold,
    .hold_check = op_hold_check,
    .hold_release = op_hold_release,
    .revision = op_revision,
    .compacted_revision = op_compacted_revision,
    .read_revision = remote_read_revision,
    .txn = remote_txn,
    .txn_submit = remote_txn_submit,
    .watch = remote_watch,
    .watch_close = remote_watch_close,
    .watch_revision = remote_watch_revision,
    .watch_sync = remote_watch_sync,
    .lease_grant = remote_lease_grant,
    .lease_revoke = remote_lease_revoke,
    .lease_keep_alive = remote_lease_keep_alive,
    .lease_find = remote_lease_find,
    .lease_list = remote_lease_list,
    .compact = remote_compact,
    .status = remote_status,
    .defragment = remote_defragment,
    .each_version = remote_each_version,
};

/* ---- opening ---- */

static int read_pem(const char *path, struct arena *a, struct bytes *out, struct error *err)
{
    if (!path)
        return 0;
    if (files_read(path, PEM_BYTES_MAX, a, out, err) == 0)
        return 0;
    error_wrap(err, "datastore");
    err->code = ERR_BAD_REQUEST;
    return -1;
}

static struct tls *open_tls(const struct storage_remote_config *config, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct tls_client_config tls = { 0 };
    if (!config->cert_file != !config->key_file) {
        error_set(err, ERR_BAD_REQUEST,
                  "datastore: a certificate and its key are given both or neither");
        return NULL;
    }
    if (read_pem(config->ca_file, a, &tls.ca_pem, err) < 0 ||
        read_pem(config->cert_file, a, &tls.certificate_pem, err) < 0 ||
        read_pem(config->key_file, a, &tls.key_pem, err) < 0)
        return NULL;
    struct tls *t = tls_client_new(&tls, err);
    if (!t) {
        error_wrap(err, "datastore: %s%s%s", config->ca_file ? config->ca_file : "",
                   config->ca_file && config->cert_file ? ", " : "",
                   config->cert_file ? config->cert_file : "");
        err->code = ERR_BAD_REQUEST;
    }
    return t;
}

/* The address behind the scheme, without a path; malloc'ed. */
static char *target_of(const char *url, bool *is_tls, struct error *err)
{
    *is_tls = str_has_prefix(url, "https://");
    if (str_has_prefix(url, "unix:///"))
        return xasprintf("unix:%s", url + strlen("unix://"));
    if (str_has_prefix(url, "unix:/") && url[strlen("unix:/")] != '/')
        return xstrdup(url);
    if (!*is_tls && !str_has_prefix(url, "http://")) {
        error_set(err, ERR_BAD_REQUEST,
                  "datastore endpoint \"%s\" begins with none of https://, http:// and unix:/",
                  url);
        return NULL;
    }
    const char *authority = strstr(url, "://") + 3;
    size_t len = strcspn(authority, "/");
    const char *bracket = memchr(authority, ']', len);
    const char *port = memchr(bracket ? bracket : authority, ':', len);
    char *end = NULL;
    unsigned long number = port ? strtoul(port + 1, &end, 10) : 2379;
    if (len == 0 || port == authority || strspn(authority + len, "/") != strlen(authority + len) ||
        (port && (end == port + 1 || end != authority + len)) || number == 0 || number > 65535) {
        error_set(err, ERR_BAD_REQUEST, "datastore endpoint \"%s\" is not like https://host:2379",
                  url);
        return NULL;
    }
    int host_len = (int)(port ? (size_t)(port - authority) : len);
    return xasprintf("%.*s:%lu", host_len, authority, number);
}

struct opening {
    struct remote *remote;
    const struct storage_remote_config *config;
};

static int add_endpoint(const char *url, void *arg, struct error *err)
{
    const struct opening *o = arg;
    struct remote *r = o->remote;
    bool is_tls;
    scoped(str) char *target = target_of(url, &is_tls, err);
    if (!target)
        return -1;
    struct remote_endpoint *e = &r->endpoints[r->endpoints_n++];
    e->url = xstrdup(url);
    if (is_tls) {
        e->tls = open_tls(o->config, err);
        if (!e->tls)
            return -1;
    }
    struct grpc_channel_config channel = { .target = target,
                                           .tls = e->tls,
                                           .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                           .message_bytes_max = MESSAGE_BYTES_MAX,
                                           .ping_after_ms = PING_AFTER_MS,
                                           .ping_timeout_ms = PING_TIMEOUT_MS };
    e->channel = grpc_channel_open(&channel, err);
    return e->channel ? 0 : -1;
}

static int each_url(const char *endpoints, int (*fn)(const char *url, void *arg, struct error *err),
                    void *arg, struct error *err)
{
    scoped(str) char *list = xstrdup(endpoints);
    char *state;
    size_t n = 0;
    for (char *url = strtok_r(list, ", ", &state); url; url = strtok_r(NULL, ", ", &state), n++) {
        if (n == REMOTE_ENDPOINTS_MAX)
            return error_set(err, ERR_BAD_REQUEST, "more than %d datastore endpoints",
                             REMOTE_ENDPOINTS_MAX);
        if (fn(url, arg, err) < 0)
            return -1;
    }
    return n > 0 ? 0 : error_set(err, ERR_BAD_REQUEST, "no datastore endpoint");
}

static int check_url(const char *url, void *arg, struct error *err)
{
    bool is_tls;
    (void)arg;
    scoped(str) char *target = target_of(url, &is_tls, err);
    return target ? 0 : -1;
}

int storage_check_endpoints(const char *endpoints, struct error *err)
{
    return each_url(endpoints, check_url, NULL, err);
}

struct storage *storage_open_remote(const struct storage_remote_config *config, struct error *err)
{
    struct remote *r = xcalloc(1, sizeof(*r));
    r->storage.ops = &remote_ops;
    r->call_timeout_ms = config->call_timeout_ms ? config->call_timeout_ms : CALL_TIMEOUT_MS;
    r->marker_key = config->marker_key ? xstrdup(config->marker_key) : NULL;
    pthread_mutex_init(&r->timer_lock, NULL);
    pthread_mutex_init(&r->read_lock, NULL);
    pthread_cond_init(&r->read_changed, NULL);
    cond_init(&r->timer_changed);
    struct opening opening = { r, config };
    if (each_url(config->endpoints, add_endpoint, &opening, err) < 0) {
        op_close(&r->storage);
        return NULL;
    }
    /* Servers that start together shall not all begin with the same member. */
    atomic_store(&r->current, (unsigned)rng_below(system_rng, r->endpoints_n));
    r->timer_runs = true;
    int rc = pthread_create(&r->timer, NULL, run_timer, r);
    if (rc) {
        r->timer_runs = false;
        error_set(err, ERR_INTERNAL, "start the timer of the datastore: %s", strerror(rc));
        op_close(&r->storage);
        return NULL;
    }
    r->watches = remote_watches_new(r);
    int64_t compact_ms = config->compact_interval_ms ? config->compact_interval_ms : COMPACT_MS;
    if (compact_ms > 0)
        r->compactor = remote_compactor_new(r, compact_ms);
    /* A first look, so that much is known at once.  Whether it fails, the first call tells again.
     */
    int64_t revision;
    struct error unreachable = { 0 };
    if (remote_read_revision(&r->storage, &revision, &unreachable) < 0)
        log_debug("storage", "%s", unreachable.message);
    return &r->storage;
}
