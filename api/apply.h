/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply.h - server-side apply: a manager says all the fields that it wants to be as they are in its
 * configuration.
 *
 * What it named before and names no more is removed, unless somebody else owns it.  A value that
 * another manager owns and that differs is a conflict, unless FORCE takes it over.
 */
#pragma once

#include "api/managed_fields.h"

struct apply_conflict {
    struct managed_entry with;
    const struct json *fields;
};

struct apply_result {
    const struct json *doc; /* the merged object, not shaped, without managedFields */
    bool is_unchanged;      /* DOC is LIVE */
    struct apply_conflict *conflicts;
    size_t conflicts_n;
};

/* The configuration is for the kind and version of the request.  ERR_BAD_REQUEST. */
must_check int apply_check(const struct json *config, const char *api_version, const char *kind,
                           struct error *err);
/* LIVE is without its managedFields; {} completed for an object that is not there, which EMPTY
 * always is.  Changes M, unless there are conflicts.  ERR_UNKNOWN: the configuration does
 * not fit its type. */
must_check int apply_config(const struct field_write *w, const struct json *live,
                            const struct json *empty, const struct json *config, bool force,
                            struct managed_fields *m, struct apply_result *out, struct error *err);

/* `Apply failed with 1 conflict: conflict with "x" using v1: .spec.replicas`. */
const char *apply_conflict_message(const struct apply_result *r, struct arena *arena);
/* Calls FN with each: `conflict with "x" using v1`, `.spec.replicas`. */
void apply_conflicts_each(const struct apply_result *r,
                          void (*fn)(const char *message, const char *path, void *arg), void *arg);
