/* SPDX-License-Identifier: Apache-2.0 */
/* alone.c - a part with clients over HTTPS. */

#include "cmd/alone.h"

#include "api/client_http.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "cmd/parts.h"

#define SERVING_CERTIFICATE_NS (365 * 24 * 3600 * NS_PER_S)

struct alone {
    const struct config *config;
    struct arena *arena;
    struct parts *parts;
};

static struct client *controller_client(const char *controller, void *arg)
{
    struct alone *a = arg;
    struct error err = { 0 };
    (void)controller; /* over a kubeconfig all controllers are its one user */
    struct client *c = client_http_open(a->config->kubeconfig, &err);
    ensure(c); /* the same file was read a moment ago */
    return c;
}

/* Without a cluster's CA key the kubelet serves with a certificate of its own, as upstream's does
 * until its certificate request is approved. */
static int self_signed_certificate(struct alone *a, struct node_identity *identity,
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
        .not_after_ns = now + SERVING_CERTIFICATE_NS,
    };
    struct bytes none = { 0 };
    if (crypto_new_key(a->arena, &identity->serving_key_pem, err) < 0)
        return -1;
    return crypto_sign_certificate(&request, identity->serving_key_pem, none, none, a->arena,
                                   &identity->serving_cert_pem, err);
}

static int start_part(struct alone *a, enum config_command part, struct client *client,
                      struct error *err)
{
    struct bytes ca = client_http_ca_pem(client);
    if (part == COMMAND_SCHEDULER)
        return parts_start_scheduler(a->parts, client, err);
    if (part == COMMAND_PROXY)
        return parts_start_proxy(a->parts, client, err);
    if (part == COMMAND_CONTROLLERS) {
        struct controller_clients clients = {
            .shared = client,
            .of = controller_client,
            .arg = a,
            .root_ca_pem = ca,
        };
        return parts_start_controllers(a->parts, &clients, err);
    }
    struct node_identity identity = { .client = client, .client_ca_pem = ca };
    if (self_signed_certificate(a, &identity, err) < 0) {
        client_close(client);
        return -1;
    }
    return parts_start_kubelet(a->parts, &identity, err);
}

struct alone *alone_start(const struct config *config, enum config_command part, struct error *err)
{
    struct client *client = client_http_open(config->kubeconfig, err);
    if (!client)
        return NULL;
    struct alone *a = xcalloc(1, sizeof(*a));
    a->config = config;
    a->arena = arena_new();
    a->parts = parts_new(config);
    if (start_part(a, part, client, err) < 0) {
        alone_stop(a);
        return NULL;
    }
    return a;
}

void alone_stop(struct alone *a)
{
    parts_stop(a->parts);
    arena_free(a->arena);
    free(a);
}
