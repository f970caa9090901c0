/* SPDX-License-Identifier: Apache-2.0 */
/* admission_runtime_class.c - RuntimeClass: a pod that names a class gets what the class says of
 * overhead and nodes; one that names a class that is not there is refused, since it was to be kept
 * apart from the others. */
#include "apiserver/admission.h"
#include "apiserver/server.h"

static int set_overhead(const struct admission_attributes *a, const struct object *class,
                        struct draft *pod, struct error *err)
{
    const struct json *fixed = class ? json_at(class->doc, "overhead.podFixed") : NULL;
    const struct json *given = json_at(pod->doc, "spec.overhead");
    if (!fixed)
        return given && given->len
                   ? admission_forbid(err, a,
                                      "pod rejected: Pod Overhead set without corresponding "
                                      "RuntimeClass defined Overhead")
                   : 0;
    if (given && !json_equal(given, fixed))
        return admission_forbid(
            err, a, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
    if (!given)
        json_put(pod->arena, pod->doc, "spec.overhead", json_clone_value(fixed, pod->arena));
    return 0;
}

static int add_node_selector(const struct admission_attributes *a, const struct json *wanted,
                             struct draft *pod, struct error *err)
{
    struct json *selector = json_make_object(pod->arena, pod->doc, "spec.nodeSelector");
    json_each_member (wanted, m) {
        const char *value = json_text(&m->value);
        const struct json *given = json_get(selector, m->name);
        if (given && !str_equal(json_text(given), value))
            return admission_forbid(err, a,
                                    "conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; "
                                    "pod.spec.nodeSelector[%s] = %s",
                                    m->name, value, m->name, json_text(given));
        json_set(pod->arena, selector, m->name, json_clone_value(&m->value, pod->arena));
    }
    return 0;
}

static bool has_item(const struct json *list, const struct json *wanted)
{
    json_each_item (list, item) {
        if (json_equal(item, wanted))
            return true;
    }
    return false;
}

static void add_tolerations(const struct json *wanted, struct draft *pod)
{
    struct json *list = json_make_array(pod->arena, pod->doc, "spec.tolerations");
    json_each_item (wanted, t) {
        if (!has_item(list, t))
            json_append(pod->arena, list, json_clone_value(t, pod->arena));
    }
}

static int admit(struct strategy_call *c, const struct admission_attributes *a, struct draft *new,
                 struct error *err)
{
    if (a->resource->id != RESOURCE_PODS || a->verb != REQUEST_CREATE || *a->subresource)
        return 0;
    const char *name = json_str(new->doc, "spec.runtimeClassName", "");
    scoped(object) struct object *class =
        *name ? watch_cache_get(watch_cache_of(c->server, &resources[RESOURCE_RUNTIMECLASSES]),
                                &(struct object_key){ "", name })
              : NULL;
    if (*name && !class)
        return admission_forbid(err, a, "pod rejected: RuntimeClass \"%s\" not found", name);
    if (set_overhead(a, class, new, err) < 0)
        return -1;
    const struct json *selector = class ? json_at(class->doc, "scheduling.nodeSelector") : NULL;
    const struct json *tolerations = class ? json_at(class->doc, "scheduling.tolerations") : NULL;
    if (selector && add_node_selector(a, selector, new, err) < 0)
        return -1;
    if (tolerations)
        add_tolerations(tolerations, new);
    return 0;
}

const struct admission_plugin admission_runtime_class = { "RuntimeClass", admit };
