/* SPDX-License-Identifier: Apache-2.0 */
/* topology.c - counts per topology domain. */
#include "scheduler/topology.h"

#define DOMAIN_BYTES_MAX 640 /* a label's key (253 + 1 + 63), "=", its value (63) */

static struct bytes domain_name(const struct node_info *node, const char *key,
                                char buf[DOMAIN_BYTES_MAX])
{
    const char *value = node_label(node, key);
    if (!value)
        return (struct bytes){ 0 };
    int n = snprintf(buf, DOMAIN_BYTES_MAX, "%s=%s", key, value);
    return (struct bytes){ buf, n < DOMAIN_BYTES_MAX ? (size_t)n : DOMAIN_BYTES_MAX - 1 };
}

void domain_counts_deinit(struct domain_counts *d)
{
    hashmap_deinit(&d->counts);
}

void domain_add(struct domain_counts *d, struct arena *a, const struct node_info *node,
                const char *topology_key, int64_t n)
{
    char buf[DOMAIN_BYTES_MAX];
    struct bytes name = domain_name(node, topology_key, buf);
    if (!name.len)
        return;
    int64_t *count = hashmap_get(&d->counts, name);
    if (!count) {
        count = arena_zalloc(a, sizeof(*count));
        hashmap_put(&d->counts, arena_bytes(a, name), count);
    }
    *count += n;
}

int64_t domain_count(const struct domain_counts *d, const struct node_info *node,
                     const char *topology_key)
{
    char buf[DOMAIN_BYTES_MAX];
    struct bytes name = domain_name(node, topology_key, buf);
    const int64_t *count = name.len ? hashmap_get(&d->counts, name) : NULL;
    return count ? *count : 0;
}
