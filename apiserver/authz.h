/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authz.h - may this user do that: the node authorizer, then RBAC.
 *
 * Decisions come from tables in memory that watch cache observers keep current
 * (watch_cache_observe), so nothing here waits.
 *
 * Threads: any; never blocks.
 */
#pragma once

#include "apiserver/request.h"

struct attributes {
    const struct user *user;
    const char *verb; /* "get" */
    bool is_resource_request;
    const char *group, *version, *resource, *subresource, *ns,
        *name;                  /* "" where there is nothing */
    const char *path;           /* for the others */
    const char *field_selector; /* of a list or watch: "" if none; NULL: not known */
};

#define AUTHZ_REASON_BYTES 256

void attributes_of(const struct request *r, struct attributes *out);

/* REASON is "" or the authorizer's words, which a 403 shows after the sentence of authz_forbid().
 */
bool authorize(struct apiserver *a, const struct attributes *at, char reason[AUTHZ_REASON_BYTES]);

/* ERR_FORBIDDEN as upstream words it: `pods is forbidden: User "x" cannot list resource "pods" in
 * API group "" in the namespace "default"` with ": REASON" after it.  Always -1. */
int authz_forbid(const struct attributes *at, const char *reason, struct error *err);

/* Answers SubjectAccessReview, SelfSubjectAccessReview, LocalSubjectAccessReview,
 * SelfSubjectRulesReview, SelfSubjectReview and TokenReview (create on kinds that are not stored).
 * DOC is shaped; the answer is in R->arena. */
must_check int review_create(struct request *r, const struct json *doc, struct json **out,
                             struct error *err);

/* Start-up, once the watch caches are filled and before the first request: makes the bootstrap
 * roles and bindings that are missing, loads the tables and observes the caches. */
must_check int policy_start(struct apiserver *a, struct error *err);
void policy_stop(struct apiserver *a);
