/* SPDX-License-Identifier: Apache-2.0 */
/* statefulset_claims - the volume claims of a StatefulSet's pods. */
#include "controllers/statefulset_claims.h"

static const struct json *templates(const struct claims *k)
{
    return json_at(k->set->doc, "spec.volumeClaimTemplates");
}

static bool policy_deletes(const struct claims *k, const char *when)
{
    const struct json *policy = json_at(k->set->doc, "spec.persistentVolumeClaimRetentionPolicy");
    return str_equal(json_str(policy, when, ""), "Delete");
}

static const char *claim_name(const struct claims *k, const struct json *template)
{
    return arena_printf(k->c->arena, "%s-%s-%lld", json_str(template, "metadata.name", ""),
                        k->set->key.name, (long long)k->ordinal);
}

static struct object *claim_of(const struct claims *k, const struct json *template)
{
    struct object_key key = { k->set->key.ns, claim_name(k, template) };
    return cache_get(k->c, RESOURCE_PERSISTENTVOLUMECLAIMS, &key);
}

void claims_put_volumes(const struct claims *k, struct draft *d)
{
    struct arena *a = d->arena;
    json_each_item (templates(k), template) {
        const char *name = json_str(template, "metadata.name", "");
        struct json *volumes = json_make_array(a, d->doc, "spec.volumes");
        for (size_t i = volumes->len; i-- > 0;) {
            if (str_equal(json_str(&volumes->items[i], "name", ""), name))
                json_remove_item(volumes, i);
        }
        struct json *volume = json_new(a, JSON_OBJECT);
        json_put_str(a, volume, "name", name);
        json_put_str(a, volume, "persistentVolumeClaim.claimName", claim_name(k, template));
        json_append(a, volumes, *volume);
    }
}

/* ---- making them ---- */

static struct draft *draft_claim(const struct claims *k, const struct json *template,
                                 const char *name)
{
    struct draft *d = draft_new(&resources[RESOURCE_PERSISTENTVOLUMECLAIMS]);
    struct arena *a = d->arena;
    static const char *const copied[] = { "metadata.labels", "metadata.annotations", "spec" };
    json_put_str(a, d->doc, "metadata.namespace", k->set->key.ns);
    json_put_str(a, d->doc, "metadata.name", name);
    for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
        const struct json *v = json_at(template, copied[i]);
        if (v)
            json_put(a, d->doc, copied[i], json_clone_value(v, a));
    }
    struct json *labels = json_make_object(a, d->doc, "metadata.labels");
    json_each_member (json_at(k->set->doc, "spec.selector.matchLabels"), m)
        json_set(a, labels, m->name, json_clone_value(&m->value, a));
    if (policy_deletes(k, "whenDeleted"))
        draft_add_controller(d, k->set);
    return d;
}

static int create_claim(const struct claims *k, const struct json *template, struct error *err)
{
    const char *name = claim_name(k, template);
    scoped(draft) struct draft *d = draft_claim(k, template, name);
    struct error failure = { 0 };
    if (create_object(k->c, d, NULL, &failure) == 0) {
        event_record(k->c->events, k->set, "Normal", "SuccessfulCreate",
                     "create Claim %s Pod %s in StatefulSet %s success", name, k->pod,
                     k->set->key.name);
        return 0;
    }
    if (failure.code != ERR_ALREADY_EXISTS)
        event_record(k->c->events, k->set, "Warning", "FailedCreate",
                     "create Claim %s for Pod %s in StatefulSet %s failed error: %s", name, k->pod,
                     k->set->key.name, failure.message);
    return error_set(err, failure.code, "failed to create PVC %s: %s", name, failure.message);
}

int claims_create(const struct claims *k, struct error *err)
{
    int rc = 0;
    json_each_item (templates(k), template) {
        scoped(object) struct object *claim = claim_of(k, template);
        if (!claim && create_claim(k, template, err) < 0)
            rc = -1;
        if (claim && object_is_deleting(claim))
            rc = error_set(err, ERR_CONFLICT, "pvc %s is being deleted", claim->key.name);
    }
    return rc;
}

/* ---- whose they are ---- */

bool claims_are_stale(const struct claims *k)
{
    if (!policy_deletes(k, "whenScaled"))
        return false;
    json_each_item (templates(k), template) {
        scoped(object) struct object *claim = claim_of(k, template);
        if (!claim)
            continue;
        json_each_item (json_at(claim->doc, "metadata.ownerReferences"), ref) {
            if (str_equal(json_str(ref, "kind", ""), "Pod") &&
                str_equal(json_str(ref, "name", ""), k->pod))
                return true;
        }
    }
    return false;
}

/* CLAIM as OWNER's (NULL: nobody's), of the two that may have it; NULL if it is so already, or if
 * somebody else controls it. */
static struct draft *handed_over(const struct claims *k, const struct object *claim,
                                 const struct object *pod, const struct object *owner)
{
    scoped(draft) struct draft *d = object_edit(claim);
    struct json *refs = json_make_array(d->arena, d->doc, "metadata.ownerReferences");
    uint32_t before = refs->len;
    bool has_owner = false;
    for (size_t i = refs->len; i-- > 0;) {
        const char *uid = json_str(&refs->items[i], "uid", "");
        bool controls = json_bool(&refs->items[i], "controller", false);
        if (owner && controls && str_equal(uid, owner->uid))
            has_owner = true;
        else if (str_equal(uid, k->set->uid) || str_equal(uid, pod->uid))
            json_remove_item(refs, i);
        else if (controls)
            return NULL;
    }
    if (refs->len == before && has_owner == (owner != NULL))
        return NULL;
    if (owner && !has_owner)
        draft_add_controller(d, owner);
    if (refs->len == 0)
        json_drop(json_find(d->doc, "metadata"), "ownerReferences");
    return take_ptr(&d);
}

int claims_set_owners(const struct claims *k, const struct object *pod, bool is_in_range,
                      struct error *err)
{
    const struct object *owner = NULL;
    if (!is_in_range && policy_deletes(k, "whenScaled"))
        owner = pod;
    else if (policy_deletes(k, "whenDeleted"))
        owner = k->set;
    json_each_item (templates(k), template) {
        scoped(object) struct object *claim = claim_of(k, template);
        scoped(draft) struct draft *d = claim ? handed_over(k, claim, pod, owner) : NULL;
        if (d && update_object(k->c, d, NULL, err) < 0)
            return -1;
    }
    return 0;
}
