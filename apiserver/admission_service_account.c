/* SPDX-License-Identifier: Apache-2.0 */
/* admission_service_account.c - a pod's identity: its account and the token it finds in its files.
 */

#include "api/generated_name.h"
#include "apiserver/admission.h"
#include "apiserver/server.h"

#define TOKEN_MOUNT_PATH  "/var/run/secrets/kubernetes.io/serviceaccount"
#define TOKEN_LIFETIME_S  3607
#define VOLUME_PREFIX     "kube-api-access-"
#define VOLUME_SUFFIX_LEN 5
#define MIRROR_ANNOTATION "kubernetes.io/config.mirror"

static bool wants_token(const struct draft *pod, const struct object *account)
{
    const struct json *own = json_at(pod->doc, "spec.automountServiceAccountToken");
    if (own)
        return own->boolean;
    return json_bool(account->doc, "automountServiceAccountToken", true);
}

static bool has_token_mount(const struct json *container)
{
    json_each_item (json_get(container, "volumeMounts"), mount) {
        if (str_equal(json_str(mount, "mountPath", ""), TOKEN_MOUNT_PATH))
            return true;
    }
    return false;
}

static void mount_in(struct draft *d, const char *containers, const char *volume)
{
    struct json *list = json_find(d->doc, containers);
    for (uint32_t i = 0; list && list->type == JSON_ARRAY && i < list->len; i++) {
        struct json *container = &list->items[i];
        if (container->type != JSON_OBJECT || has_token_mount(container))
            continue;
        struct json *mount =
            json_append(d->arena, json_make_array(d->arena, container, "volumeMounts"),
                        (struct json){ .type = JSON_OBJECT });
        json_put_str(d->arena, mount, "name", volume);
        json_put_bool(d->arena, mount, "readOnly", true);
        json_put_str(d->arena, mount, "mountPath", TOKEN_MOUNT_PATH);
    }
}

/* The volume's three sources: the token, the cluster's CA, the namespace. */
static int token_volume(struct draft *d, const char *name, struct json *out, struct error *err)
{
    scoped(buffer) struct buffer text = { 0 };
    buffer_printf(&text,
                  "{\"name\":\"%s\",\"projected\":{\"sources\":["
                  "{\"serviceAccountToken\":{\"expirationSeconds\":%d,\"path\":\"token\"}},"
                  "{\"configMap\":{\"name\":\"kube-root-ca.crt\",\"items\":"
                  "[{\"key\":\"ca.crt\",\"path\":\"ca.crt\"}]}},"
                  "{\"downwardAPI\":{\"items\":[{\"path\":\"namespace\",\"fieldRef\":"
                  "{\"apiVersion\":\"v1\",\"fieldPath\":\"metadata.namespace\"}}]}}],"
                  "\"defaultMode\":420}}",
                  name, TOKEN_LIFETIME_S);
    struct json *volume = json_parse(buffer_bytes(&text), d->arena, NULL, err);
    if (!volume)
        return -1;
    *out = *volume;
    return 0;
}

static int add_token(struct strategy_call *c, struct draft *d, struct error *err)
{
    const char *name = arena_printf(d->arena, VOLUME_PREFIX "%s",
                                    generated_suffix(c->server->rng, VOLUME_SUFFIX_LEN, d->arena));
    struct json volume;
    if (token_volume(d, name, &volume, err) < 0)
        return -1;
    json_append(d->arena, json_make_array(d->arena, d->doc, "spec.volumes"), volume);
    mount_in(d, "spec.initContainers", name);
    mount_in(d, "spec.containers", name);
    return 0;
}

static int admit(struct strategy_call *c, const struct admission_attributes *a, struct draft *new,
                 struct error *err)
{
    if (a->resource->id != RESOURCE_PODS || a->verb != REQUEST_CREATE || *a->subresource)
        return 0;
    const struct json *annotations = json_at(new->doc, "metadata.annotations");
    if (json_get(annotations, MIRROR_ANNOTATION))
        return 0; /* a static pod has no identity in the API */
    const char *name = json_str(new->doc, "spec.serviceAccountName", "");
    if (!*name) {
        name = "default";
        json_put_str(new->arena, new->doc, "spec.serviceAccountName", name);
    }
    json_put_str(new->arena, new->doc, "spec.serviceAccount", name);

    struct object_key key = { a->ns, name };
    const struct resource *accounts = &resources[RESOURCE_SERVICEACCOUNTS];
    scoped(object) struct object *account =
        watch_cache_get(watch_cache_of(c->server, accounts), &key);
    if (!account)
        return admission_forbid(
            err, a, "error looking up service account %s/%s: serviceaccount \"%s\" not found",
            a->ns, name, name);
    const struct json *pull_secrets = json_get(account->doc, "imagePullSecrets");
    if (json_len(pull_secrets, "") > 0 && json_len(new->doc, "spec.imagePullSecrets") == 0)
        json_put(new->arena, new->doc, "spec.imagePullSecrets",
                 json_clone_value(pull_secrets, new->arena));
    return wants_token(new, account) ? add_token(c, new, err) : 0;
}

const struct admission_plugin admission_service_account = { "ServiceAccount", admit };
