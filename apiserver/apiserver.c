/* SPDX-License-Identifier: Apache-2.0 */
/* apiserver.c - start and stop, in order. */
#include "apiserver/apiserver.h"

#include <unistd.h>

#include "api/status.h"
#include "apiserver/authn.h"
#include "apiserver/authz.h"
#include "apiserver/bootstrap_objects.h"
#include "apiserver/documents.h"
#include "apiserver/encryption.h"
#include "apiserver/http_handler.h"
#include "apiserver/kubernetes_endpoints.h"
#include "apiserver/pki.h"
#include "apiserver/server.h"
#include "apiserver/service_allocator.h"
#include "apiserver/strategy_service.h"
#include "apiserver/watch_delivery.h"
#include "base/http_server.h"
#include "base/limits.h"
#include "base/log.h"

#define LOOPS_MAX 4
/* A worker waits for the store most of the time; as many may share one group commit. */
#define WORKER_THREADS_MAX 64
#define WORKER_QUEUED_MAX  4096
#define STREAM_THREADS_MAX 256
/* How long requests may take to end when the server stops; watches are ended at once. */
#define STOP_GRACE_MS 2000

static const char *const *copy_list(const char *const *list, struct arena *a)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    const char **copy = arena_zalloc(a, (n + 1) * sizeof(*copy));
    for (size_t i = 0; i < n; i++)
        copy[i] = arena_strdup(a, list[i]);
    return copy;
}

static void copy_config(struct apiserver *a, const struct apiserver_config *config)
{
    struct apiserver_config *c = &a->config;
    *c = *config;
    c->data_dir = arena_strdup(a->arena, config->data_dir);
    c->bind_address = arena_strdup(a->arena, config->bind_address);
    c->advertise_address = arena_strdup(a->arena, config->advertise_address);
    c->tls_sans = copy_list(config->tls_sans, a->arena);
    c->service_cidr =
        arena_strdup(a->arena, config->service_cidr ? config->service_cidr : "10.43.0.0/16");
    c->node_port_range =
        arena_strdup(a->arena, config->node_port_range ? config->node_port_range : "30000-32767");
    c->cluster_domain =
        arena_strdup(a->arena, config->cluster_domain ? config->cluster_domain : "cluster.local");
    c->own_node = arena_strdup(a->arena, config->own_node);
    c->encryption_config = arena_strdup(a->arena, config->encryption_config);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->loops <= 0)
        c->loops = cores < 1 ? 1 : cores > LOOPS_MAX ? LOOPS_MAX : (int)cores;
}

/* The Status for a body over the limit, which is refused before it is a request. */
static const char *too_large(struct arena *a)
{
    struct error err;
    scoped(buffer) struct buffer text = { 0 };
    error_set(&err, ERR_TOO_LARGE, "Request entity too large: limit is %d", REQUEST_BODY_BYTES_MAX);
    json_print(status_from_error(&err, NULL, a), &text);
    return arena_strndup(a, text.data, text.len);
}

static int listen_https(struct apiserver *a, struct error *err)
{
    struct http_server_config config = { .bind_address = a->config.bind_address,
                                         .port = a->config.port,
                                         .tls = pki_server_tls(a->pki),
                                         .loops = a->config.loops,
                                         .too_large_json = too_large(a->arena),
                                         .handle = http_handle,
                                         .arg = a };
    a->http = http_server_start(&config, err);
    return a->http ? 0 : -1;
}

static int start_encryption(struct apiserver *a, struct error *err)
{
    const char *path = a->config.encryption_config;
    if (!path) {
        path = arena_printf(a->arena, "%s/server/cred/encryption-config.json", a->config.data_dir);
        if (encryption_make_config(path, a->rng, err) < 0)
            return -1;
    }
    a->encryption = encryption_new(path, err);
    return a->encryption ? 0 : -1;
}

static int start_parts(struct apiserver *a, struct error *err)
{
    a->writers = worker_pool_new("apiwrite", WORKER_THREADS_MAX, WORKER_QUEUED_MAX, err);
    a->workers = worker_pool_new("apiserver", WORKER_THREADS_MAX, WORKER_QUEUED_MAX, err);
    if (!a->writers || !a->workers)
        return -1;
    a->streams = worker_pool_new("apistream", STREAM_THREADS_MAX, STREAM_THREADS_MAX, err);
    if (!a->streams)
        return -1;
    a->pki = pki_open(&a->config, err);
    if (!a->pki)
        return error_wrap(err, "open the cluster's certificates");
    if (start_encryption(a, err) < 0)
        return error_wrap(err, "encryption of secrets");
    if (!watch_caches_start(a, err))
        return error_wrap(err, "fill the watch caches");
    documents_start(a);
    if (authn_start(a, err) < 0 || policy_start(a, err) < 0 || service_strategy_start(a, err) < 0)
        return -1;
    if (listen_https(a, err) < 0)
        return error_wrap(err, "listen on %s port %d", a->config.bind_address, a->config.port);
    if (bootstrap_objects(a, err) < 0 || kubernetes_endpoints_start(a, err) < 0)
        return -1;
    atomic_store(&a->has_bootstrap, true);
    return 0;
}

struct apiserver *apiserver_start(const struct apiserver_config *config, struct error *err)
{
    struct arena *arena = arena_new();
    struct apiserver *a = arena_zalloc(arena, sizeof(*a));
    a->arena = arena;
    a->storage = config->storage;
    a->clock = &system_clock;
    a->rng = system_rng;
    pthread_mutex_init(&a->lease.lock, NULL);
    pthread_mutex_init(&a->allocation_lock, NULL);
    copy_config(a, config);
    int64_t begin_ns = clock_monotonic_ns(a->clock);
    if (start_parts(a, err) < 0) {
        apiserver_stop(a);
        return NULL;
    }
    log_info("apiserver", "ready on port %d after %lld ms", apiserver_port(a),
             (long long)((clock_monotonic_ns(a->clock) - begin_ns) / NS_PER_MS));
    return a;
}

void apiserver_stop(struct apiserver *a)
{
    atomic_store(&a->is_stopping, true);
    kubernetes_endpoints_stop(a);
    if (a->http) {
        watch_delivery_end_all(watch_caches_delivery(a->caches));
        http_server_stop(a->http, STOP_GRACE_MS);
    }
    if (a->streams)
        worker_pool_free(a->streams);
    if (a->writers)
        worker_pool_free(a->writers);
    if (a->workers)
        worker_pool_free(a->workers);
    /* The caches' observers write into the parts below: they end first. */
    watch_caches_stop(a->caches);
    kubernetes_endpoints_free(a->endpoints);
    service_allocator_free(a->service_allocator);
    policy_stop(a);
    authn_stop(a);
    documents_stop(a);
    encryption_free(a->encryption);
    if (a->pki)
        pki_free(a->pki);
    pthread_mutex_destroy(&a->allocation_lock);
    pthread_mutex_destroy(&a->lease.lock);
    arena_free(a->arena);
}

int apiserver_port(const struct apiserver *a)
{
    return http_server_port(a->http);
}
