/* SPDX-License-Identifier: Apache-2.0 */
/* health.c - named checks behind /healthz, /livez and /readyz; /version. */
#include "apiserver/health.h"

#include <sys/utsname.h>

#include "apiserver/respond.h"
#include "apiserver/server.h"

#define EXCLUDED_MAX 64 /* names in a query that are looked at */

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

static bool is_served(const struct check *check, bool is_readyz)
{
    return is_readyz || !check->is_ready_only;
}

static bool is_check(const char *name, bool is_readyz)
{
    for (size_t i = 0; i < ARRAY_LEN(checks); i++)
        if (str_equal(checks[i].name, name) && is_served(&checks[i], is_readyz))
            return true;
    return false;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What was to be excluded and is not there: each name once, sorted. */
static void warn_of_strangers(struct request *r, bool is_readyz, struct buffer *text)
{
    const char *names[EXCLUDED_MAX], *v;
    size_t n = 0;
    for (size_t i = 0; n < EXCLUDED_MAX && (v = query_get(r->query, "exclude", i, r->arena)); i++)
        if (!is_check(v, is_readyz))
            names[n++] = v;
    qsort(names, n, sizeof(names[0]), compare_names);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && str_equal(names[i], names[i - 1]))
            continue;
        buffer_add_str(text, i == 0 ? "warn: some health checks cannot be excluded: no matches for "
                                    : ",");
        json_print_string(bytes_of(names[i]), text);
    }
    if (n > 0)
        buffer_add_char(text, '\n');
}

static void serve_checks(struct request *r, const char *kind)
{
    bool is_readyz = strcmp(kind, "readyz") == 0;
    bool all_ok = true;
    struct buffer text = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (!is_served(&checks[i], is_readyz))
            continue;
        if (is_excluded(r, checks[i].name)) {
            buffer_printf(&text, "[+]%s excluded: ok\n", checks[i].name);
            continue;
        }
        bool ok = checks[i].is_ok(r->server);
        all_ok &= ok;
        buffer_printf(&text, ok ? "[+]%s ok\n" : "[-]%s failed: reason withheld\n", checks[i].name);
    }
    warn_of_strangers(r, is_readyz, &text);
    buffer_printf(&text, "%s check %s\n", kind, all_ok ? "passed" : "failed");
    bool is_verbose = query_get(r->query, "verbose", 0, r->arena) != NULL;
    struct bytes body = all_ok && !is_verbose ? BYTES("ok") : buffer_bytes(&text);
    respond_text(r, all_ok ? 200 : 500, "text/plain; charset=utf-8", body);
    buffer_free(&text);
}

static void serve_one_check(struct request *r, const char *kind, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (str_equal(checks[i].name, name) && is_served(&checks[i], str_equal(kind, "readyz"))) {
            bool ok = checks[i].is_ok(r->server);
            respond_text(r, ok ? 200 : 500, "text/plain; charset=utf-8",
                         ok ? BYTES("ok")
                            : BYTES("internal server error: not yet, or no longer\n"));
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
    respond_pretty(r, v);
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
            serve_one_check(r, kinds[i], rest + 1);
        else
            continue;
        return true;
    }
    return false;
}
