/* SPDX-License-Identifier: Apache-2.0 */
/* kubernetes_endpoints.c - Endpoints and EndpointSlice of the API servers. */
#include "apiserver/kubernetes_endpoints.h"

#include "apiserver/bootstrap_objects.h"
#include "apiserver/server.h"
#include "apiserver/store_access.h"
#include "base/cond.h"
#include "base/log.h"

#define WRITER_USER    "system:apiserver"
#define LEASES_PREFIX  STORE_ROOT "masterleases/"
#define LEASES_END     STORE_ROOT "masterleases0"
#define LEASE_TTL_S    15
#define TURN_S         5 /* two may fail; a write that failed is tried again after one */
#define ADDRESSES_MAX  256
#define WRITE_ATTEMPTS 5

struct endpoint_reconciler {
    struct apiserver *server;
    struct client *client;
    const char *key;
    int64_t lease; /* 0: none */
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool is_missing; /* somebody deleted one of the objects */
    bool is_stopping;
};

struct addresses {
    const char *items[ADDRESSES_MAX];
    size_t n;
};

/* ---- the objects ---- */

static struct json *append_object(struct arena *a, struct json *doc, const char *path)
{
    return json_append(a, json_make_array(a, doc, path), *json_new(a, JSON_OBJECT));
}

struct json *kubernetes_port(struct arena *a, struct json *doc, const char *path, int64_t port)
{
    struct json *p = append_object(a, doc, path);
    json_put_str(a, p, "name", "https");
    json_put_str(a, p, "protocol", "TCP");
    json_put_int(a, p, "port", port);
    return p;
}

static struct json *named(struct arena *a, const char *label, const char *value)
{
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "metadata.name", "kubernetes");
    json_set(a, json_make(a, doc, "metadata.labels"), label, json_string_value(a, value));
    return doc;
}

static struct json *endpoints_doc(struct apiserver *s, const struct addresses *l, struct arena *a)
{
    struct json *doc = named(a, "endpointslice.kubernetes.io/skip-mirror", "true");
    json_make_array(a, doc, "subsets");
    if (l->n == 0)
        return doc;
    struct json *subset = append_object(a, doc, "subsets");
    for (size_t i = 0; i < l->n; i++)
        json_put_str(a, append_object(a, subset, "addresses"), "ip", l->items[i]);
    kubernetes_port(a, subset, "ports", apiserver_port(s));
    return doc;
}

static struct json *slice_doc(struct apiserver *s, const struct addresses *l, struct arena *a)
{
    struct json *doc = named(a, "kubernetes.io/service-name", "kubernetes");
    bool is_v6 = strchr(s->config.advertise_address, ':') != NULL;
    json_put_str(a, doc, "addressType", is_v6 ? "IPv6" : "IPv4");
    json_make_array(a, doc, "endpoints");
    for (size_t i = 0; i < l->n; i++) {
        struct json *endpoint = append_object(a, doc, "endpoints");
        json_append(a, json_make_array(a, endpoint, "addresses"),
                    json_string_value(a, l->items[i]));
        json_put_bool(a, endpoint, "conditions.ready", true);
    }
    kubernetes_port(a, doc, "ports", apiserver_port(s));
    return doc;
}

/* Makes DOC, or replaces what is there if CONTENT of it is different. */
static int make_current(struct client *c, enum resource_id id, const struct json *doc,
                        const char *content, struct error *err)
{
    const struct resource *r = &resources[id];
    struct object_key key = { "default", "kubernetes" };
    for (int i = 0; i < WRITE_ATTEMPTS; i++) {
        scoped(object) struct object *have = NULL;
        struct error failure = { 0 };
        int rc = client_get(c, r, &key, &have, &failure);
        if (rc == 0 && json_equal(json_get(have->doc, content), json_get(doc, content)))
            return 0;
        if (rc == 0)
            rc = client_update(c, r, &key, doc, NULL, &failure);
        else if (failure.code == ERR_NOT_FOUND)
            rc = client_create(c, r, "default", doc, NULL, &failure);
        if (rc == 0)
            return 0;
        *err = failure;
        if (err->code != ERR_CONFLICT && err->code != ERR_ALREADY_EXISTS &&
            err->code != ERR_NOT_FOUND)
            break;
    }
    return error_wrap(err, "write the addresses of the API servers");
}

static int write_addresses(struct apiserver *s, struct client *c, const struct addresses *l,
                           struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    if (make_current(c, RESOURCE_ENDPOINTS, endpoints_doc(s, l, a), "subsets", err) < 0)
        return -1;
    return make_current(c, RESOURCE_ENDPOINTSLICES, slice_doc(s, l, a), "endpoints", err);
}

/* ---- several servers ---- */

static int put_own_key(struct endpoint_reconciler *e, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct storage *storage = e->server->storage;
    if (storage_lease_grant(storage, 0, LEASE_TTL_S, &e->lease, err) < 0)
        return -1;
    const char *address = e->server->config.advertise_address;
    const char *text = arena_printf(a,
                                    "{\"kind\":\"Endpoints\",\"apiVersion\":\"v1\",\"metadata\":{},"
                                    "\"subsets\":[{\"addresses\":[{\"ip\":\"%s\"}]}]}",
                                    address);
    struct storage_op put = {
        .type = STORAGE_PUT, .key = bytes_of(e->key), .value = bytes_of(text), .lease = e->lease
    };
    struct storage_txn txn = { .success = &put, .success_n = 1 };
    struct storage_txn_result result;
    if (storage_txn(storage, &txn, a, &result, err) == 0)
        return 0;
    e->lease = 0;
    return -1;
}

static int keep_own_key(struct endpoint_reconciler *e, struct error *err)
{
    int64_t ttl_s;
    struct error gone = { 0 };
    if (e->lease && storage_lease_keep_alive(e->server->storage, e->lease, &ttl_s, &gone) == 0)
        return 0;
    if (e->lease && gone.code != ERR_NOT_FOUND) {
        *err = gone;
        return -1;
    }
    return put_own_key(e, err);
}

static int live_servers(struct endpoint_reconciler *e, struct arena *a, struct addresses *out,
                        struct error *err)
{
    struct bytes prefix = BYTES(LEASES_PREFIX);
    struct storage_range range = {
        .key = prefix, .end = BYTES(LEASES_END), .limit = ADDRESSES_MAX, .keys_only = true
    };
    struct storage_range_result found;
    if (storage_range(e->server->storage, &range, a, &found, err) < 0)
        return -1;
    for (size_t i = 0; i < found.n; i++)
        out->items[out->n++] =
            arena_strndup(a, found.kvs[i].key.data + prefix.len, found.kvs[i].key.len - prefix.len);
    return 0;
}

/* Pods cannot reach a server on the loopback, and its address is not valid in endpoints. */
static bool is_reachable(const char *address)
{
    return !str_empty(address) && !str_has_prefix(address, "127.") && !str_equal(address, "::1");
}

static bool has_own_key(const struct endpoint_reconciler *e)
{
    return is_reachable(e->server->config.advertise_address) &&
           storage_is_shared(e->server->storage);
}

static int reconcile(struct endpoint_reconciler *e, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct addresses l = { 0 };
    if (!is_reachable(e->server->config.advertise_address))
        return 0;
    if (!has_own_key(e))
        l = (struct addresses){ { e->server->config.advertise_address }, 1 };
    else if (live_servers(e, a, &l, err) < 0)
        return -1;
    return write_addresses(e->server, e->client, &l, err);
}

static int turn(struct endpoint_reconciler *e, struct error *err)
{
    if (has_own_key(e) && keep_own_key(e, err) < 0)
        return -1;
    if (bootstrap_kubernetes_service(e->server, e->client, err) < 0)
        return -1;
    return reconcile(e, err);
}

/* Until an object is missing, the server stops or, if IS_LIMITED, the next turn is due. */
static void wait_locked(struct endpoint_reconciler *e, bool is_limited)
{
    int64_t turn_ns = clock_monotonic_ns(&system_clock) + TURN_S * NS_PER_S;
    while (!e->is_stopping && !e->is_missing &&
           cond_wait_until(&e->changed, &e->lock, is_limited ? turn_ns : INT64_MAX))
        ;
    e->is_missing = false;
}

static void *run(void *arg)
{
    struct endpoint_reconciler *e = arg;
    bool is_shared = has_own_key(e);
    pthread_mutex_lock(&e->lock);
    while (!e->is_stopping) {
        pthread_mutex_unlock(&e->lock);
        struct error err = { 0 };
        int rc = turn(e, &err);
        if (rc < 0)
            log_warn("apiserver", "addresses of the API servers: %s", err.message);
        pthread_mutex_lock(&e->lock);
        wait_locked(e, is_shared || rc < 0);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

static void on_change(const struct object *old, const struct object *new, void *arg)
{
    struct endpoint_reconciler *e = arg;
    if (new || !str_equal(old->key.name, "kubernetes") || !str_equal(old->key.ns, "default"))
        return;
    pthread_mutex_lock(&e->lock);
    e->is_missing = true;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

/* The address goes now, not when the lease ends. */
static void withdraw(struct endpoint_reconciler *e)
{
    struct error err = { 0 };
    if (e->lease &&
        (storage_lease_revoke(e->server->storage, e->lease, &err) < 0 || reconcile(e, &err) < 0))
        log_warn("apiserver", "withdraw the address of this server: %s", err.message);
}

void kubernetes_endpoints_stop(struct apiserver *a)
{
    struct endpoint_reconciler *e = a->endpoints;
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->is_stopping = true;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    withdraw(e);
    client_close(e->client);
}

void kubernetes_endpoints_free(struct endpoint_reconciler *e)
{
    if (!e)
        return;
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

int kubernetes_endpoints_start(struct apiserver *a, struct error *err)
{
    static const enum resource_id kinds[] = { RESOURCE_SERVICES, RESOURCE_ENDPOINTS,
                                              RESOURCE_ENDPOINTSLICES };
    static const char *const groups[] = { "system:masters", NULL };
    struct endpoint_reconciler *e = xcalloc(1, sizeof(*e));
    e->server = a;
    e->client = apiserver_loopback(a, WRITER_USER, groups);
    e->key = arena_printf(a->arena, LEASES_PREFIX "%s", a->config.advertise_address);
    pthread_mutex_init(&e->lock, NULL);
    cond_init(&e->changed);
    /* A server that is alone has them when it is ready; others may be slow to answer. */
    if (!has_own_key(e) && reconcile(e, err) < 0) {
        client_close(e->client);
        kubernetes_endpoints_free(e);
        return -1;
    }
    a->endpoints = e;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        watch_cache_observe(watch_cache_of(a, &resources[kinds[i]]), on_change, e);
    ensure(pthread_create(&e->thread, NULL, run, e) == 0);
    return 0;
}
