/* SPDX-License-Identifier: Apache-2.0 */
/* volume_files.c - configMap, secret, downwardAPI and projected: volumes whose files come from
 * objects. */
#include <errno.h>
#include <sys/mount.h>

#include "base/crypto.h"
#include "base/files.h"
#include "kubelet/object_cache.h"
#include "kubelet/volume_kinds.h"
#include "kubelet/volume_token.h"
#include "kubelet/volume_writer.h"

#define DEFAULT_MODE       0644
#define TOKEN_EXPIRATION_S 3600
#define TOKEN_GROUP_MODE   0600

static int64_t volume_group(const struct volume_setup *v)
{
    return json_int(v->pod->pod->doc, "spec.securityContext.fsGroup", -1);
}

static mode_t mode_of(const struct json *item, mode_t fallback)
{
    return (mode_t)json_int(item, "mode", fallback) & 0777;
}

/* ---- ConfigMaps and Secrets ---- */

static int add_value(struct volume_setup *v, struct volume_files *files, const char *path,
                     const struct json *value, bool is_base64, mode_t mode, struct error *err)
{
    const char *text = json_text(value);
    struct bytes data = { text ? text : "", text ? value->len : 0 };
    if (is_base64 && base64_decode(data, v->a, &data) < 0)
        return error_set(err, ERR_INVALID, "the value of %s is not base64", path);
    struct volume_file file = { path, arena_bytes(v->a, data), mode };
    return volume_files_add(files, v->a, file, err);
}

/* The value of KEY in data (or a ConfigMap's binaryData). */
static const struct json *find_value(const struct object *o, bool is_secret, const char *key,
                                     bool *is_base64)
{
    const struct json *value = json_get(json_get(o->doc, "data"), key);
    *is_base64 = is_secret;
    if (!value && !is_secret) {
        value = json_get(json_get(o->doc, "binaryData"), key);
        *is_base64 = true;
    }
    return value;
}

static int add_all(struct volume_setup *v, struct volume_files *files, const struct object *o,
                   bool is_secret, mode_t mode, struct error *err)
{
    json_each_member (json_get(o->doc, "data"), m)
        if (add_value(v, files, arena_strdup(v->a, m->name), &m->value, is_secret, mode, err) < 0)
            return -1;
    if (is_secret)
        return 0;
    json_each_member (json_get(o->doc, "binaryData"), m)
        if (add_value(v, files, arena_strdup(v->a, m->name), &m->value, true, mode, err) < 0)
            return -1;
    return 0;
}

/* SOURCE: {name | secretName, items, optional}; both forms of a volume source have these. */
static int add_object(struct volume_setup *v, struct volume_files *files, const struct json *source,
                      bool is_secret, mode_t mode, struct error *err)
{
    const char *name = json_str(source, "secretName", json_str(source, "name", ""));
    bool is_optional = json_bool(source, "optional", false);
    struct object_key key = { v->pod->pod->key.ns, name };
    scoped(object) struct object *o = NULL;
    struct error failure = { 0 };
    if (object_cache_get(v->k->objects,
                         &resources[is_secret ? RESOURCE_SECRETS : RESOURCE_CONFIGMAPS], &key, &o,
                         &failure) < 0) {
        if (failure.code == ERR_NOT_FOUND && is_optional)
            return 0;
        if (failure.code == ERR_NOT_FOUND)
            return error_set(err, ERR_NOT_FOUND, "%s \"%s\" not found",
                             is_secret ? "secret" : "configmap", name);
        *err = failure;
        return -1;
    }
    const struct json *items = json_get(source, "items");
    if (!json_len(items, ""))
        return add_all(v, files, o, is_secret, mode, err);
    json_each_item (items, item) {
        bool is_base64;
        const char *item_key = json_str(item, "key", "");
        const struct json *value = find_value(o, is_secret, item_key, &is_base64);
        if (!value && is_optional)
            continue;
        if (!value)
            return error_set(err, ERR_NOT_FOUND, "references non-existent %s key: %s",
                             is_secret ? "secret" : "config", item_key);
        if (add_value(v, files, json_str(item, "path", ""), value, is_base64, mode_of(item, mode),
                      err) < 0)
            return -1;
    }
    return 0;
}

/* ---- what the pod knows of itself ---- */

static int add_downward(struct volume_setup *v, struct volume_files *files,
                        const struct json *items, mode_t mode, struct error *err)
{
    json_each_item (items, item) {
        const char *text = "";
        const struct json *resource = json_get(item, "resourceFieldRef");
        int rc = resource ? downward_resource(v->pod, resource, "", v->a, &text, err)
                          : downward_field(v->pod, json_str(item, "fieldRef.fieldPath", ""), v->a,
                                           &text, err);
        struct volume_file file = { json_str(item, "path", ""), bytes_of(text),
                                    mode_of(item, mode) };
        if (rc < 0 || volume_files_add(files, v->a, file, err) < 0)
            return -1;
    }
    return 0;
}

static int add_token(struct volume_setup *v, struct volume_files *files, const struct json *source,
                     mode_t mode, struct error *err)
{
    struct token_request request = {
        .pod = v->pod->pod,
        .audience = json_str(source, "audience", ""),
        .expiration_s = json_int(source, "expirationSeconds", TOKEN_EXPIRATION_S),
    };
    const char *token;
    int64_t renew_after_ns;
    if (volume_token_get(v->k, &request, v->a, &token, &renew_after_ns, err) < 0)
        return -1;
    if (!v->refresh_after_ns || renew_after_ns < v->refresh_after_ns)
        v->refresh_after_ns = renew_after_ns;
    struct volume_file file = { json_str(source, "path", "token"), bytes_of(token),
                                volume_group(v) >= 0 ? TOKEN_GROUP_MODE : mode };
    return volume_files_add(files, v->a, file, err);
}

/* ---- the kinds ---- */

/* What is secret never reaches a disk. */
static int mount_tmpfs(struct volume_setup *v, struct error *err)
{
    if (files_make_dirs(v->dir, 0755, err) < 0)
        return -1;
    if (files_is_mount_point(v->dir))
        return 0;
    if (mount("tmpfs", v->dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777") < 0)
        return error_errno(err, "mount a tmpfs on %s", v->dir);
    return 0;
}

static mode_t default_mode(const struct volume_setup *v)
{
    return (mode_t)json_int(v->source, "defaultMode", DEFAULT_MODE) & 0777;
}

int volume_setup_config_map(struct volume_setup *v, const char **path, struct error *err)
{
    struct volume_files files = { 0 };
    *path = v->dir;
    if (add_object(v, &files, v->source, false, default_mode(v), err) < 0)
        return -1;
    return volume_write(v->dir, &files, volume_group(v), err);
}

int volume_setup_secret(struct volume_setup *v, const char **path, struct error *err)
{
    struct volume_files files = { 0 };
    *path = v->dir;
    if (add_object(v, &files, v->source, true, default_mode(v), err) < 0 || mount_tmpfs(v, err) < 0)
        return -1;
    return volume_write(v->dir, &files, volume_group(v), err);
}

int volume_setup_downward(struct volume_setup *v, const char **path, struct error *err)
{
    struct volume_files files = { 0 };
    *path = v->dir;
    if (add_downward(v, &files, json_get(v->source, "items"), default_mode(v), err) < 0)
        return -1;
    return volume_write(v->dir, &files, volume_group(v), err);
}

int volume_setup_projected(struct volume_setup *v, const char **path, struct error *err)
{
    struct volume_files files = { 0 };
    mode_t mode = default_mode(v);
    *path = v->dir;
    json_each_item (json_get(v->source, "sources"), source) {
        const struct json *one;
        int rc = 0;
        if ((one = json_get(source, "secret")))
            rc = add_object(v, &files, one, true, mode, err);
        else if ((one = json_get(source, "configMap")))
            rc = add_object(v, &files, one, false, mode, err);
        else if ((one = json_get(source, "downwardAPI")))
            rc = add_downward(v, &files, json_get(one, "items"), mode, err);
        else if ((one = json_get(source, "serviceAccountToken")))
            rc = add_token(v, &files, one, mode, err);
        if (rc < 0)
            return -1;
    }
    if (mount_tmpfs(v, err) < 0)
        return -1;
    return volume_write(v->dir, &files, volume_group(v), err);
}
