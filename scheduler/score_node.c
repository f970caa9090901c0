/* SPDX-License-Identifier: Apache-2.0 */
/* score_node.c - soft taints, preferred labels, images that are there already. */
#include "scheduler/plugins.h"

/* ---- taints with PreferNoSchedule ---- */

static int64_t soft_taints(const struct cycle *c, const struct node_info *n)
{
    int64_t count = 0;
    for (size_t i = 0; i < n->taints_n; i++) {
        if (!str_equal(n->taints[i].effect, "PreferNoSchedule"))
            continue;
        bool is_tolerated = false;
        for (size_t k = 0; k < c->pod->tolerations_n && !is_tolerated; k++)
            is_tolerated = tolerates(&c->pod->tolerations[k], &n->taints[i]);
        count += !is_tolerated;
    }
    return count;
}

/* ---- preferred node affinity ---- */

static bool has_preferred_nodes(const struct cycle *c)
{
    return c->pod->preferred_node_terms;
}

static int64_t preferred_nodes(const struct cycle *c, const struct node_info *n)
{
    int64_t sum = 0;
    json_each_item (c->pod->preferred_node_terms, term) {
        if (node_term_matches(json_get(term, "preference"), n->labels, n->name))
            sum += json_int(term, "weight", 0);
    }
    return sum;
}

/* ---- images ---- */

#define IMAGE_BYTES_LOW  (INT64_C(23) * 1024 * 1024)   /* less is pulled in no time */
#define IMAGE_BYTES_HIGH (INT64_C(1000) * 1024 * 1024) /* per container: more counts as this */

static int64_t image_locality(const struct cycle *c, const struct node_info *n)
{
    if (!n->images.n || !c->snapshot->nodes_n)
        return 0;
    int64_t sum = 0;
    for (size_t i = 0; i < c->pod->images_n; i++) {
        const struct image_state *image = hashmap_get(&n->images, bytes_of(c->pod->images[i]));
        /* Weighed by how many nodes have it, so that one node does not draw all pods of an image.
         */
        if (image)
            sum += (int64_t)((double)image->size_bytes * (double)image->nodes_n /
                             (double)c->snapshot->nodes_n);
    }
    int64_t high = IMAGE_BYTES_HIGH * (int64_t)c->pod->containers_n;
    if (sum < IMAGE_BYTES_LOW)
        sum = IMAGE_BYTES_LOW;
    if (sum > high)
        sum = high;
    return SCORE_MAX * (sum - IMAGE_BYTES_LOW) / (high - IMAGE_BYTES_LOW);
}

const struct score_plugin score_taints = {
    .name = "TaintToleration",
    .weight = 3,
    .normalize = NORMALIZE_REVERSED,
    .score = soft_taints,
};
const struct score_plugin score_node_affinity = {
    .name = "NodeAffinity",
    .weight = 2,
    .normalize = NORMALIZE_MAX,
    .applies = has_preferred_nodes,
    .score = preferred_nodes,
};
const struct score_plugin score_image_locality = {
    .name = "ImageLocality",
    .weight = 1,
    .score = image_locality,
};
