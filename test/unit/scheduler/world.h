/* SPDX-License-Identifier: Apache-2.0 */
/* world.h - nodes and pods from short JSON, for the tests of this folder. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scheduler/preemption.h"

/* Parses TEXT, in which ' stands for ". */
static inline struct object *parse(int resource_id, const char *text)
{
    scoped(str) char *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        if (*c == '\'')
            *c = '"';
    struct error err = { 0 };
    struct object *o = object_parse(&resources[resource_id], bytes_of(copy), 1, &err);
    if (!o)
        fail_msg("%s: %s", copy, err.message);
    return o;
}

/* A pod "default/NAME" with SPEC's members: "'priority':5". */
static inline struct pod_info *pod(const char *name, const char *spec)
{
    scoped(str) char *text = xasprintf(
        "{'metadata':{'namespace':'default','name':'%s','uid':'uid-%s','labels':{'app':'%.1s'}},"
        "'spec':{%s}}",
        name, name, name, spec);
    scoped(object) struct object *o = parse(RESOURCE_PODS, text);
    return pod_info_new(o);
}

/* One container that requests this. */
static inline struct pod_info *pod_requesting(const char *name, const char *cpu, const char *memory)
{
    scoped(str) char *spec =
        xasprintf("'containers':[{'name':'c','resources':{'requests':{'cpu':'%s','memory':'%s'}}}]",
                  cpu, memory);
    return pod(name, spec);
}

static inline void add_node(struct snapshot *s, const char *name, const char *spec,
                            const char *labels)
{
    scoped(str) char *text = xasprintf(
        "{'metadata':{'name':'%s','labels':{'kubernetes.io/hostname':'%s'%s%s}},'spec':{%s},"
        "'status':{'allocatable':{'cpu':'4','memory':'8Gi','pods':'10','example.com/gpu':'2'}}}",
        name, name, *labels ? "," : "", labels, spec);
    scoped(object) struct object *o = parse(RESOURCE_NODES, text);
    snapshot_set_node(s, o);
}

static inline void place_take(struct snapshot *s, struct pod_info *p, const char *node)
{
    snapshot_place(s, p, node, false);
    pod_info_unref(p);
}

struct world {
    struct snapshot s;
    struct arena *arena;
    struct rng rng;
    size_t next_start;
    struct schedule_result r;
};

static inline int world_setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    w->arena = arena_new();
    seeded_rng_init(&w->rng, 1);
    *state = w;
    return 0;
}

static inline int world_teardown(void **state)
{
    struct world *w = *state;
    buffer_free(&w->r.message);
    snapshot_deinit(&w->s);
    arena_free(w->arena);
    free(w);
    return 0;
}

/* Where P (released here) would go: a node's name, or the message. */
static inline const char *schedule(struct world *w, struct pod_info *p)
{
    struct schedule_options o = { .rng = &w->rng, .next_start = &w->next_start };
    buffer_free(&w->r.message);
    schedule_one(&w->s, p, &o, w->arena, &w->r);
    pod_info_unref(p);
    return w->r.node ? w->r.node->name : w->r.message.data;
}
