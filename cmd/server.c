/* SPDX-License-Identifier: Apache-2.0 */
/* server.c - wiring of the control plane and its own node. */

#include "cmd/server.h"

#include <unistd.h>

#include "apiserver/apiserver.h"
#include "base/files.h"
#include "base/log.h"
#include "base/tls.h"
#include "cmd/datastore.h"
#include "cmd/host.h"
#include "cmd/leading.h"
#include "cmd/parts.h"
#include "cmd/renewal.h"
#include "cmd/tool.h"
#include "storage/storage.h"

/* Leases and addresses are given up when the server stops, if the datastore is there. */
#define STOP_CALL_TIMEOUT_MS 1000

struct control_loop {
    const char *name, *component, *user;
    int (*start)(struct parts *p, void *arg, struct error *err);
};

/* A port besides the API's, with a certificate of the cluster. */
struct port {
    const char *common_name, *names[3], *addresses[3];
    struct tls *tls; /* NULL: there is none */
};

struct server {
    const struct config *config;
    struct arena *arena;
    struct storage *storage;
    struct storage_etcd_server *etcd, *etcd_socket;
    struct storage_schedule *snapshots;
    struct apiserver *apiserver;
    struct parts *parts;
    struct leading *scheduler, *controllers; /* NULL: not elected, but among PARTS */
    const char *kubeconfig;
    struct port etcd_port, node_port;
    struct renewal *renewal;
};

static const char *const node_groups[] = { "system:nodes", NULL };
static const char *const admin_groups[] = { "system:masters", NULL };
static const char *const controller_groups[] = { "system:serviceaccounts",
                                                 "system:serviceaccounts:kube-system", NULL };

static struct client *loopback(struct server *s, const char *user)
{
    return apiserver_loopback(s->apiserver, user, NULL);
}

static struct client *controller_client(const char *controller, void *arg, struct error *err)
{
    (void)err;
    struct server *s = arg;
    char user[160];
    snprintf(user, sizeof(user), "system:serviceaccount:kube-system:%s", controller);
    return apiserver_loopback(s->apiserver, user, controller_groups);
}

/* ---- certificates ---- */

static const char *kubeconfig_path(const struct config *c, struct arena *a)
{
    if (c->write_kubeconfig)
        return c->write_kubeconfig;
    return geteuid() == 0 ? "/etc/coracle/coracle.yaml"
                          : arena_printf(a, "%s/coracle.yaml", c->data_dir);
}

static int write_kubeconfig(struct server *s, struct error *err)
{
    scoped(buffer) struct buffer text = { 0 };
    scoped(str) char *url = xasprintf("https://127.0.0.1:%d", apiserver_port(s->apiserver));
    mode_t mode = (mode_t)strtoul(s->config->write_kubeconfig_mode, NULL, 8);
    if (apiserver_print_kubeconfig(s->apiserver, url, "system:admin", admin_groups, &text, err) <
            0 ||
        files_make_parents(s->kubeconfig, 0755, err) < 0 ||
        files_write(s->kubeconfig, buffer_bytes(&text), mode, err) < 0)
        return error_wrap(err, "write the administrator's kubeconfig");
    log_info("server", "kubeconfig written to %s", s->kubeconfig);
    return 0;
}

static int sign_port(struct server *s, struct port *p, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct tls_server_config tls = { .client_ca_pem = apiserver_client_ca_pem(s->apiserver) };
    if (apiserver_serving_certificate(s->apiserver, p->common_name, p->names, p->addresses, a,
                                      &tls.certificate_pem, &tls.key_pem, err) < 0)
        return -1;
    if (p->tls)
        return tls_server_renew(p->tls, tls.certificate_pem, tls.key_pem, err);
    p->tls = tls_server_new(&tls, err);
    return p->tls ? 0 : -1;
}

/* What was signed later than the API's own is renewed with it: one time for all. */
static int64_t renew(void *arg)
{
    struct server *s = arg;
    struct error err = { 0 };
    if (apiserver_renew_certificates(s->apiserver, &err) == 0 && write_kubeconfig(s, &err) == 0 &&
        (!s->etcd_port.tls || sign_port(s, &s->etcd_port, &err) == 0) &&
        (!s->node_port.tls || sign_port(s, &s->node_port, &err) == 0)) {
        log_info("server", "certificates renewed");
        return apiserver_renew_at_ns(s->apiserver);
    }
    log_error("server", "renew certificates: %s", err.message);
    return renewal_retry_ns(s->config->certificate_life_ns);
}

/* ---- the store and the API ---- */

/* Servers on one store have one token, and with it one set of keys.  A token that was made now is
 * on disk before anything is sealed with it. */
static int share_keys(struct server *s, const struct apiserver_config *api, struct error *err)
{
    struct bytes token;
    bool is_new;
    if (datastore_token(s->config, s->arena, &token, &is_new, err) < 0 ||
        (is_new && datastore_keep_token(s->config, token, err) < 0))
        return -1;
    if (apiserver_share_keys(api, token, err) < 0) {
        if (is_new)
            datastore_forget_token(s->config);
        return -1;
    }
    if (!is_new)
        return datastore_keep_token(s->config, token, err);
    log_info("server", "the token for further servers is in %s/server/token", s->config->data_dir);
    return 0;
}

static int start_api(struct server *s, bool with_parts, struct error *err)
{
    const struct config *c = s->config;
    bool is_elected = c->datastore_endpoint;
    s->storage = datastore_open(c, s->arena, err);
    if (!s->storage)
        return -1;
    if (storage_check_migrated(s->storage, err) < 0)
        return -1;
    struct apiserver_config api = {
        .storage = s->storage,
        .data_dir = c->data_dir,
        .bind_address = c->bind_address,
        .port = (int)c->https_listen_port,
        .advertise_address = c->advertise_address,
        .tls_sans = c->tls_san.items,
        .service_cidr = c->service_cidr,
        .node_port_range = c->service_node_port_range,
        .cluster_domain = c->cluster_domain,
        .own_node = with_parts && !c->disable_agent ? c->node_name : NULL,
        .has_scheduler = with_parts && !c->disable_scheduler && !is_elected,
        .has_controllers = with_parts && !c->disable_controllers && !is_elected,
        .encryption_config = c->encryption_provider_config,
        .certificate_life_ns = c->certificate_life_ns,
    };
    if (c->datastore_endpoint && share_keys(s, &api, err) < 0)
        return error_wrap(err, "join the cluster in the datastore");
    s->apiserver = apiserver_start(&api, err);
    if (!s->apiserver)
        return error_wrap(err, "start the API server");
    log_info("server", "API on https://%s:%d", c->bind_address, apiserver_port(s->apiserver));
    return write_kubeconfig(s, err);
}

/* Who may use the store may read every secret: on a port only administrators' certificates do. */
static struct storage_etcd_server *serve_store(struct server *s, const char *listen,
                                               struct error *err)
{
    struct storage_etcd_config etcd = {
        .storage = s->storage,
        .bind_address = listen,
        .scratch_dir = arena_printf(s->arena, "%s/server/db", s->config->data_dir),
        .organization = admin_groups[0],
        .name = s->config->node_name,
    };
    if (!str_has_prefix(listen, "unix:")) {
        const char *colon = strrchr(listen, ':');
        bool has_brackets = *listen == '[';
        etcd.bind_address = arena_strndup(s->arena, listen + has_brackets,
                                          (size_t)(colon - listen) - 2 * has_brackets);
        etcd.port = atoi(colon + 1);
        s->etcd_port = (struct port){ .common_name = "etcd",
                                      .names = { "localhost", s->config->node_name },
                                      .addresses = { "127.0.0.1", etcd.bind_address } };
        if (sign_port(s, &s->etcd_port, err) < 0) {
            error_wrap(err, "certificate for --etcd-listen");
            return NULL;
        }
        etcd.tls = s->etcd_port.tls;
    }
    return storage_etcd_start(&etcd, err);
}

/* Where `coracle snapshot save` finds the store.  A cluster can do without. */
static void start_etcd_socket(struct server *s)
{
    struct error err = { 0 };
    const char *listen = arena_printf(s->arena, "unix:%s/server/etcd.sock", s->config->data_dir);
    s->etcd_socket = serve_store(s, listen, &err);
    if (!s->etcd_socket)
        log_warn("server", "snapshots cannot be saved on demand: %s", err.message);
}

static int start_etcd(struct server *s, struct error *err)
{
    const char *listen = s->config->etcd_listen;
    if (s->config->datastore_endpoint) /* it is served, and saved, where it is */
        return 0;
    start_etcd_socket(s);
    if (!listen)
        return 0;
    s->etcd = serve_store(s, listen, err);
    if (!s->etcd)
        return -1;
    log_info("server", "etcd API on %s", listen);
    return 0;
}

static int start_snapshots(struct server *s, struct error *err)
{
    const struct config *c = s->config;
    if (c->etcd_disable_snapshots || c->datastore_endpoint)
        return 0;
    struct storage_schedule_config schedule = {
        .storage = s->storage,
        .series = {
            .dir = snapshot_dir(c, s->arena),
            .base = c->etcd_snapshot_name,
            .node = c->node_name,
            .form = c->etcd_snapshot_compress ? STORAGE_SNAPSHOT_ZIP : STORAGE_SNAPSHOT_PLAIN,
            .retention = c->etcd_snapshot_retention,
        },
        .cron = c->etcd_snapshot_schedule_cron,
    };
    s->snapshots = storage_schedule_start(&schedule, err);
    return s->snapshots ? 0 : error_wrap(err, "schedule snapshots");
}

static int start_scheduler(struct parts *p, void *arg, struct error *err)
{
    return parts_start_scheduler(p, loopback(arg, "system:kube-scheduler"), err);
}

static int start_controllers(struct parts *p, void *arg, struct error *err)
{
    struct server *s = arg;
    struct controller_clients clients = {
        .shared = loopback(s, "system:kube-controller-manager"),
        .of = controller_client,
        .arg = s,
        .root_ca_pem = apiserver_ca_pem(s->apiserver),
    };
    return parts_start_controllers(p, &clients, err);
}

/* On a store that others use too, one of all servers does it. */
static int start_loop(struct server *s, const struct control_loop *loop, struct leading **leading,
                      struct error *err)
{
    if (!storage_is_shared(s->storage))
        return loop->start(s->parts, s, err);
    struct leading_config config = { .config = s->config,
                                     .name = loop->name,
                                     .component = loop->component,
                                     .client = loopback(s, loop->user),
                                     .start = loop->start,
                                     .arg = s };
    *leading = leading_start(&config, err);
    return *leading ? 0 : -1;
}

static int start_control_loops(struct server *s, struct error *err)
{
    static const struct control_loop scheduler = { "kube-scheduler", "default-scheduler",
                                                   "system:kube-scheduler", start_scheduler },
                                     controllers = { "kube-controller-manager",
                                                     "kube-controller-manager",
                                                     "system:kube-controller-manager",
                                                     start_controllers };
    const struct config *c = s->config;
    if (!c->disable_scheduler && start_loop(s, &scheduler, &s->scheduler, err) < 0)
        return -1;
    return c->disable_controllers ? 0 : start_loop(s, &controllers, &s->controllers, err);
}

static int start_node(struct server *s, struct error *err)
{
    const struct config *c = s->config;
    const char *user = arena_printf(s->arena, "system:node:%s", c->node_name);
    s->node_port = (struct port){ .common_name = user,
                                  .names = { c->node_name, "localhost" },
                                  .addresses = { c->node_ip, "127.0.0.1" } };
    if (sign_port(s, &s->node_port, err) < 0)
        return -1;
    struct node_identity identity = { .client = apiserver_loopback(s->apiserver, user, node_groups),
                                      .serving_tls = s->node_port.tls };
    if (parts_start_kubelet(s->parts, &identity, err) < 0)
        return -1;
    if (c->disable_kube_proxy)
        return 0;
    return parts_start_proxy(s->parts, loopback(s, "system:kube-proxy"), err);
}

struct server *server_start(const struct config *config, bool with_parts, struct error *err)
{
    struct server *s = xcalloc(1, sizeof(*s));
    s->config = config;
    s->arena = arena_new();
    s->kubeconfig = kubeconfig_path(config, s->arena);
    snapshot_forget_reset(config);
    if (start_api(s, with_parts, err) < 0 || start_etcd(s, err) < 0 || start_snapshots(s, err) < 0)
        goto fail;
    if (with_parts) {
        s->parts = parts_new(config);
        if (start_control_loops(s, err) < 0)
            goto fail;
        if (!config->disable_agent && start_node(s, err) < 0)
            goto fail;
    }
    s->renewal = renewal_start(apiserver_renew_at_ns(s->apiserver), renew, s, err);
    if (s->renewal)
        return s;

fail:
    server_stop(s);
    return NULL;
}

void server_stop(struct server *s)
{
    if (s->storage)
        storage_hurry(s->storage, STOP_CALL_TIMEOUT_MS);
    renewal_stop(s->renewal);
    storage_schedule_stop(s->snapshots);
    storage_etcd_stop(s->etcd);
    storage_etcd_stop(s->etcd_socket);
    leading_stop(s->controllers);
    leading_stop(s->scheduler);
    if (s->parts)
        parts_stop(s->parts);
    if (s->apiserver)
        apiserver_stop(s->apiserver);
    if (s->storage)
        storage_close(s->storage);
    tls_unref(s->etcd_port.tls);
    tls_unref(s->node_port.tls);
    arena_free(s->arena);
    free(s);
}
