/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_client.h - an API server in memory, for the unit tests of the parts that use api/client.h.
 *
 * It has resource versions, conflicts, generations, the status subresource, finalizers, deletion by
 * propagation policy, watches that resume, and expiry.  It does not default, validate or authorize.
 *
 *     struct fake_client *f = fake_client_new();
 *     fake_put(f, RESOURCE_PODS, "{'metadata':{'namespace':'default','name':'a'}}");   ' stands for
 * " part_new(fake_client(f)); ...
 *
 * Threads: any.
 */
#pragma once

#include "api/client.h"
#include "base/clock.h"

struct fake_client;

struct fake_client *fake_client_new(void);
void fake_client_free(struct fake_client *f);
struct client *fake_client(struct fake_client *f); /* close() does nothing: the test owns it */
void fake_client_set_clock(struct fake_client *f, const struct clock *clock); /* for timestamps */

/* Stores an object as the test wants it, status included, made anew or replaced.  JSON text with '
 * for ". A reference, to be released. */
struct object *fake_put(struct fake_client *f, int resource_id, const char *text);
/* As fake_put, for tests that do not look at the result. */
void fake_store(struct fake_client *f, int resource_id, const char *text);
/* Merges TEXT (RFC 7386) into an object that is there. */
void fake_merge(struct fake_client *f, int resource_id, const char *ns, const char *name,
                const char *text);
/* Removes an object at once, whatever its finalizers say. */
void fake_drop(struct fake_client *f, int resource_id, const char *ns, const char *name);
struct object *fake_get(struct fake_client *f, int resource_id, const char *ns, const char *name);
void fake_list(struct fake_client *f, int resource_id, struct object_list *out);
size_t fake_count(struct fake_client *f, int resource_id);

/* Waits until PREDICATE holds, looking again after each write; fails the test when it does not
 * within minutes.  PREDICATE runs without locks and may call the functions above. */
void fake_wait(struct fake_client *f, bool (*predicate)(struct fake_client *f, void *arg),
               void *arg, const char *what);

/* The next COUNT calls of VERB on the resource fail so. */
void fake_fail(struct fake_client *f, enum resource_verb verb, int resource_id, int count,
               enum error_code code, const char *message);
void fake_heal(struct fake_client *f); /* no more than have failed so far */
/* How often VERB was called on the resource. */
size_t fake_calls(struct fake_client *f, enum resource_verb verb, int resource_id);

void fake_break_watches(struct fake_client *f); /* as a lost connection */
void fake_compact(struct fake_client *f);       /* a watch from an older revision has expired */
/* While held, watches deliver nothing: what a slow network looks like. */
void fake_hold_watches(struct fake_client *f, bool held);
/* A pod that is deleted stays until its node confirms, if it has one (off by default). */
void fake_graceful_pods(struct fake_client *f, bool on);
