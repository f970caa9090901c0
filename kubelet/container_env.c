/* SPDX-License-Identifier: Apache-2.0 */
/* container_env.c - a container's environment. */
#include "kubelet/container_env.h"

#include <ctype.h>
#include <inttypes.h>

#include "base/crypto.h"

static void put(struct cri_pairs *env, struct arena *a, const char *name, const char *value)
{
    for (size_t i = 0; i < env->n; i++) {
        if (str_equal(env->items[i].name, name)) {
            env->items[i].value = arena_strdup(a, value);
            return;
        }
    }
    cri_pairs_add(env, a, name, value);
}

const char *env_expand(const char *text, const struct cri_pairs *env, struct arena *a)
{
    if (!strchr(text, '$'))
        return text;
    __attribute__((cleanup(buffer_scoped))) struct buffer out = { 0 };
    for (const char *p = text; *p; p++) {
        if (*p != '$' || p[1] == '\0') {
            buffer_add_char(&out, *p);
            continue;
        }
        const char *end = p[1] == '(' ? strchr(p, ')') : NULL;
        if (p[1] == '$') {
            buffer_add_char(&out, '$');
            p++;
        } else if (end) {
            const char *name = arena_strndup(a, p + 2, (size_t)(end - p - 2));
            const char *value = cri_pairs_get(env, name);
            if (value)
                buffer_add_str(&out, value);
            else
                buffer_add(&out, p, (size_t)(end - p + 1));
            p = end;
        } else {
            buffer_add_char(&out, *p);
        }
    }
    return arena_strndup(a, out.data ? out.data : "", out.len);
}

/* ---- services ---- */

/* "my-svc" -> "MY_SVC" */
static char *variable_name(const char *service, struct arena *a)
{
    char *name = arena_strdup(a, service);
    for (char *p = name; *p; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    return name;
}

/* Docker's link variables, which upstream keeps: REDIS_PORT_6379_TCP_ADDR and company. */
static void put_link(struct cri_pairs *env, struct arena *a, const char *prefix, const char *ip,
                     const struct json *port, bool is_first)
{
    const char *protocol = json_str(port, "protocol", "TCP");
    char *lower = arena_strdup(a, protocol);
    for (char *p = lower; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    const char *number = arena_printf(a, "%" PRId64, json_int(port, "port", 0));
    const char *url =
        arena_printf(a, strchr(ip, ':') ? "%s://[%s]:%s" : "%s://%s:%s", lower, ip, number);
    if (is_first)
        put(env, a, arena_printf(a, "%s_PORT", prefix), url);
    const char *base = arena_printf(a, "%s_PORT_%s_%s", prefix, number, protocol);
    put(env, a, base, url);
    put(env, a, arena_printf(a, "%s_PROTO", base), lower);
    put(env, a, arena_printf(a, "%s_PORT", base), number);
    put(env, a, arena_printf(a, "%s_ADDR", base), ip);
}

static void put_service(struct cri_pairs *env, struct arena *a, const struct object *service)
{
    const char *ip = json_str(service->doc, "spec.clusterIP", "");
    const struct json *ports = json_at(service->doc, "spec.ports");
    if (str_empty(ip) || str_equal(ip, "None") || !json_items_begin(ports))
        return;
    const char *prefix = variable_name(service->key.name, a);
    put(env, a, arena_printf(a, "%s_SERVICE_HOST", prefix), ip);
    bool is_first = true;
    json_each_item (ports, port) {
        const char *number = arena_printf(a, "%" PRId64, json_int(port, "port", 0));
        if (is_first)
            put(env, a, arena_printf(a, "%s_SERVICE_PORT", prefix), number);
        const char *name = json_str(port, "name", "");
        if (!str_empty(name))
            put(env, a, arena_printf(a, "%s_SERVICE_PORT_%s", prefix, variable_name(name, a)),
                number);
        put_link(env, a, prefix, ip, port, is_first);
        is_first = false;
    }
}

static void put_services(const struct env_context *c, struct arena *a, struct cri_pairs *env)
{
    bool wants_all = json_bool(c->downward.pod->doc, "spec.enableServiceLinks", true);
    if (!c->services)
        return;
    object_list_each (c->services, service) {
        bool is_master =
            str_equal(service->key.ns, "default") && str_equal(service->key.name, "kubernetes");
        if (is_master || (wants_all && str_equal(service->key.ns, c->downward.pod->key.ns)))
            put_service(env, a, service);
    }
}

/* ---- ConfigMaps and Secrets ---- */

/* Gets the object that REF names; *OUT stays NULL if it is optional and missing. */
static int get_object(const struct env_context *c, bool is_secret, const struct json *ref,
                      struct object **out, struct error *err)
{
    const struct resource *r = &resources[is_secret ? RESOURCE_SECRETS : RESOURCE_CONFIGMAPS];
    struct object_key key = { c->downward.pod->key.ns, json_str(ref, "name", "") };
    struct error failure = { 0 };
    if (c->get(c->get_arg, r, &key, out, &failure) == 0)
        return 0;
    if (failure.code != ERR_NOT_FOUND) {
        *err = failure;
        return -1;
    }
    if (json_bool(ref, "optional", false))
        return 0;
    return error_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", is_secret ? "secret" : "configmap",
                     key.name);
}

/* A value as text; a Secret's data is base64. */
static const char *value_text(bool is_secret, const struct json *value, struct arena *a)
{
    const char *text = json_text(value);
    struct bytes decoded;
    if (!text || !is_secret)
        return text;
    if (base64_decode(bytes_of(text), a, &decoded) < 0)
        return NULL;
    return arena_strndup(a, decoded.data, decoded.len);
}

static int put_all(const struct env_context *c, const struct json *source, struct arena *a,
                   struct cri_pairs *env, struct error *err)
{
    bool is_secret = json_get(source, "secretRef") != NULL;
    const struct json *ref = json_get(source, is_secret ? "secretRef" : "configMapRef");
    const char *prefix = json_str(source, "prefix", "");
    scoped(object) struct object *o = NULL;
    if (get_object(c, is_secret, ref, &o, err) < 0)
        return -1;
    if (!o)
        return 0;
    json_each_member (json_at(o->doc, "data"), m) {
        const char *value = value_text(is_secret, &m->value, a);
        const char *name = arena_printf(a, "%s%s", prefix, m->name);
        if (value && !strchr(name, '='))
            put(env, a, name, value);
    }
    return 0;
}

static int key_value(const struct env_context *c, const struct json *ref, bool is_secret,
                     struct arena *a, const char **value, struct error *err)
{
    scoped(object) struct object *o = NULL;
    *value = NULL;
    if (get_object(c, is_secret, ref, &o, err) < 0)
        return -1;
    if (!o)
        return 0;
    const char *key = json_str(ref, "key", "");
    const char *text = value_text(is_secret, json_get(json_at(o->doc, "data"), key), a);
    if (text)
        *value = arena_strdup(a, text);
    else if (!json_bool(ref, "optional", false))
        return error_set(err, ERR_NOT_FOUND, "couldn't find key %s in %s %s/%s", key,
                         is_secret ? "Secret" : "ConfigMap", o->key.ns, o->key.name);
    return 0;
}

static int put_variable(const struct env_context *c, const struct json *variable, struct arena *a,
                        struct cri_pairs *env, struct error *err)
{
    const char *name = json_str(variable, "name", "");
    const struct json *from = json_get(variable, "valueFrom");
    const char *value = NULL;
    int rc = 0;
    if (!from)
        value = env_expand(json_str(variable, "value", ""), env, a);
    else if (json_get(from, "fieldRef"))
        rc = downward_field(&c->downward, json_str(from, "fieldRef.fieldPath", ""), a, &value, err);
    else if (json_get(from, "resourceFieldRef"))
        rc = downward_resource(&c->downward, json_get(from, "resourceFieldRef"), c->container_name,
                               a, &value, err);
    else if (json_get(from, "configMapKeyRef"))
        rc = key_value(c, json_get(from, "configMapKeyRef"), false, a, &value, err);
    else if (json_get(from, "secretKeyRef"))
        rc = key_value(c, json_get(from, "secretKeyRef"), true, a, &value, err);
    if (rc == 0 && value)
        put(env, a, name, value);
    return rc;
}

int container_env(const struct env_context *c, const struct json *container, struct arena *a,
                  struct cri_pairs *out, struct error *err)
{
    put_services(c, a, out);
    json_each_item (json_at(container, "envFrom"), source)
        if (put_all(c, source, a, out, err) < 0)
            return -1;
    json_each_item (json_at(container, "env"), variable)
        if (put_variable(c, variable, a, out, err) < 0)
            return -1;
    return 0;
}
