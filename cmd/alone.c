/* SPDX-License-Identifier: Apache-2.0 */
/* alone.c - a part with clients over HTTPS. */

#include "cmd/alone.h"

#include "api/client_http.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/log.h"
#include "base/tls.h"
#include "cmd/leading.h"
#include "cmd/renewal.h"

#define PEM_BYTES_MAX     (1 << 20)
#define SCHEDULER_AGENT   "kube-scheduler/" CORACLE_VERSION
#define CONTROLLERS_AGENT "kube-controller-manager/" CORACLE_VERSION

struct alone {
    const struct config *config;
    struct client *client; /* the controllers' */
    struct arena *arena;
    struct parts *parts;
    struct leading *leading; /* NULL: without election */
    struct tls *serving_tls; /* the kubelet's */
    struct renewal *renewal;
};

/* AGENT is what upstream's component calls itself, which managedFields show. */
static struct client *open_client(const struct alone *a, const char *agent, struct error *err)
{
    struct client *client = client_http_open(a->config->kubeconfig, err);
    if (client)
        client_http_set_agent(client, agent);
    return client;
}

/* As upstream's with --use-service-account-credentials: each controller has the rights of its own
 * account, and the kubeconfig's user needs few. */
static struct client *controller_client(const char *controller, void *arg, struct error *err)
{
    struct alone *a = arg;
    return client_http_open_account(a->client, "kube-system", controller, err);
}

static int read_serving(struct alone *a, struct arena *arena, struct tls_server_config *tls,
                        struct error *err)
{
    const struct config *c = a->config;
    if (files_read(c->tls_cert_file, PEM_BYTES_MAX, arena, &tls->certificate_pem, err) < 0)
        return -1;
    return files_read(c->tls_private_key_file, PEM_BYTES_MAX, arena, &tls->key_pem, err);
}

/* Without a certificate given the kubelet signs its own, as upstream's does.  API servers that know
 * the authority of their kubelets (ours does) refuse to speak to that one. */
static int sign_serving(struct alone *a, struct arena *arena, struct tls_server_config *tls,
                        struct error *err)
{
    const struct config *c = a->config;
    const char *const names[] = { c->node_name, NULL };
    const char *const addresses[] = { c->node_ip, NULL };
    int64_t now = clock_wall_ns(&system_clock);
    struct certificate_request request = {
        .common_name = c->node_name,
        .dns_names = names,
        .ip_addresses = addresses,
        .for_server = true,
        .not_before_ns = now,
        .not_after_ns = now + c->certificate_life_ns,
    };
    struct bytes none = { 0 };
    if (crypto_new_key(arena, &tls->key_pem, err) < 0)
        return -1;
    return crypto_sign_certificate(&request, tls->key_pem, none, none, arena, &tls->certificate_pem,
                                   err);
}

static int64_t renew_serving(void *arg)
{
    struct alone *a = arg;
    struct error err = { 0 };
    struct tls_server_config tls = { 0 };
    scoped(arena) struct arena *arena = arena_new();
    if (sign_serving(a, arena, &tls, &err) == 0 &&
        tls_server_renew(a->serving_tls, tls.certificate_pem, tls.key_pem, &err) == 0)
        return renewal_due_ns(a->config->certificate_life_ns);
    log_error("kubelet", "renew the serving certificate: %s", err.message);
    return renewal_retry_ns(a->config->certificate_life_ns);
}

static int open_serving(struct alone *a, struct bytes client_ca_pem, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct tls_server_config tls = { .client_ca_pem = client_ca_pem };
    bool is_given = a->config->tls_cert_file;
    if ((is_given ? read_serving : sign_serving)(a, arena, &tls, err) < 0)
        return -1;
    a->serving_tls = tls_server_new(&tls, err);
    if (!a->serving_tls || is_given)
        return a->serving_tls ? 0 : -1;
    a->renewal =
        renewal_start(renewal_due_ns(a->config->certificate_life_ns), renew_serving, a, err);
    return a->renewal ? 0 : -1;
}

static int start_scheduler(struct parts *p, void *arg, struct error *err)
{
    struct alone *a = arg;
    a->client = open_client(a, SCHEDULER_AGENT, err);
    return a->client ? parts_start_scheduler(p, a->client, err) : -1;
}

static int start_controllers(struct parts *p, void *arg, struct error *err)
{
    struct alone *a = arg;
    a->client = open_client(a, CONTROLLERS_AGENT, err);
    if (!a->client)
        return -1;
    struct controller_clients clients = {
        .shared = a->client,
        .of = controller_client,
        .arg = a,
        .root_ca_pem = client_http_ca_pem(a->client),
    };
    return parts_start_controllers(p, &clients, err);
}

static int start_elected(struct alone *a, enum config_command part, struct error *err)
{
    bool is_scheduler = part == COMMAND_SCHEDULER;
    struct leading_config config = {
        .config = a->config,
        .name = is_scheduler ? "kube-scheduler" : "kube-controller-manager",
        .component = is_scheduler ? "default-scheduler" : "kube-controller-manager",
        .client = open_client(a, is_scheduler ? SCHEDULER_AGENT : CONTROLLERS_AGENT, err),
        .start = is_scheduler ? start_scheduler : start_controllers,
        .arg = a,
    };
    if (!config.client)
        return -1;
    a->leading = leading_start(&config, err);
    return a->leading ? 0 : -1;
}

static int start_kubelet(struct alone *a, struct error *err)
{
    struct client *client = open_client(a, "kubelet/" CORACLE_VERSION, err);
    if (!client)
        return -1;
    if (open_serving(a, client_http_ca_pem(client), err) < 0) {
        client_close(client);
        return -1;
    }
    struct node_identity identity = { .client = client, .serving_tls = a->serving_tls };
    return parts_start_kubelet(a->parts, &identity, err);
}

static int start_proxy(struct alone *a, struct error *err)
{
    struct client *client = open_client(a, "kube-proxy/" CORACLE_VERSION, err);
    return client ? parts_start_proxy(a->parts, client, err) : -1;
}

static int start_part(struct alone *a, enum config_command part, struct error *err)
{
    if (a->config->leader_elect)
        return start_elected(a, part, err);
    switch (part) {
    case COMMAND_SCHEDULER:
        return start_scheduler(a->parts, a, err);
    case COMMAND_CONTROLLERS:
        return start_controllers(a->parts, a, err);
    case COMMAND_PROXY:
        return start_proxy(a, err);
    default:
        return start_kubelet(a, err);
    }
}

struct alone *alone_start(const struct config *config, enum config_command part, struct error *err)
{
    struct alone *a = xcalloc(1, sizeof(*a));
    a->config = config;
    a->arena = arena_new();
    a->parts = parts_new(config);
    if (start_part(a, part, err) < 0) {
        alone_stop(a);
        return NULL;
    }
    return a;
}

void alone_stop(struct alone *a)
{
    renewal_stop(a->renewal);
    leading_stop(a->leading);
    parts_stop(a->parts);
    tls_unref(a->serving_tls);
    arena_free(a->arena);
    free(a);
}
