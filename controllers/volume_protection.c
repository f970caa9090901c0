/* SPDX-License-Identifier: Apache-2.0 */
/* volume_protection - claims and volumes that are deleted stay until nobody uses them: admission
 * gives each a finalizer, which is taken off here. */
#include "controllers/pod_control.h"

#define CLAIM_FINALIZER  "kubernetes.io/pvc-protection"
#define VOLUME_FINALIZER "kubernetes.io/pv-protection"

static int put_finalizer(struct controller *c, const struct object *o, const char *finalizer,
                         bool is_wanted, struct error *err)
{
    if (object_has_finalizer(o, finalizer) == is_wanted)
        return 0;
    scoped(draft) struct draft *d = object_edit(o);
    struct json *left = json_new(d->arena, JSON_ARRAY);
    json_each_item (json_at(o->doc, "metadata.finalizers"), name) {
        if (!str_equal(json_text(name), finalizer))
            json_append(d->arena, left, json_clone_value(name, d->arena));
    }
    if (is_wanted)
        json_append(d->arena, left, json_string_value(d->arena, finalizer));
    json_put(d->arena, d->doc, "metadata.finalizers", *left);
    return update_object(c, d, NULL, err);
}

/* ---- claims ---- */

/* As good as gone: the node has ended it, or it was deleted by force. */
static bool is_shut_down(const struct object *pod)
{
    return object_is_deleting(pod) &&
           json_int(object_metadata(pod), "deletionGracePeriodSeconds", -1) == 0;
}

/* The name of the claim behind volume V of POD; NULL: none.  TEXT has room for it. */
static const char *claim_of(const struct object *pod, const struct json *v,
                            char text[KEY_TEXT_BYTES_MAX])
{
    if (json_get(v, "ephemeral") && !is_shut_down(pod)) {
        snprintf(text, KEY_TEXT_BYTES_MAX, "%s-%s", pod->key.name, json_str(v, "name", ""));
        return text;
    }
    return json_str(v, "persistentVolumeClaim.claimName", NULL);
}

/* "ns/name" of each claim.  A pod without a node does not count: no kubelet starts it with a claim
 * that is being deleted. */
static void index_claims(const struct object *pod, void (*emit)(struct bytes value, void *ctx),
                         void *ctx)
{
    if (str_empty(json_str(pod->doc, "spec.nodeName", "")))
        return;
    json_each_item (json_at(pod->doc, "spec.volumes"), v) {
        char name[KEY_TEXT_BYTES_MAX], text[KEY_TEXT_BYTES_MAX];
        struct object_key key = { pod->key.ns, claim_of(pod, v, name) };
        if (key.name)
            emit(object_key_text(&key, text), ctx);
    }
}

static bool is_claim_used(struct controller *c, const struct object_key *key)
{
    char text[KEY_TEXT_BYTES_MAX + 1];
    struct bytes b = object_key_text(key, text);
    text[b.len] = '\0';
    scoped(object_list) struct object_list pods = { 0 };
    cache_list_by(c, RESOURCE_PODS, "claim", text, &pods);
    return pods.n > 0;
}

struct sought {
    struct bytes claim;
    bool is_found;
};

static void compare_claim(struct bytes value, void *ctx)
{
    struct sought *s = ctx;
    s->is_found = s->is_found || bytes_equal(value, s->claim);
}

/* The cache knows no pod that uses the claim; the server has the last word, for what is set free
 * does not come back. */
static int check_is_unused(struct controller *c, const struct object_key *key, struct error *err)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct sought sought = { .claim = object_key_text(key, text) };
    struct client_list_options options = { .ns = key->ns };
    scoped(object_list) struct object_list pods = { 0 };
    if (client_list(c->client, &resources[RESOURCE_PODS], &options, &pods, NULL, err) < 0)
        return -1;
    object_list_each (&pods, pod)
        index_claims(pod, compare_claim, &sought);
    return sought.is_found ? error_set(err, ERR_CONFLICT, "a pod that uses it is not cached yet")
                           : 0;
}

static int protect_claim(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *claim = cache_get(c, RESOURCE_PERSISTENTVOLUMECLAIMS, key);
    bool is_ending = claim && object_is_deleting(claim);
    if (!claim || (is_ending && is_claim_used(c, key)))
        return 0;
    if (is_ending && object_has_finalizer(claim, CLAIM_FINALIZER) &&
        check_is_unused(c, key, err) < 0)
        return -1;
    return put_finalizer(c, claim, CLAIM_FINALIZER, !is_ending, err);
}

static void enqueue_claim(struct bytes value, void *ctx)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct object_key key = object_key_parse(value, text);
    enqueue_key(ctx, &key);
}

/* The end of a pod sets its claims free. */
static void enqueue_claims(struct controller *c, const struct informer_event *e)
{
    if (e->old && (!e->new || is_shut_down(e->new)))
        index_claims(e->old, enqueue_claim, c);
}

const struct controller_spec pvc_protection_controller = {
    .name = "persistentvolumeclaim-protection-controller",
    .account = "pvc-protection-controller",
    .source = "pvc-protection-controller",
    .workers = 2,
    .watches = {
        { RESOURCE_PERSISTENTVOLUMECLAIMS, enqueue_self },
        { RESOURCE_PODS, enqueue_claims },
    },
    .indexes = {
        { RESOURCE_PODS, "claim", index_claims },
    },
    .reconcile = protect_claim,
};

/* ---- volumes ---- */

static int protect_volume(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *volume = cache_get(c, RESOURCE_PERSISTENTVOLUMES, key);
    if (!volume || (object_is_deleting(volume) &&
                    str_equal(json_str(volume->doc, "status.phase", ""), "Bound")))
        return 0;
    return put_finalizer(c, volume, VOLUME_FINALIZER, !object_is_deleting(volume), err);
}

const struct controller_spec pv_protection_controller = {
    .name = "persistentvolume-protection-controller",
    .account = "pv-protection-controller",
    .source = "pv-protection-controller",
    .workers = 1,
    .watches = {
        { RESOURCE_PERSISTENTVOLUMES, enqueue_self },
    },
    .reconcile = protect_volume,
};
