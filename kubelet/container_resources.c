/* SPDX-License-Identifier: Apache-2.0 */
/* container_resources.c - requests and limits as the kernel takes them. */
#include "kubelet/container_resources.h"

#include "api/quantity.h"

#define CPU_PERIOD_US    100000
#define CPU_QUOTA_MIN_US 1000
#define CPU_SHARES_MIN   2
#define CPU_SHARES_MAX   262144

/* Upstream's: guaranteed pods die last, then burstable ones by what they asked for. */
#define OOM_GUARANTEED        (-997)
#define OOM_BEST_EFFORT       1000
#define OOM_CRITICAL          (-997)
#define CRITICAL_PRIORITY_MIN 2000000000

/* The amount of resources.KIND[NAME]; false if it is not there or zero. */
static bool amount(const struct json *container, const char *kind, const char *name,
                   struct quantity *out)
{
    const char *text = json_text(json_get(json_get(json_get(container, "resources"), kind), name));
    return text && quantity_parse(text, out) == 0 && out->nano > 0;
}

enum pod_qos pod_qos(const struct object *pod)
{
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };
    static const char *const names[] = { "cpu", "memory" };
    bool has_any = false, is_guaranteed = true;
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        json_each_item (json_at(pod->doc, lists[l]), container) {
            for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                struct quantity request, limit;
                bool has_request = amount(container, "requests", names[i], &request);
                bool has_limit = amount(container, "limits", names[i], &limit);
                has_any |= has_request || has_limit;
                if (!has_limit || (has_request && quantity_compare(&request, &limit) != 0))
                    is_guaranteed = false;
            }
        }
    }
    if (!has_any)
        return POD_QOS_BEST_EFFORT;
    return is_guaranteed ? POD_QOS_GUARANTEED : POD_QOS_BURSTABLE;
}

const char *pod_qos_name(enum pod_qos qos)
{
    static const char *const names[] = { "Guaranteed", "Burstable", "BestEffort" };
    return names[qos];
}

static int64_t oom_score_adj(const struct object *pod, const struct json *container,
                             int64_t node_memory_bytes)
{
    if (json_int(pod->doc, "spec.priority", 0) >= CRITICAL_PRIORITY_MIN)
        return OOM_CRITICAL;
    switch (pod_qos(pod)) {
    case POD_QOS_GUARANTEED:
        return OOM_GUARANTEED;
    case POD_QOS_BEST_EFFORT:
        return OOM_BEST_EFFORT;
    case POD_QOS_BURSTABLE:
        break;
    }
    struct quantity request;
    int64_t bytes =
        amount(container, "requests", "memory", &request) ? quantity_value(&request) : 0;
    int64_t score =
        1000 - (int64_t)(1000 * (__int128)bytes / (node_memory_bytes > 0 ? node_memory_bytes : 1));
    if (score < 1000 + OOM_GUARANTEED)
        return 1000 + OOM_GUARANTEED;
    return score >= OOM_BEST_EFFORT ? OOM_BEST_EFFORT - 1 : score;
}

static int64_t cpu_shares(int64_t milli)
{
    int64_t shares = milli * 1024 / 1000;
    return shares < CPU_SHARES_MIN   ? CPU_SHARES_MIN
           : shares > CPU_SHARES_MAX ? CPU_SHARES_MAX
                                     : shares;
}

struct cri_resources container_resources(const struct object *pod, const struct json *container,
                                         int64_t node_memory_bytes)
{
    struct cri_resources r = { .cpu_period = CPU_PERIOD_US };
    struct quantity q;
    bool has_limit = amount(container, "limits", "cpu", &q);
    if (has_limit) {
        r.cpu_quota = quantity_milli_value(&q) * CPU_PERIOD_US / 1000;
        if (r.cpu_quota < CPU_QUOTA_MIN_US)
            r.cpu_quota = CPU_QUOTA_MIN_US;
    }
    struct quantity request;
    if (amount(container, "requests", "cpu", &request))
        r.cpu_shares = cpu_shares(quantity_milli_value(&request));
    else
        r.cpu_shares = cpu_shares(has_limit ? quantity_milli_value(&q) : 0);
    if (amount(container, "limits", "memory", &q))
        r.memory_limit_bytes = quantity_value(&q);
    r.oom_score_adj = oom_score_adj(pod, container, node_memory_bytes);
    return r;
}

const char *pod_cgroup_parent(const struct object *pod, struct arena *a)
{
    static const char *const folders[] = { "", "burstable/", "besteffort/" };
    return arena_printf(a, "/kubepods/%spod%s", folders[pod_qos(pod)], pod->uid);
}
