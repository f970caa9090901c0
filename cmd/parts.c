/* SPDX-License-Identifier: Apache-2.0 */
/* parts.c - the scheduler, the controllers, the kubelet and the proxy, each with its informers. */

#include "cmd/parts.h"

#include "api/informer.h"
#include "controllers/controllers.h"
#include "kubelet/kubelet.h"
#include "proxy/proxy.h"
#include "scheduler/scheduler.h"

/* The first list of an informer against a server that is starting; a part that runs alone waits as
 * long as it takes, so this only bounds how long one attempt is silent. */
#define INFORMERS_READY_MS 60000

struct part { /* informers and the client they use; .is_used tells whether it was started */
    bool is_used;
    struct client *client;
    struct informer_set *informers;
};

struct parts {
    const struct config *config;
    struct part scheduler_part, controllers_part, kubelet_part, proxy_part;
    struct scheduler *scheduler;
    struct controllers *controllers;
    struct kubelet *kubelet;
    struct proxy *proxy;
};

struct parts *parts_new(const struct config *config)
{
    struct parts *p = xcalloc(1, sizeof(*p));
    p->config = config;
    return p;
}

static void part_open_take(struct part *part, struct client *client)
{
    part->is_used = true;
    part->client = client;
    part->informers = informer_set_new(client);
}

static int part_start(struct part *part, const char *name, struct error *err)
{
    informer_set_start(part->informers);
    if (informer_set_wait(part->informers, INFORMERS_READY_MS, err) < 0)
        return error_wrap(err, "start %s", name);
    return 0;
}

static void part_close(struct part *part)
{
    if (!part->is_used)
        return;
    informer_set_free(part->informers);
    client_close(part->client);
}

/* Handlers are quiet before a part goes, and a part is gone before its informers are. */
void parts_stop(struct parts *p)
{
    struct part *all[] = { &p->proxy_part, &p->kubelet_part, &p->controllers_part,
                           &p->scheduler_part };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i]->is_used)
            informer_set_stop(all[i]->informers);
    }
    if (p->proxy)
        proxy_stop(p->proxy);
    if (p->kubelet)
        kubelet_stop(p->kubelet);
    if (p->controllers)
        controllers_stop(p->controllers);
    if (p->scheduler)
        scheduler_stop(p->scheduler);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        part_close(all[i]);
    free(p);
}

int parts_start_scheduler(struct parts *p, struct client *client, struct error *err)
{
    part_open_take(&p->scheduler_part, client);
    struct scheduler_config config = {
        .client = client,
        .informers = p->scheduler_part.informers,
    };
    p->scheduler = scheduler_new(&config, err);
    if (!p->scheduler || part_start(&p->scheduler_part, "scheduler", err) < 0)
        return -1;
    return scheduler_run(p->scheduler, err);
}

int parts_start_controllers(struct parts *p, const struct controller_clients *clients,
                            struct error *err)
{
    part_open_take(&p->controllers_part, clients->shared);
    struct controllers_config config = {
        .client = clients->of,
        .arg = clients->arg,
        .informers = p->controllers_part.informers,
        .root_ca_pem = clients->root_ca_pem,
        .cluster_cidr = p->config->cluster_cidr,
    };
    p->controllers = controllers_new(&config, err);
    if (!p->controllers || part_start(&p->controllers_part, "controllers", err) < 0)
        return -1;
    return controllers_run(p->controllers, err);
}

int parts_start_kubelet(struct parts *p, const struct node_identity *identity, struct error *err)
{
    const struct config *c = p->config;
    part_open_take(&p->kubelet_part, identity->client);
    struct kubelet_config config = {
        .client = identity->client,
        .informers = p->kubelet_part.informers,
        .data_dir = c->data_dir,
        .node_name = c->node_name,
        .node_ip = c->node_ip,
        .node_labels = c->node_label.items,
        .node_taints = c->node_taint.items,
        .runtime_endpoint = c->container_runtime_endpoint,
        .cluster_dns = c->cluster_dns,
        .cluster_domain = c->cluster_domain,
        .cluster_cidr = c->cluster_cidr,
        .registries_path = c->private_registry,
        .static_pod_dir = c->pod_manifest_path,
        .port = (int)c->kubelet_port,
        .serving_cert_pem = identity->serving_cert_pem,
        .serving_key_pem = identity->serving_key_pem,
        .client_ca_pem = identity->client_ca_pem,
    };
    p->kubelet = kubelet_new(&config, err);
    if (!p->kubelet || part_start(&p->kubelet_part, "kubelet", err) < 0)
        return -1;
    return kubelet_run(p->kubelet, err);
}

int parts_start_proxy(struct parts *p, struct client *client, struct error *err)
{
    part_open_take(&p->proxy_part, client);
    struct proxy_config config = {
        .client = client,
        .informers = p->proxy_part.informers,
        .node_name = p->config->node_name,
        .node_ip = p->config->node_ip,
        .cluster_cidr = p->config->cluster_cidr,
    };
    p->proxy = proxy_new(&config, err);
    if (!p->proxy || part_start(&p->proxy_part, "proxy", err) < 0)
        return -1;
    return proxy_run(p->proxy, err);
}
