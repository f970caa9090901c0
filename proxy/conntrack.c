/* SPDX-License-Identifier: Apache-2.0 */
/* conntrack.c - conntrack -D for the flows of vanished UDP endpoints. */

#include "proxy/conntrack.h"

#include "base/log.h"
#include "base/process.h"

#define CONNTRACK_TIMEOUT_MS 10000

static const struct service_port *find_port(const struct service_port *ports, size_t n,
                                            const struct service_port *like)
{
    for (size_t i = 0; i < n; i++) {
        if (str_equal(ports[i].name, like->name) && str_equal(ports[i].protocol, like->protocol))
            return &ports[i];
    }
    return NULL;
}

static bool has_endpoint(const struct service_port *sp, const struct proxy_endpoint *e)
{
    for (size_t i = 0; sp && i < sp->endpoints_n; i++) {
        if (sp->endpoints[i].port == e->port && str_equal(sp->endpoints[i].ip, e->ip))
            return true;
    }
    return false;
}

/* FILTER is one or two pairs of option and value. conntrack answers 1 when nothing matched. */
static void delete_flows(const char *const *filter)
{
    const char *argv[12] = { "conntrack", "-D", "-p", "udp" };
    struct error err = { 0 };
    for (size_t n = 4; *filter && n < ARRAY_LEN(argv) - 1; n++)
        argv[n] = *filter++;
    if (process_run(argv, (struct bytes){ 0 }, NULL, CONNTRACK_TIMEOUT_MS, &err) < 0 &&
        !strstr(err.message, "0 flow entries"))
        log_warn("proxy", "forget UDP flows: %s", err.message);
}

static void forget_endpoint(const struct service_port *sp, const struct proxy_endpoint *e)
{
    delete_flows((const char *const[]){ "--orig-dst", sp->cluster_ip, "--dst-nat", e->ip, NULL });
    for (size_t i = 0; i < sp->external_ips_n; i++)
        delete_flows(
            (const char *const[]){ "--orig-dst", sp->external_ips[i], "--dst-nat", e->ip, NULL });
    if (sp->node_port) {
        char port[16];
        snprintf(port, sizeof(port), "%d", sp->node_port);
        delete_flows((const char *const[]){ "--dport", port, "--dst-nat", e->ip, NULL });
    }
}

void conntrack_forget(const struct service_port *old, size_t old_n, const struct service_port *new,
                      size_t new_n)
{
    for (size_t i = 0; i < old_n; i++) {
        const struct service_port *now = find_port(new, new_n, &old[i]);
        if (!str_equal(old[i].protocol, "udp"))
            continue;
        for (size_t k = 0; k < old[i].endpoints_n; k++) {
            if (!has_endpoint(now, &old[i].endpoints[k]))
                forget_endpoint(&old[i], &old[i].endpoints[k]);
        }
    }
    for (size_t i = 0; i < new_n; i++) {
        const struct service_port *before = find_port(old, old_n, &new[i]);
        bool was_empty = !before || before->endpoints_n == 0;
        if (!str_equal(new[i].protocol, "udp") || !was_empty || new[i].endpoints_n == 0)
            continue;
        delete_flows((const char *const[]){ "--orig-dst", new[i].cluster_ip, NULL });
        if (new[i].node_port) {
            char port[16];
            snprintf(port, sizeof(port), "%d", new[i].node_port);
            delete_flows((const char *const[]){ "--dport", port, NULL });
        }
    }
}
