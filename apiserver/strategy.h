/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strategy.h - how a kind differs from the generic behaviour of the verbs.
 *
 * strategy_<kind>.c holds a const struct strategy, rest_storage.c names it in the kind's row.  A
 * missing hook means the generic behaviour, which already does what facts/strategy.json says of
 * every kind:
 *
 *     create   names, uid, creationTimestamp, generation 1, `status` emptied if there is a status
 * strategy update   metadata kept, generation by the row's rule, `status` kept; status updates keep
 * all else
 *
 * Hooks run on a worker thread, may read watch caches, and may run again when a write meets a
 * conflict.
 *
 * Threads: worker threads.
 */
#pragma once

#include "api/status.h"
#include "apiserver/request.h"

/* What a hook may know about the call it is part of. */
struct strategy_call {
    struct request *request;
    struct apiserver *server;
    struct arena
        *arena; /* for this attempt; NOT the draft's: what goes into a draft uses draft->arena */
    bool is_dry_run;
    int64_t now_ns; /* wall clock */
};

struct strategy {
    /* Fills and resets what the server owns.  NEW is shaped, defaulted and has its metadata. */
    int (*prepare_create)(struct strategy_call *c, struct draft *new, struct error *err);
    int (*prepare_update)(struct strategy_call *c, const struct object *old, struct draft *new,
                          struct error *err);
    /* Adds what is wrong.  Metadata has been checked; update: VALIDATE has run on the new object
     * unless validate_update alone is given. */
    void (*validate)(struct strategy_call *c, const struct json *doc, struct field_errors *errors);
    void (*validate_update)(struct strategy_call *c, const struct object *old,
                            const struct json *doc, struct field_errors *errors);

    /* Allocators (cluster addresses, node ports).  allocate runs after validation, right before the
     * write, and changes NEW (OLD NULL: create); release_failed undoes it if the write did not
     * happen. */
    int (*allocate)(struct strategy_call *c, const struct object *old, struct draft *new,
                    struct error *err);
    void (*release_failed)(struct strategy_call *c, const struct object *old,
                           const struct json *doc);
    /* After the write is durable. */
    void (*after_create)(struct strategy_call *c, const struct object *created);
    void (*after_update)(struct strategy_call *c, const struct object *old,
                         const struct object *new);
    void (*after_delete)(struct strategy_call *c, const struct object *deleted);

    /* Seconds of grace for a delete: ASKED is the option (-1: none given).  NULL or 0: removed at
     * once. */
    int64_t (*delete_grace_s)(const struct object *o, int64_t asked);
    /* More that has to be empty before an object that is being deleted goes
     * (Namespace.spec.finalizers). */
    bool (*has_more_finalizers)(const struct json *doc);
    /* What else a delete changes in an object that stays until its grace or finalizers end. */
    void (*mark_deleted)(struct strategy_call *c, struct draft *d);
};
