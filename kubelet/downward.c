/* SPDX-License-Identifier: Apache-2.0 */
/* downward.c - what a pod may know of itself. */
#include "kubelet/downward.h"

#include <inttypes.h>

#include "api/quantity.h"

const struct json *pod_container(const struct object *pod, const char *name)
{
    static const char *const lists[] = { "spec.containers", "spec.initContainers",
                                         "spec.ephemeralContainers" };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_each_item (json_at(pod->doc, lists[i]), c)
            if (str_equal(json_str(c, "name", ""), name))
                return c;
    return NULL;
}

/* All of a map as a file has it: key="escaped value", sorted by key, one a line. */
static const char *map_text(const struct json *map, struct arena *a)
{
    size_t n = json_len(map, "");
    if (n == 0)
        return "";
    const struct json_member **sorted = arena_alloc(a, n * sizeof(*sorted));
    size_t filled = 0;
    json_each_member (map, m) {
        size_t at = filled++;
        for (; at > 0 && strcmp(sorted[at - 1]->name, m->name) > 0; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = m;
    }
    __attribute__((cleanup(buffer_scoped))) struct buffer text = { 0 };
    for (size_t i = 0; i < filled; i++) {
        if (i)
            buffer_add_char(&text, '\n');
        buffer_printf(&text, "%s=", sorted[i]->name);
        json_print_string(bytes_of(sorted[i]->value.string), &text);
    }
    return arena_strndup(a, text.data, text.len);
}

static const char *joined(char *const *items, size_t n, struct arena *a)
{
    const char *text = "";
    for (size_t i = 0; i < n; i++)
        text = arena_printf(a, "%s%s%s", text, i ? "," : "", items[i]);
    return text;
}

/* metadata.labels['KEY']: the KEY in *OUT; false if PATH is not of that form. */
static bool subscript(const char *path, const char *map, struct arena *a, const char **out)
{
    size_t len = strlen(map);
    if (!str_has_prefix(path, map) || !str_has_prefix(path + len, "['") ||
        !str_has_suffix(path + len + 2, "']"))
        return false;
    *out = arena_strndup(a, path + len + 2, strlen(path + len + 2) - 2);
    return true;
}

int downward_field(const struct downward_context *c, const char *path, struct arena *a,
                   const char **out, struct error *err)
{
    const struct json *doc = c->pod->doc;
    static const char *const plain[] = { "metadata.name", "metadata.namespace", "metadata.uid",
                                         "spec.serviceAccountName" };
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        if (str_equal(path, plain[i])) {
            *out = json_str(doc, path, "");
            return 0;
        }
    }
    const char *key;
    if (subscript(path, "metadata.labels", a, &key))
        *out = object_label(c->pod, key);
    else if (subscript(path, "metadata.annotations", a, &key))
        *out = object_annotation(c->pod, key);
    else if (str_equal(path, "metadata.labels"))
        *out = map_text(json_at(doc, "metadata.labels"), a);
    else if (str_equal(path, "metadata.annotations"))
        *out = map_text(json_at(doc, "metadata.annotations"), a);
    else if (str_equal(path, "spec.nodeName"))
        *out = c->node_name;
    else if (str_equal(path, "status.hostIP") || str_equal(path, "status.hostIPs"))
        *out = c->host_ip;
    else if (str_equal(path, "status.podIP"))
        *out = c->pod_ips_n ? c->pod_ips[0] : "";
    else if (str_equal(path, "status.podIPs"))
        *out = joined(c->pod_ips, c->pod_ips_n, a);
    else
        return error_set(err, ERR_BAD_REQUEST, "unsupported fieldPath: %s", path);
    if (!*out)
        *out = "";
    return 0;
}

static const char *divided(int64_t value, int64_t divisor, struct arena *a)
{
    return arena_printf(a, "%" PRId64, (value + divisor - 1) / divisor);
}

int downward_resource(const struct downward_context *c, const struct json *ref,
                      const char *container_name, struct arena *a, const char **out,
                      struct error *err)
{
    const char *name = json_str(ref, "containerName", container_name);
    const char *resource = json_str(ref, "resource", "");
    const struct json *container = pod_container(c->pod, name);
    if (!container)
        return error_set(err, ERR_NOT_FOUND, "container %s not found", name);
    const char *dot = strchr(resource, '.');
    bool is_limit = str_has_prefix(resource, "limits.");
    if (!dot || (!is_limit && !str_has_prefix(resource, "requests.")))
        return error_set(err, ERR_BAD_REQUEST, "unsupported container resource : %s", resource);
    const char *what = dot + 1;
    bool is_cpu = str_equal(what, "cpu");

    struct quantity divisor;
    const char *divisor_text = json_str(ref, "divisor", "1");
    if (quantity_parse(str_equal(divisor_text, "0") ? "1" : divisor_text, &divisor) < 0)
        return error_set(err, ERR_BAD_REQUEST, "invalid divisor %s", divisor_text);

    const struct json *amounts =
        json_get(json_at(container, "resources"), is_limit ? "limits" : "requests");
    const char *text = json_text(json_get(amounts, what));
    struct quantity amount = { 0 };
    bool is_set = text && quantity_parse(text, &amount) == 0;
    if (is_cpu) {
        int64_t milli = is_set ? quantity_milli_value(&amount) : is_limit ? c->node_cpu_milli : 0;
        *out = divided(milli, quantity_milli_value(&divisor), a);
        return 0;
    }
    int64_t bytes = is_set ? quantity_value(&amount) : 0;
    if (!is_set && is_limit && str_equal(what, "memory"))
        bytes = c->node_memory_bytes;
    *out = divided(bytes, quantity_value(&divisor), a);
    return 0;
}
