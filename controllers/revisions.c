/* SPDX-License-Identifier: Apache-2.0 */
/* revisions - ControllerRevisions: the templates that a DaemonSet or StatefulSet has had. */
#include "controllers/revisions.h"

static int64_t number_of(const struct object *revision)
{
    return json_int(revision->doc, "revision", 0);
}

static int by_number(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    int64_t older = number_of(x), newer = number_of(y);
    return older != newer ? (older > newer) - (older < newer) : strcmp(x->key.name, y->key.name);
}

void revisions_list(struct controller *c, const struct object *owner, struct object_list *out)
{
    cache_list_by(c, RESOURCE_CONTROLLERREVISIONS, "controller", owner->uid, out);
    if (out->n > 1)
        qsort(out->items, out->n, sizeof(*out->items), by_number);
}

const struct json *revision_template(const struct object *revision)
{
    return json_at(revision->doc, "data.spec.template");
}

const char *revision_hash(const struct object *revision)
{
    const char *hash = object_label(revision, LABEL_REVISION);
    return hash ? hash : "";
}

/* {"spec": {"template": {..., "$patch": "replace"}}} */
static struct json *data_of(const struct object *owner, struct arena *a)
{
    struct json *data = json_new(a, JSON_OBJECT);
    json_put(a, data, "spec.template", json_clone_value(json_at(owner->doc, "spec.template"), a));
    json_put_str(a, data, "spec.template.$patch", "replace");
    return data;
}

static struct object *raise(struct controller *c, struct object *revision, int64_t number,
                            struct error *err)
{
    struct object *result = NULL;
    if (number_of(revision) >= number)
        return object_ref(revision);
    scoped(draft) struct draft *d = object_edit(revision);
    json_put_int(d->arena, d->doc, "revision", number);
    return update_object(c, d, &result, err) < 0 ? NULL : result;
}

static struct draft *draft_revision(struct controller *c, const struct object *owner,
                                    const struct json *data, int64_t number, int64_t collisions)
{
    struct draft *d = draft_new(&resources[RESOURCE_CONTROLLERREVISIONS]);
    struct arena *a = d->arena;
    const char *hash = hash_name(c, data, collisions);
    json_put_str(a, d->doc, "metadata.namespace", owner->key.ns);
    json_put_str(a, d->doc, "metadata.name", arena_printf(a, "%s-%s", owner->key.name, hash));
    const struct json *labels = json_at(owner->doc, "spec.template.metadata.labels");
    if (labels)
        json_put(a, d->doc, "metadata.labels", json_clone_value(labels, a));
    json_set(a, json_make_object(a, d->doc, "metadata.labels"), LABEL_REVISION,
             json_string_value(a, hash));
    const struct json *annotations = json_at(owner->doc, "metadata.annotations");
    if (annotations)
        json_put(a, d->doc, "metadata.annotations", json_clone_value(annotations, a));
    draft_add_controller(d, owner);
    json_put(a, d->doc, "data", json_clone_value(data, a));
    json_put_int(a, d->doc, "revision", number);
    return d;
}

static struct object *create(struct controller *c, const struct object *owner,
                             const struct json *data, int64_t number, int64_t *collisions,
                             struct error *err)
{
    for (;;) {
        struct object *made = NULL;
        struct error failure = { 0 };
        scoped(draft) struct draft *d = draft_revision(c, owner, data, number, *collisions);
        if (create_object(c, d, &made, &failure) == 0)
            return made;
        if (failure.code != ERR_ALREADY_EXISTS) {
            error_set(err, failure.code, "%s", failure.message);
            return NULL;
        }
        scoped(object) struct object *there = NULL;
        struct object_key key = { owner->key.ns, json_str(d->doc, "metadata.name", "") };
        if (client_get(c->client, d->resource, &key, &there, err) < 0)
            return NULL;
        if (json_equal(json_at(there->doc, "data"), data))
            return take_ptr(&there);
        (*collisions)++;
    }
}

struct object *revisions_current(struct controller *c, const struct object *owner,
                                 struct object_list *list, int64_t *collisions, struct error *err)
{
    const struct json *data = data_of(owner, c->arena);
    int64_t newest = list->n ? number_of(list->items[list->n - 1]) : 0;
    for (size_t i = list->n; i-- > 0;) {
        if (json_equal(json_at(list->items[i]->doc, "data"), data))
            return raise(c, list->items[i], i == list->n - 1 ? newest : newest + 1, err);
    }
    struct object *made = create(c, owner, data, newest + 1, collisions, err);
    if (made)
        object_list_add(list, made);
    return made;
}

int revisions_truncate(struct controller *c, const struct object *owner,
                       const struct object_list *list,
                       bool (*is_live)(const struct object *revision, void *arg), void *arg,
                       struct error *err)
{
    int64_t limit = json_int(owner->doc, "spec.revisionHistoryLimit", 10), idle = 0;
    object_list_each (list, counted)
        idle += !is_live(counted, arg);
    object_list_each (list, revision) {
        if (idle <= limit)
            return 0;
        if (is_live(revision, arg))
            continue;
        if (delete_object(c, revision, PROPAGATION_DEFAULT, err) < 0)
            return -1;
        idle--;
    }
    return 0;
}
