/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - what every controller stands on: caches, one queue, a few workers, retries.
 *
 * A controller is a row of functions (struct controller_spec).  Watches turn changes into keys;
 * reconcile() gets a key and makes the world right for it, looking at the caches and writing
 * through the functions below.  A key is never with two workers; after a failure it comes back by
 * itself, later each time.
 *
 * The functions that write remember what they wrote: the runtime gives the key to nobody until the
 * caches have seen it, so a controller that counts its pods counts those it has just made.
 *
 * Threads: handlers run on watch threads and only enqueue; reconcile() runs on a worker and may
 * block.
 */
#pragma once

#include "api/event_recorder.h"
#include "base/clock.h"
#include "controllers/controllers.h"

struct controller;

#define CONTROLLER_WATCHES_MAX 8
#define CONTROLLER_INDEXES_MAX 8

struct controller_watch {
    int resource;                                                          /* enum resource_id */
    void (*enqueue)(struct controller *c, const struct informer_event *e); /* NULL: a cache only */
};

struct controller_index {
    int resource;
    const char *name;
    informer_index_fn *fn;
};

struct controller_spec {
    const char *name;    /* upstream's in --controllers, without "-controller" */
    const char *account; /* whose rights it has: upstream's service account in kube-system */
    const char *source;  /* of its events */
    int workers;
    struct controller_watch watches[CONTROLLER_WATCHES_MAX];
    struct controller_index indexes[CONTROLLER_INDEXES_MAX];
    int (*init)(struct controller *c, struct error *err); /* before any handler; sets c->state */
    void (*start)(struct controller *c);                  /* the caches are full */
    int (*reconcile)(struct controller *c, const struct object_key *key, struct error *err);
    void (*deinit)(struct controller *c);
};

struct controller { /* handlers share one; each reconcile has a copy of its own */
    const struct controller_spec *spec;
    const struct controllers_config *config;
    struct controllers *all;
    int number; /* in the table */
    struct client *client;
    struct event_recorder *events;
    const struct clock *clock;
    void *state;         /* the controller's own */
    struct arena *arena; /* this reconcile's; NULL in handlers */
    struct writes *writes;
};

struct controllers *
controllers_new_of(const struct controllers_config *config,
                   const struct controller_spec *const *specs, /* ends with NULL */
                   struct error *err);

/* ---- keys ---- */

void enqueue_self(struct controller *c, const struct informer_event *e);
/* The controller named in the owner references, if it is of the kind that the first watch is for.
 * When the owner changes, both are told. */
void enqueue_owner(struct controller *c, const struct informer_event *e);
void enqueue_key(struct controller *c, const struct object_key *key);
void enqueue_key_after(struct controller *c, const struct object_key *key, int64_t delay_ms);

/* ---- the caches; all give references ---- */

struct informer *cache_of(struct controller *c, int resource);
struct object *cache_get(struct controller *c, int resource, const struct object_key *key);
void cache_list(struct controller *c, int resource, struct object_list *out);
void cache_list_by(struct controller *c, int resource, const char *index, const char *value,
                   struct object_list *out);
void cache_list_namespace(struct controller *c, int resource, const char *ns,
                          struct object_list *out); /* by the index "namespace" */

/* ---- writes; OUT may be NULL ---- */

int create_object(struct controller *c, const struct draft *d, struct object **out,
                  struct error *err);
int update_object(struct controller *c, const struct draft *d, struct object **out,
                  struct error *err);
int update_object_status(struct controller *c, const struct draft *d, struct object **out,
                         struct error *err);
int patch_object(struct controller *c, const struct object *o, const char *subresource,
                 enum patch_type type, const struct json *patch, struct error *err);
/* With O's uid as the precondition; that it is gone already is a success. */
int delete_object(struct controller *c, const struct object *o, enum propagation propagation,
                  struct error *err);
int delete_object_now(struct controller *c, const struct object *o,
                      struct error *err); /* grace 0 */
/* What the server has, past the caches. */
int get_live(struct controller *c, const struct object *o, struct object **out, struct error *err);

/* ---- documents in the making ---- */

/* ---- time ---- */

int64_t wall_ns(const struct controller *c);
const char *time_text(struct controller *c, int64_t ns); /* in the reconcile's arena */
