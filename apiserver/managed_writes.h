/* SPDX-License-Identifier: Apache-2.0 */
/*
 * managed_writes.h - managedFields through the writes of this server: who writes, what this kind of
 * write cannot set, and in which version.
 *
 * Threads: worker threads.
 */
#pragma once

#include "api/managed_fields.h"
#include "apiserver/rest.h"

/* The fieldManager of the query, else what the User-Agent says before its slash. */
const char *managed_manager(struct request *r, const struct write_options *o);
/* Upstream's rules for a fieldManager: its length, and printable characters only. */
must_check int managed_manager_check(const char *manager, const char *options_kind,
                                     struct error *err);

/* A write of R on the object or a subresource.  VERSIONS lives as long as the result. */
struct managed_versions {
    struct field_versions versions;
    const struct resource *resource;
};
struct field_write managed_write(struct request *r, const char *manager, const char *subresource,
                                 struct managed_versions *versions);
/* Room for a copy of DOC and for what managers will have to say of it.  OLD may be NULL. */
struct arena *managed_arena(const struct json *doc, const struct object *old);
/* What an object of R is before there is one. */
const struct json *managed_nothing(const struct resource *r, struct arena *a);

/* Takes metadata.managedFields out of D: null if there are none; and puts them back. */
struct json managed_take(struct draft *d);
void managed_put(struct draft *d, struct json managed);

/* D has been defaulted, and is not yet what admission makes of it. */
void managed_track_create(struct request *r, const struct write_options *o, struct draft *d);
/* SENT is what the client says of managedFields; NEW has none. */
void managed_track_update(const struct update_call *c, const struct object *old,
                          const struct json *sent, struct draft *new);
