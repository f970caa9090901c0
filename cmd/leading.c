/* SPDX-License-Identifier: Apache-2.0 */
/* leading.c - leader election around a part. */
#include "cmd/leading.h"

#include "api/leader_election.h"

struct leading {
    struct leading_config config;
    struct leader_elector *elector;
    struct parts *parts; /* NULL: this process does not lead */
};

static bool leads(void *elector)
{
    return leader_elector_leads(elector);
}

static int began(struct leader_elector *e, void *arg, struct error *err)
{
    struct leading *l = arg;
    struct parts *p = parts_new(l->config.config);
    parts_set_fence(p, &(struct client_fence){ leads, e });
    if (l->config.start(p, l->config.arg, err) < 0) {
        parts_stop(p);
        return -1;
    }
    l->parts = p;
    return 0;
}

static void ended(void *arg)
{
    struct leading *l = arg;
    parts_stop(l->parts);
    l->parts = NULL;
}

/* "node-1_8c6f...": as upstream's. */
static char *new_identity(const struct config *c)
{
    uint64_t a = rng_next(system_rng), b = rng_next(system_rng);
    return xasprintf("%s_%08x-%04x-4%03x-%04x-%012llx", c->node_name, (unsigned)(a >> 32),
                     (unsigned)(a >> 16) & 0xffff, (unsigned)a & 0xfff,
                     ((unsigned)(b >> 48) & 0x3fff) | 0x8000,
                     (unsigned long long)b & 0xffffffffffff);
}

struct leading *leading_start(const struct leading_config *config, struct error *err)
{
    struct leading *l = xcalloc(1, sizeof(*l));
    const struct config *c = config->config;
    l->config = *config;
    scoped(str) char *identity = new_identity(c);
    struct leader_election_config election = {
        .client = config->client,
        .ns = "kube-system",
        .name = config->name,
        .identity = identity,
        .component = config->component,
        .lease_duration_ns = c->leader_elect_lease_duration_ns,
        .renew_deadline_ns = c->leader_elect_renew_deadline_ns,
        .retry_period_ns = c->leader_elect_retry_period_ns,
        .began = began,
        .ended = ended,
        .arg = l,
    };
    l->elector = leader_elector_start(&election, err);
    if (l->elector)
        return l;
    leading_stop(l);
    return NULL;
}

void leading_stop(struct leading *l)
{
    if (!l)
        return;
    leader_elector_stop(l->elector);
    client_close(l->config.client);
    free(l);
}
