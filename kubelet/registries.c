/* SPDX-License-Identifier: Apache-2.0 */
/* registries.c - registries.yaml as containerd's files. */
#include "kubelet/registries.h"

#include "base/files.h"
#include "base/json.h"
#include "base/yaml.h"

#define REGISTRIES_BYTES_MAX (1 << 20)

static void add_quoted(struct buffer *out, const char *text)
{
    buffer_add_char(out, '"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p < ' ' || *p == 0x7f)
            buffer_printf(out, "\\u%04X", *p);
        else if (*p == '"' || *p == '\\')
            buffer_printf(out, "\\%c", *p);
        else
            buffer_add_char(out, (char)*p);
    }
    buffer_add_char(out, '"');
}

static void add_setting(struct buffer *out, const char *name, const char *value)
{
    if (str_empty(value))
        return;
    buffer_printf(out, "%s = ", name);
    add_quoted(out, value);
    buffer_add_char(out, '\n');
}

/* "https://registry.test:5000/v2" -> "registry.test:5000", the key of its `configs`. */
static const char *host_of(const char *endpoint, struct arena *a)
{
    const char *scheme = strstr(endpoint, "://");
    const char *host = scheme ? scheme + 3 : endpoint;
    return arena_strndup(a, host, strcspn(host, "/"));
}

static void add_tls(struct buffer *out, const struct json *tls)
{
    add_setting(out, "ca", json_str(tls, "ca_file", ""));
    const char *cert = json_str(tls, "cert_file", ""), *key = json_str(tls, "key_file", "");
    if (*cert && *key) {
        buffer_add_str(out, "client = [[");
        add_quoted(out, cert);
        buffer_add_str(out, ", ");
        add_quoted(out, key);
        buffer_add_str(out, "]]\n");
    }
    if (json_bool(tls, "insecure_skip_verify", false))
        buffer_add_str(out, "skip_verify = true\n");
}

static void add_host(struct buffer *out, const char *endpoint, const struct json *configs,
                     struct arena *a)
{
    bool has_scheme = strstr(endpoint, "://");
    const char *url = has_scheme ? endpoint : arena_printf(a, "https://%s", endpoint);
    size_t len = strlen(url);
    while (len && url[len - 1] == '/')
        len--;
    url = arena_strndup(a, url, len);
    bool has_path = strchr(strstr(url, "://") + 3, '/');
    buffer_add_str(out, "\n[host.");
    add_quoted(out, has_path ? url : arena_printf(a, "%s/v2", url));
    buffer_add_str(out, "]\ncapabilities = [\"pull\", \"resolve\"]\n");
    if (has_path)
        buffer_add_str(out, "override_path = true\n");
    add_tls(out, json_get(json_get(configs, host_of(url, a)), "tls"));
}

static int write_hosts(const char *certs_dir, const char *registry, const struct json *endpoints,
                       const struct json *configs, struct arena *a, struct error *err)
{
    scoped(buffer) struct buffer text = { 0 };
    bool is_any = str_equal(registry, "*");
    if (strchr(registry, '/') || *registry == '.' || !*registry)
        return error_set(err, ERR_BAD_REQUEST, "\"%s\" is not the name of a registry", registry);
    const char *dir = arena_printf(a, "%s/%s", certs_dir, is_any ? "_default" : registry);
    bool is_hub = str_equal(registry, "docker.io");
    if (!is_any)
        add_setting(&text, "server",
                    arena_printf(a, "https://%s", is_hub ? "registry-1.docker.io" : registry));
    json_each_item (endpoints, endpoint) {
        if (str_empty(json_text(endpoint)))
            return error_set(err, ERR_BAD_REQUEST, "mirror \"%s\": an endpoint is no text",
                             registry);
        add_host(&text, json_text(endpoint), configs, a);
    }
    if (!json_is(endpoints, JSON_ARRAY))
        add_host(&text, registry, configs, a);
    if (files_make_dirs(dir, 0755, err) < 0)
        return -1;
    return files_write(arena_printf(a, "%s/hosts.toml", dir), buffer_bytes(&text), 0644, err);
}

static void add_credentials(struct buffer *config, const char *registry, const struct json *auth)
{
    if (!json_is(auth, JSON_OBJECT))
        return;
    buffer_add_str(config, "\n[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.");
    add_quoted(config, registry);
    buffer_add_str(config, ".auth]\n");
    add_setting(config, "username", json_str(auth, "username", ""));
    add_setting(config, "password", json_str(auth, "password", ""));
    add_setting(config, "auth", json_str(auth, "auth", ""));
    add_setting(config, "identitytoken", json_str(auth, "identity_token", ""));
}

static int write_all(const struct json *doc, const char *certs_dir, struct buffer *config,
                     struct arena *a, struct error *err)
{
    const struct json *mirrors = json_get(doc, "mirrors"), *configs = json_get(doc, "configs");
    if (json_is(mirrors, JSON_OBJECT)) {
        json_each_member (mirrors, m) {
            if (write_hosts(certs_dir, m->name, json_get(&m->value, "endpoint"), configs, a, err) <
                0)
                return -1;
        }
    }
    if (!json_is(configs, JSON_OBJECT))
        return 0;
    json_each_member (configs, m) {
        add_credentials(config, m->name, json_get(&m->value, "auth"));
        bool is_written = json_get(mirrors, m->name);
        if (!is_written && json_get(&m->value, "tls") &&
            write_hosts(certs_dir, m->name, NULL, configs, a, err) < 0)
            return -1;
    }
    return 0;
}

int registries_write(const char *path, const char *certs_dir, struct buffer *config,
                     struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct bytes text;
    struct json *doc = NULL;
    if (files_remove_tree(certs_dir, err) < 0 || files_make_dirs(certs_dir, 0755, err) < 0)
        return -1;
    if (files_read(path, REGISTRIES_BYTES_MAX, a, &text, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -1;
        *err = (struct error){ 0 };
        return 0;
    }
    if (yaml_next(&text, a, &doc, err) < 0 ||
        (doc && write_all(doc, certs_dir, config, a, err) < 0))
        return error_wrap(err, "%s", path);
    return 0;
}
