/* SPDX-License-Identifier: Apache-2.0 */
/* kubelet_stats.c - what pods and the node use. */
#include "kubelet/kubelet_stats.h"

#include <inttypes.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/files.h"
#include "kubelet/pod_labels.h"

struct node_usage {
    uint64_t cpu_ns;
    uint64_t memory_total, memory_available;
};

/* Of the whole machine: user to steal of /proc/stat's first line, less idle and waiting. */
static struct node_usage node_usage(struct arena *a)
{
    struct node_usage u = { 0 };
    unsigned long long v[8] = { 0 };
    const char *line = files_line("/proc/stat", a);
    sscanf(line, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4],
           &v[5], &v[6], &v[7]);
    unsigned long long ticks = v[0] + v[1] + v[2] + v[5] + v[6] + v[7];
    u.cpu_ns = ticks * (1000000000ull / (unsigned long long)sysconf(_SC_CLK_TCK));
    struct error err = { 0 };
    struct bytes text;
    if (files_read("/proc/meminfo", 65536, a, &text, &err) == 0) {
        const char *total = strstr(text.data, "MemTotal:");
        const char *available = strstr(text.data, "MemAvailable:");
        u.memory_total = total ? strtoull(total + 9, NULL, 10) * 1024 : 0;
        u.memory_available = available ? strtoull(available + 13, NULL, 10) * 1024 : 0;
    }
    return u;
}

static void put_usage(struct arena *a, struct json *to, const char *time, uint64_t cpu_ns,
                      uint64_t working_set, uint64_t rss)
{
    json_put_str(a, to, "cpu.time", time);
    json_put_int(a, to, "cpu.usageCoreNanoSeconds", (int64_t)cpu_ns);
    json_put_str(a, to, "memory.time", time);
    json_put_int(a, to, "memory.workingSetBytes", (int64_t)working_set);
    json_put_int(a, to, "memory.rssBytes", (int64_t)rss);
}

static void put_node(struct kubelet_context *k, struct arena *a, struct json *node,
                     const char *time)
{
    struct node_usage u = node_usage(a);
    json_put_str(a, node, "nodeName", k->node_name);
    put_usage(a, node, time, u.cpu_ns, u.memory_total - u.memory_available, 0);
    json_put_int(a, node, "memory.availableBytes", (int64_t)u.memory_available);
    struct statvfs fs;
    if (statvfs(k->data_dir, &fs) == 0) {
        int64_t block = (int64_t)fs.f_frsize;
        json_put_str(a, node, "fs.time", time);
        json_put_int(a, node, "fs.availableBytes", (int64_t)fs.f_bavail * block);
        json_put_int(a, node, "fs.capacityBytes", (int64_t)fs.f_blocks * block);
        json_put_int(a, node, "fs.usedBytes", (int64_t)(fs.f_blocks - fs.f_bfree) * block);
        json_put_int(a, node, "fs.inodesFree", (int64_t)fs.f_ffree);
        json_put_int(a, node, "fs.inodes", (int64_t)fs.f_files);
    }
}

/* The pod's object in LIST, made where it is not there yet. */
static struct json *pod_of(struct arena *a, struct json *list, const struct cri_stats *s)
{
    const char *uid = cri_pairs_get(&s->labels, LABEL_POD_UID);
    for (uint32_t i = 0; i < list->len; i++)
        if (str_equal(json_str(&list->items[i], "podRef.uid", ""), uid))
            return &list->items[i];
    struct json *pod = json_append(a, list, *json_new(a, JSON_OBJECT));
    const char *name = cri_pairs_get(&s->labels, LABEL_POD_NAME);
    const char *ns = cri_pairs_get(&s->labels, LABEL_POD_NAMESPACE);
    json_put_str(a, pod, "podRef.name", name ? name : "");
    json_put_str(a, pod, "podRef.namespace", ns ? ns : "");
    json_put_str(a, pod, "podRef.uid", uid ? uid : "");
    json_put(a, pod, "containers", *json_new(a, JSON_ARRAY));
    return pod;
}

int kubelet_stats_summary(struct kubelet_context *k, struct buffer *out, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct cri_stats *stats;
    size_t n;
    if (cri_list_stats(k->cri, NULL, a, &stats, &n, err) < 0)
        return -1;
    char now[TIME_TEXT_BYTES];
    time_format(clock_wall_ns(k->clock), now);
    struct json *doc = json_new(a, JSON_OBJECT);
    put_node(k, a, json_make(a, doc, "node"), now);
    struct json pods = *json_new(a, JSON_ARRAY);
    for (size_t i = 0; i < n; i++) {
        const struct cri_stats *s = &stats[i];
        if (!cri_pairs_get(&s->labels, LABEL_POD_UID))
            continue;
        struct json *pod = pod_of(a, &pods, s);
        int64_t cpu = json_int(pod, "cpu.usageCoreNanoSeconds", 0);
        int64_t memory = json_int(pod, "memory.workingSetBytes", 0);
        int64_t rss = json_int(pod, "memory.rssBytes", 0);
        put_usage(a, pod, now, (uint64_t)cpu + s->cpu_core_ns,
                  (uint64_t)memory + s->memory_working_set_bytes,
                  (uint64_t)rss + s->memory_rss_bytes);
        struct json *c = json_append(a, json_find(pod, "containers"), *json_new(a, JSON_OBJECT));
        json_put_str(a, c, "name", s->name);
        put_usage(a, c, now, s->cpu_core_ns, s->memory_working_set_bytes, s->memory_rss_bytes);
        json_put_int(a, c, "rootfs.usedBytes", (int64_t)s->rootfs_used_bytes);
        json_put_int(a, c, "rootfs.inodesUsed", (int64_t)s->rootfs_inodes_used);
    }
    json_put(a, doc, "pods", pods);
    json_print(doc, out);
    return 0;
}

static void print_container(struct buffer *out, const char *metric, const struct cri_stats *s,
                            double value)
{
    const char *ns = cri_pairs_get(&s->labels, LABEL_POD_NAMESPACE);
    const char *pod = cri_pairs_get(&s->labels, LABEL_POD_NAME);
    buffer_printf(out, "%s{container=\"%s\",namespace=\"%s\",pod=\"%s\"} %.9g %" PRId64 "\n",
                  metric, s->name, ns ? ns : "", pod ? pod : "", value,
                  s->timestamp_ns / NS_PER_MS);
}

int kubelet_stats_metrics(struct kubelet_context *k, struct buffer *out, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct cri_stats *stats;
    size_t n;
    if (cri_list_stats(k->cri, NULL, a, &stats, &n, err) < 0)
        return -1;
    int64_t now_ms = clock_wall_ns(k->clock) / NS_PER_MS;
    struct node_usage u = node_usage(a);
    buffer_add_str(out,
                   "# HELP container_cpu_usage_seconds_total Cumulative cpu time consumed by the "
                   "container in core-seconds\n"
                   "# TYPE container_cpu_usage_seconds_total counter\n");
    for (size_t i = 0; i < n; i++)
        print_container(out, "container_cpu_usage_seconds_total", &stats[i],
                        (double)stats[i].cpu_core_ns / 1e9);
    buffer_add_str(out, "# HELP container_memory_working_set_bytes Current working set of the "
                        "container in bytes\n"
                        "# TYPE container_memory_working_set_bytes gauge\n");
    for (size_t i = 0; i < n; i++)
        print_container(out, "container_memory_working_set_bytes", &stats[i],
                        (double)stats[i].memory_working_set_bytes);
    buffer_printf(out,
                  "# HELP node_cpu_usage_seconds_total Cumulative cpu time consumed by the node in "
                  "core-seconds\n"
                  "# TYPE node_cpu_usage_seconds_total counter\n"
                  "node_cpu_usage_seconds_total %.9g %" PRId64 "\n",
                  (double)u.cpu_ns / 1e9, now_ms);
    buffer_printf(out,
                  "# HELP node_memory_working_set_bytes Current working set of the node in bytes\n"
                  "# TYPE node_memory_working_set_bytes gauge\n"
                  "node_memory_working_set_bytes %" PRIu64 " %" PRId64 "\n",
                  u.memory_total - u.memory_available, now_ms);
    return 0;
}
