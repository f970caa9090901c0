/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.h - controllers over the fake API, and a kubelet that makes every bound or unbound pod
 * run.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "controllers/runtime.h"
#include "test/unit/fake_client.h"

#define WAIT_MS 120000 /* for what takes a moment */

struct cluster {
    struct fake_client *fake;
    struct informer_set *informers;
    struct controllers *controllers;
    struct fake_clock clock;
    bool has_clock; /* controllers see CLOCK, which the test moves */
    atomic_bool has_kubelet;
};

static inline struct client *cluster_client(const char *controller, void *arg, struct error *err)
{
    (void)controller;
    (void)err;
    return fake_client(((struct cluster *)arg)->fake);
}

static inline void cluster_run_pod(const struct informer_event *e)
{
    struct cluster *t = e->arg;
    if (!t->has_kubelet || !e->new || json_at(e->new->doc, "status.phase"))
        return;
    fake_merge(t->fake, RESOURCE_PODS, e->new->key.ns, e->new->key.name,
               "{'status':{'phase':'Running','podIP':'10.0.0.1','conditions':[{'type':'Ready',"
               "'status':'True','lastTransitionTime':'2026-01-01T00:00:00Z'}]}}");
}

static inline int cluster_setup(void **state)
{
    struct cluster *t = calloc(1, sizeof(*t));
    t->fake = fake_client_new();
    t->informers = informer_set_new(fake_client(t->fake));
    fake_clock_init(&t->clock, INT64_C(1800000000) * NS_PER_S);
    *state = t;
    return 0;
}

static inline int cluster_teardown(void **state)
{
    struct cluster *t = *state;
    informer_set_stop(t->informers);
    controllers_stop(t->controllers);
    informer_set_free(t->informers);
    fake_client_free(t->fake);
    free(t);
    return 0;
}

static inline void cluster_start(struct cluster *t, const struct controller_spec *a,
                                 const struct controller_spec *b)
{
    const struct controller_spec *specs[] = { a, b, NULL };
    struct controllers_config config = {
        .client = cluster_client,
        .arg = t,
        .informers = t->informers,
        .root_ca_pem = BYTES("certificate"),
        .cluster_cidr = "10.42.0.0/16",
        .clock = t->has_clock ? &t->clock.clock : NULL,
    };
    struct error err = { 0 };
    if (t->has_clock)
        fake_client_set_clock(t->fake, &t->clock.clock);
    t->controllers = controllers_new_of(&config, specs, &err);
    assert_non_null(t->controllers);
    informer_add_handler(informer_set_get(t->informers, &resources[RESOURCE_PODS], NULL),
                         cluster_run_pod, t);
    informer_set_start(t->informers);
    assert_int_equal(controllers_run(t->controllers, &err), 0);
}

/* What an object says now: PATH of RESOURCE NS/NAME equals VALUE (numbers as text); VALUE NULL:
 * absent. */
struct claim {
    int resource;
    const char *ns, *name, *path, *value;
};

static inline bool claim_holds(struct fake_client *f, void *arg)
{
    const struct claim *k = arg;
    scoped(object) struct object *o = fake_get(f, k->resource, k->ns, k->name);
    const struct json *v = o ? json_at(o->doc, k->path) : NULL;
    char number[32];
    if (!v || !k->value)
        return o && !v && !k->value;
    if (json_is(v, JSON_INT)) {
        snprintf(number, sizeof(number), "%lld", (long long)v->integer);
        return str_equal(number, k->value);
    }
    if (json_is(v, JSON_BOOL))
        return str_equal(v->boolean ? "true" : "false", k->value);
    return str_equal(json_text(v), k->value);
}

static inline void wait_value(struct cluster *t, int resource, const char *ns, const char *name,
                              const char *path, const char *value)
{
    char what[256];
    struct claim k = { resource, ns, name, path, value };
    snprintf(what, sizeof(what), "%s %s/%s: %s = %s", resources[resource].kind, ns, name, path,
             value ? value : "nothing");
    fake_wait(t->fake, claim_holds, &k, what);
}

struct count_claim {
    int resource;
    size_t n;
};

static inline bool count_holds(struct fake_client *f, void *arg)
{
    const struct count_claim *k = arg;
    return fake_count(f, k->resource) == k->n;
}

static inline void wait_count(struct cluster *t, int resource, size_t n)
{
    char what[128];
    struct count_claim k = { resource, n };
    snprintf(what, sizeof(what), "%zu %s", n, resources[resource].plural);
    fake_wait(t->fake, count_holds, &k, what);
}

/* A condition's status and reason, as "True/Reason". */
static inline bool condition_holds(struct fake_client *f, void *arg)
{
    const struct claim *k = arg;
    scoped(object) struct object *o = fake_get(f, k->resource, k->ns, k->name);
    const struct json *c = o ? object_condition(o, k->path) : NULL;
    char text[128];
    snprintf(text, sizeof(text), "%s/%s", json_str(c, "status", ""), json_str(c, "reason", ""));
    return c && str_equal(text, k->value);
}

static inline void wait_condition(struct cluster *t, int resource, const char *ns, const char *name,
                                  const char *type, const char *value)
{
    char what[256];
    struct claim k = { resource, ns, name, type, value };
    snprintf(what, sizeof(what), "%s %s/%s: condition %s = %s", resources[resource].kind, ns, name,
             type, value);
    fake_wait(t->fake, condition_holds, &k, what);
}

static inline bool is_gone(struct fake_client *f, void *arg)
{
    const struct claim *k = arg;
    scoped(object) struct object *o = fake_get(f, k->resource, k->ns, k->name);
    return !o;
}

static inline void wait_gone(struct cluster *t, int resource, const char *ns, const char *name)
{
    char what[128];
    struct claim k = { .resource = resource, .ns = ns, .name = name };
    snprintf(what, sizeof(what), "%s %s/%s is gone", resources[resource].kind, ns, name);
    fake_wait(t->fake, is_gone, &k, what);
}

static inline bool event_is_there(struct fake_client *f, void *arg)
{
    scoped(object_list) struct object_list events = { 0 };
    fake_list(f, RESOURCE_EVENTS, &events);
    object_list_each (&events, e) {
        if (str_equal(json_str(e->doc, "message", ""), arg))
            return true;
    }
    return false;
}

static inline void wait_event(struct cluster *t, const char *message)
{
    fake_wait(t->fake, event_is_there, (void *)message, message);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)
