/* SPDX-License-Identifier: Apache-2.0 */
/* parts.c - the scheduler, the controllers, the kubelet and the proxy, each with its informers. */

#include "cmd/parts.h"

#include <pthread.h>

#include "api/informer.h"
#include "base/log.h"
#include "controllers/controllers.h"
#include "kubelet/kubelet.h"
#include "proxy/proxy.h"
#include "scheduler/scheduler.h"

#define INFORMERS_FIRST_MS 5000  /* how long the other parts wait for one whose caches fill */
#define INFORMERS_LATE_MS  60000 /* and how often the log says that it still waits */

typedef int part_run(struct parts *p, struct error *err);

struct part { /* informers and the client they use; .is_used tells whether it was started */
    bool is_used;
    const char *name;
    struct client *client;
    struct informer_set *informers;
    part_run *run;
    struct parts *all;
    bool is_late; /* STARTER runs it once its caches are full */
    pthread_t starter;
};

struct parts {
    const struct config *config;
    struct client_fence fence;
    struct part scheduler_part, controllers_part, kubelet_part, proxy_part;
    struct scheduler *scheduler;
    struct controller_clients controller_clients;
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

void parts_set_fence(struct parts *p, const struct client_fence *fence)
{
    p->fence = *fence;
}

static void part_open_take(struct part *part, const char *name, struct client *client)
{
    part->is_used = true;
    part->name = name;
    part->client = client;
    part->informers = informer_set_new(client);
}

static void *start_late(void *arg)
{
    struct part *part = arg;
    struct error err = { 0 };
    while (informer_set_wait(part->informers, INFORMERS_LATE_MS, &err) < 0) {
        if (err.code != ERR_TIMEOUT)
            return NULL; /* the informers have stopped */
        log_warn(part->name, "waits for its caches: %s", err.message);
        err = (struct error){ 0 };
    }
    if (part->run(part->all, &err) < 0)
        log_error(part->name, "%s", err.message);
    return NULL;
}

/* A list may be refused for as long as an object of it cannot be read: everything else goes on. */
static int part_start(struct parts *p, struct part *part, part_run *run, struct error *err)
{
    struct error late = { 0 };
    part->run = run;
    part->all = p;
    informer_set_start(part->informers);
    if (informer_set_wait(part->informers, INFORMERS_FIRST_MS, &late) == 0)
        return run(p, err);
    if (late.code != ERR_TIMEOUT)
        return error_set(err, late.code, "start %s: %s", part->name, late.message);
    log_warn(part->name, "waits for its caches: %s", late.message);
    int rc = pthread_create(&part->starter, NULL, start_late, part);
    part->is_late = rc == 0;
    return rc == 0 ? 0 : error_set(err, ERR_INTERNAL, "start %s: %s", part->name, strerror(rc));
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
        if (all[i]->is_late)
            pthread_join(all[i]->starter, NULL);
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

static int run_scheduler(struct parts *p, struct error *err)
{
    return scheduler_run(p->scheduler, err);
}

int parts_start_scheduler(struct parts *p, struct client *client, struct error *err)
{
    part_open_take(&p->scheduler_part, "scheduler", client_fenced_take(client, &p->fence));
    struct scheduler_config config = {
        .client = p->scheduler_part.client,
        .informers = p->scheduler_part.informers,
    };
    p->scheduler = scheduler_new(&config, err);
    return p->scheduler ? part_start(p, &p->scheduler_part, run_scheduler, err) : -1;
}

static struct client *open_for_controller(const char *controller, void *arg, struct error *err)
{
    const struct parts *p = arg;
    struct client *client = p->controller_clients.of(controller, p->controller_clients.arg, err);
    return client ? client_fenced_take(client, &p->fence) : NULL;
}

int parts_start_controllers(struct parts *p, const struct controller_clients *clients,
                            struct error *err)
{
    part_open_take(&p->controllers_part, "controllers",
                   client_fenced_take(clients->shared, &p->fence));
    p->controller_clients = *clients;
    struct controllers_config config = {
        .client = open_for_controller,
        .arg = p,
        .informers = p->controllers_part.informers,
        .root_ca_pem = clients->root_ca_pem,
        .cluster_cidr = p->config->cluster_cidr,
    };
    p->controllers = controllers_new(&config, err);
    if (!p->controllers)
        return -1;
    informer_set_start(p->controllers_part.informers);
    return controllers_run(p->controllers, err);
}

static int run_kubelet(struct parts *p, struct error *err)
{
    return kubelet_run(p->kubelet, err);
}

int parts_start_kubelet(struct parts *p, const struct node_identity *identity, struct error *err)
{
    const struct config *c = p->config;
    part_open_take(&p->kubelet_part, "kubelet", identity->client);
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
        .serving_tls = identity->serving_tls,
    };
    p->kubelet = kubelet_new(&config, err);
    return p->kubelet ? part_start(p, &p->kubelet_part, run_kubelet, err) : -1;
}

static int run_proxy(struct parts *p, struct error *err)
{
    return proxy_run(p->proxy, err);
}

int parts_start_proxy(struct parts *p, struct client *client, struct error *err)
{
    part_open_take(&p->proxy_part, "proxy", client);
    struct proxy_config config = {
        .client = client,
        .informers = p->proxy_part.informers,
        .node_name = p->config->node_name,
        .node_ip = p->config->node_ip,
        .cluster_cidr = p->config->cluster_cidr,
    };
    p->proxy = proxy_new(&config, err);
    return p->proxy ? part_start(p, &p->proxy_part, run_proxy, err) : -1;
}
