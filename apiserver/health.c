/* SPDX-License-Identifier: Apache-2.0 */
/* health.c - named checks behind /healthz, /livez and /readyz; /version. */
#include "apiserver/health.h"

#include <sys/utsname.h>

#include "apiserver/respond.h"
#include "apiserver/server.h"

/* The API level that is served, as clients compare it. */
#define KUBERNETES_MAJOR "1"
#define KUBERNETES_MINOR "36"

static bool check_ping(struct apiserver *a)
{
    (void)a;
    return true;
}

static bool check_store(struct apiserver *a)
{
    return storage_revision(a->storage) >= 0;
}

static bool check_caches(struct apiserver *a)
{
    return a->caches != NULL;
}

static bool check_bootstrap(struct apiserver *a)
{
    return atomic_load(&a->has_bootstrap);
}

static bool check_not_stopping(struct apiserver *a)
{
    return !atomic_load(&a->is_stopping);
}

static const struct check {
    const char *name;
    bool (*is_ok)(struct apiserver *a);
    bool is_ready_only; /* not part of /livez and /healthz */
} checks[] = {
    { "ping", check_ping, false },
    { "log", check_ping, false },
    { "etcd", check_store, false },
    { "etcd-readiness", check_store, true },
    { "informer-sync", check_caches, true },
    { "poststarthook/rbac/bootstrap-roles", check_bootstrap, false },
    { "poststarthook/scheduling/bootstrap-system-priority-classes", check_bootstrap, false },
    { "shutdown", check_not_stopping, true },
};

static bool is_excluded(struct request *r, const char *name)
{
    const char *v;
    for (size_t i = 0; (v = query_get(r->query, "exclude", i, r->arena)); i++)
        if (strcmp(v, name) == 0)
            return true;
    return false;
}

static void serve_checks(struct request *r, const char *kind)
{
    bool is_readyz = strcmp(kind, "readyz") == 0;
    bool all_ok = true;
    struct buffer text = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (checks[i].is_ready_only && !is_readyz)
            continue;
        if (is_excluded(r, checks[i].name)) {
            buffer_printf(&text, "[+]%s excluded: ok\n", checks[i].name);
            continue;
        }
        bool ok = checks[i].is_ok(r->server);
        all_ok &= ok;
        buffer_printf(&text, ok ? "[+]%s ok\n" : "[-]%s failed: reason withheld\n", checks[i].name);
    }
    buffer_printf(&text, "%s check %s\n", kind, all_ok ? "passed" : "failed");
    bool is_verbose = query_get(r->query, "verbose", 0, r->arena) != NULL;
    struct bytes body = all_ok && !is_verbose ? BYTES("ok") : buffer_bytes(&text);
    respond_text(r, all_ok ? 200 : 500, "text/plain; charset=utf-8", body);
    buffer_free(&text);
}

static void serve_one_check(struct request *r, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (strcmp(checks[i].name, name) == 0) {
            bool ok = checks[i].is_ok(r->server);
            respond_text(r, ok ? 200 : 500, "text/plain; charset=utf-8",
                         ok ? BYTES("ok") : BYTES("internal server error\n"));
            return;
        }
    }
    respond_text(r, 404, "text/plain; charset=utf-8", BYTES("404 page not found\n"));
}

static void serve_version(struct request *r)
{
    struct utsname host;
    uname(&host);
    const char *machine = str_equal(host.machine, "x86_64")    ? "amd64"
                          : str_equal(host.machine, "aarch64") ? "arm64"
                                                               : host.machine;
    struct json *v = json_new(r->arena, JSON_OBJECT);
    json_put_str(r->arena, v, "major", KUBERNETES_MAJOR);
    json_put_str(r->arena, v, "minor", KUBERNETES_MINOR);
    json_put_str(r->arena, v, "gitVersion", "v" KUBERNETES_VERSION "+coracle-" CORACLE_VERSION);
    json_put_str(r->arena, v, "gitCommit", "");
    json_put_str(r->arena, v, "gitTreeState", "clean");
    json_put_str(r->arena, v, "buildDate", "1970-01-01T00:00:00Z");
    json_put_str(r->arena, v, "goVersion", "none");
    json_put_str(r->arena, v, "compiler", "gcc");
    json_put_str(r->arena, v, "platform", arena_printf(r->arena, "linux/%s", machine));
    respond_json(r, 200, v);
}

static const char *const kinds[] = { "healthz", "livez", "readyz" };

bool health_serve(struct request *r)
{
    const char *path = r->info.path;
    if (str_equal(path, "/version") || str_equal(path, "/version/")) {
        serve_version(r);
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t n = strlen(kinds[i]);
        if (*path != '/' || strncmp(path + 1, kinds[i], n) != 0)
            continue;
        const char *rest = path + 1 + n;
        if (!*rest || strcmp(rest, "/") == 0)
            serve_checks(r, kinds[i]);
        else if (*rest == '/')
            serve_one_check(r, rest + 1);
        else
            continue;
        return true;
    }
    return false;
}
