/* SPDX-License-Identifier: Apache-2.0 */
/* policy.c - start-up of authorization: writes what the bootstrap policy misses, loads the tables.
 */
#include "apiserver/policy.h"

#include "apiserver/authz.h"
#include "apiserver/authz_node.h"
#include "apiserver/authz_rbac.h"
#include "apiserver/server.h"
#include "apiserver/store_access.h"
#include "apiserver/uid.h"
#include "base/log.h"

/* Another server of the same store may write the policy at the same time. */
#define RECONCILE_TRIES 5
#define WRITES_MAX      100

/* One transaction for all that is missing. */
struct plan {
    struct apiserver *server;
    struct arena *arena;
    struct storage_op *puts;
    struct storage_compare *compares;
    size_t n, puts_capacity, compares_capacity;
    bool is_failed; /* ERR says why */
    struct error *err;
};

static void plan_put(struct plan *p, const struct resource *r, const struct object_key *key,
                     const struct json *doc, int64_t expected_revision)
{
    scoped(buffer) struct buffer text = { 0 };
    json_print(doc, &text);
    struct bytes at = store_key(r, key, p->arena), value;
    if (store_seal(p->server, r, at, buffer_bytes(&text), p->arena, &value, p->err) < 0) {
        p->is_failed = true;
        return;
    }
    p->puts = arena_grow(p->arena, p->puts, p->n, &p->puts_capacity, sizeof(*p->puts));
    p->compares =
        arena_grow(p->arena, p->compares, p->n, &p->compares_capacity, sizeof(*p->compares));
    p->puts[p->n] = (struct storage_op){ .type = STORAGE_PUT, .key = at, .value = value };
    p->compares[p->n] = (struct storage_compare){ .key = at,
                                                  .target = STORAGE_COMPARE_MOD_REVISION,
                                                  .result = STORAGE_EQUAL,
                                                  .number = expected_revision };
    p->n++;
}

static bool has_item(const struct json *list, const struct json *item)
{
    json_each_item (list, it) {
        if (json_equal(it, item))
            return true;
    }
    return false;
}

/* Appends to LIST of CHANGED what WANTED has and it misses. */
static bool add_missing(struct json *changed, const char *list, const struct json *wanted,
                        struct arena *a)
{
    bool added = false;
    json_each_item (json_get(wanted, list), item) {
        if (has_item(json_get(changed, list), item))
            continue;
        json_append(a, json_make_array(a, changed, list), json_clone_value(item, a));
        added = true;
    }
    return added;
}

/* Upstream's rule: with autoupdate "true", rules and subjects that were taken away come back; what
 * was added stays. */
static void reconcile(struct plan *p, const struct object *have, const struct json *wanted)
{
    if (!str_equal(object_annotation(have, "rbac.authorization.kubernetes.io/autoupdate"), "true"))
        return;
    struct json *changed = json_clone(have->doc, p->arena);
    bool is_changed = add_missing(changed, "rules", wanted, p->arena);
    is_changed |= add_missing(changed, "subjects", wanted, p->arena);
    if (!is_changed)
        return;
    json_drop(changed, "metadata.resourceVersion");
    plan_put(p, have->resource, &have->key, changed, have->resource_version);
}

static void plan_object(const struct resource *r, const struct object_key *key, struct json *doc,
                        struct arena *a, void *arg)
{
    struct plan *p = arg;
    scoped(object) struct object *have = watch_cache_get(watch_cache_of(p->server, r), key);
    if (have) {
        reconcile(p, have, doc);
        return;
    }
    char now[TIME_TEXT_BYTES];
    time_format(clock_wall_ns(p->server->clock), now);
    json_put_str(a, doc, "metadata.uid", uid_new(p->server->rng, a));
    json_put_str(a, doc, "metadata.creationTimestamp", now);
    plan_put(p, r, key, doc, 0);
}

/* etcd takes so many operations in a transaction unless told otherwise.  1: written; 0: something
 * changed since it was read. */
static int write_plan(const struct plan *p, struct error *err)
{
    struct apiserver *a = p->server;
    for (size_t from = 0; from < p->n; from += WRITES_MAX) {
        size_t n = p->n - from < WRITES_MAX ? p->n - from : WRITES_MAX;
        struct storage_txn txn = { .compares = p->compares + from,
                                   .compares_n = n,
                                   .success = p->puts + from,
                                   .success_n = n };
        struct storage_txn_result result;
        if (storage_txn(a->storage, &txn, p->arena, &result, err) < 0 ||
            watch_caches_catch_up(a->caches, result.revision, err) < 0)
            return error_wrap(err, "write the bootstrap policy");
        if (!result.succeeded)
            return 0;
    }
    return 1;
}

static int write_policy(struct apiserver *a, struct error *err)
{
    for (int i = 0; i < RECONCILE_TRIES; i++) {
        scoped(arena) struct arena *arena = arena_new();
        struct plan p = { .server = a, .arena = arena, .err = err };
        policy_each(plan_object, &p);
        if (p.is_failed)
            return -1;
        if (!p.n)
            return 0;
        int rc = write_plan(&p, err);
        if (rc < 0)
            return -1;
        if (rc > 0) {
            log_info("apiserver", "bootstrap policy: %zu roles and bindings written", p.n);
            return 0;
        }
    }
    return error_set(err, ERR_CONFLICT, "write the bootstrap policy: it changes all the time");
}

static void observe(struct apiserver *a, enum resource_id id,
                    void (*fn)(const struct object *old, const struct object *new, void *arg),
                    void *arg)
{
    watch_cache_observe(watch_cache_of(a, &resources[id]), fn, arg);
}

int policy_start(struct apiserver *a, struct error *err)
{
    if (write_policy(a, err) < 0)
        return -1;
    a->policy = xcalloc(1, sizeof(*a->policy));
    a->policy->rbac = rbac_new();
    a->policy->nodes = node_graph_new();
    observe(a, RESOURCE_CLUSTERROLES, rbac_role_changed, a->policy->rbac);
    observe(a, RESOURCE_ROLES, rbac_role_changed, a->policy->rbac);
    observe(a, RESOURCE_CLUSTERROLEBINDINGS, rbac_binding_changed, a->policy->rbac);
    observe(a, RESOURCE_ROLEBINDINGS, rbac_binding_changed, a->policy->rbac);
    observe(a, RESOURCE_PODS, node_graph_pod_changed, a->policy->nodes);
    return 0;
}

void policy_stop(struct apiserver *a)
{
    if (!a->policy)
        return;
    rbac_free(a->policy->rbac);
    node_graph_free(a->policy->nodes);
    free(a->policy);
    a->policy = NULL;
}
