/* SPDX-License-Identifier: Apache-2.0 */
/* strategy_namespace.c - a namespace stays until its contents are gone: the `kubernetes` finalizer.
 */

#include "apiserver/strategies.h"

static void set_name_label(struct draft *d)
{
    const char *name = json_str(d->doc, "metadata.name", "");
    struct json *labels = json_make(d->arena, d->doc, "metadata.labels");
    json_set(d->arena, labels, "kubernetes.io/metadata.name", json_string_value(d->arena, name));
}

static int prepare_create(struct strategy_call *c, struct draft *new, struct error *err)
{
    (void)c;
    (void)err;
    struct json *finalizers = json_make_array(new->arena, new->doc, "spec.finalizers");
    if (!json_has_text(finalizers, "kubernetes"))
        json_append(new->arena, finalizers, json_string_value(new->arena, "kubernetes"));
    *json_make(new->arena, new->doc, "status") = (struct json){ .type = JSON_OBJECT };
    json_put_str(new->arena, new->doc, "status.phase", "Active");
    set_name_label(new);
    return 0;
}

static int prepare_update(struct strategy_call *c, const struct object *old, struct draft *new,
                          struct error *err)
{
    (void)c;
    (void)err;
    const struct json *finalizers = json_at(old->doc, "spec.finalizers");
    if (finalizers)
        json_put(new->arena, new->doc, "spec.finalizers", json_clone_value(finalizers, new->arena));
    else
        json_drop(new->doc, "spec.finalizers");
    set_name_label(new);
    return 0;
}

static void mark_deleted(struct strategy_call *c, struct draft *d)
{
    (void)c;
    json_put_str(d->arena, d->doc, "status.phase", "Terminating");
}

static bool has_more_finalizers(const struct json *doc)
{
    return json_len(doc, "spec.finalizers") > 0;
}

const struct strategy namespace_strategy = {
    .prepare_create = prepare_create,
    .prepare_update = prepare_update,
    .has_more_finalizers = has_more_finalizers,
    .mark_deleted = mark_deleted,
};
