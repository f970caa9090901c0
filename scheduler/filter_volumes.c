/* SPDX-License-Identifier: Apache-2.0 */
/* filter_volumes.c - claims that are there, and volumes that the node can reach. */
#include "scheduler/plugins.h"

#define ANNOTATION_BOUND "pv.kubernetes.io/bind-completed"

/* The volume's name, NULL while the claim has none. */
static const char *bound_volume(const struct object *claim)
{
    const char *volume = json_str(claim->doc, "spec.volumeName", "");
    return !str_empty(volume) && object_annotation(claim, ANNOTATION_BOUND) ? volume : NULL;
}

bool claim_waits_for_node(const struct snapshot *s, const struct pod_claim *claim)
{
    const struct object *o = snapshot_object(&s->claims, claim->key);
    if (!o || bound_volume(o))
        return false;
    const char *name = json_str(o->doc, "spec.storageClassName", "");
    const struct object *class = snapshot_object(&s->storage_classes, bytes_of(name));
    return class &&
           str_equal(json_str(class->doc, "volumeBindingMode", ""), "WaitForFirstConsumer");
}

static const char *refuse_claim(const struct cycle *c, const struct pod_claim *claim)
{
    const struct object *o = snapshot_object(&c->snapshot->claims, claim->key);
    if (!o && claim->is_ephemeral)
        return arena_printf(
            c->arena,
            "waiting for ephemeral volume controller to create the persistentvolumeclaim \"%s\"",
            claim->name);
    if (!o)
        return arena_printf(c->arena, "persistentvolumeclaim \"%s\" not found", claim->name);
    if (object_is_deleting(o))
        return arena_printf(c->arena, "persistentvolumeclaim \"%s\" is being deleted", claim->name);
    if (!bound_volume(o) && !claim_waits_for_node(c->snapshot, claim))
        return "pod has unbound immediate PersistentVolumeClaims";
    return NULL;
}

static const char *refuse(const struct cycle *c)
{
    for (size_t i = 0; i < c->pod->claims_n; i++) {
        const char *why = refuse_claim(c, &c->pod->claims[i]);
        if (why)
            return why;
    }
    return NULL;
}

static bool volume_reaches(const struct object *volume, const struct node_info *n)
{
    const struct json *required = json_at(volume->doc, "spec.nodeAffinity.required");
    if (!required)
        return true;
    json_each_item (json_get(required, "nodeSelectorTerms"), term) {
        if (node_term_matches(term, n->labels, n->name))
            return true;
    }
    return false;
}

/* NULL: the claim is no obstacle on this node. */
static const char *obstacle(const struct cycle *c, const struct pod_claim *claim,
                            const struct node_info *n)
{
    const struct object *o = snapshot_object(&c->snapshot->claims, claim->key);
    const char *name = o ? bound_volume(o) : NULL;
    if (!name) {
        /* A volume is being made for another node. */
        const char *selected = o ? object_annotation(o, ANNOTATION_SELECTED_NODE) : NULL;
        bool is_elsewhere = selected && !str_equal(selected, n->name);
        return is_elsewhere ? "node(s) didn't find available persistent volumes to bind" : NULL;
    }
    const struct object *volume = snapshot_object(&c->snapshot->volumes, bytes_of(name));
    if (!volume)
        return "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
    return volume_reaches(volume, n) ? NULL
                                     : "node(s) didn't match PersistentVolume's node affinity";
}

static enum verdict volumes(const struct cycle *c, const struct node_info *n, struct reasons *out)
{
    for (size_t i = 0; i < c->pod->claims_n; i++) {
        const char *why = obstacle(c, &c->pod->claims[i], n);
        if (!why)
            continue;
        reasons_add(out, why);
        return NODE_UNRESOLVABLE;
    }
    return NODE_FITS;
}

const struct filter_plugin filter_volumes = {
    .name = "VolumeBinding",
    .events = EVENT_NODE_ADDED | EVENT_NODE_LABELS | EVENT_VOLUMES,
    .refuse = refuse,
    .filter = volumes,
};
