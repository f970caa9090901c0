/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request_info.h - what a URL and a method ask for.
 *
 *     GET /apis/apps/v1/namespaces/default/deployments/web/status
 *      ->  get, deployments.apps/v1, subresource status, default/web
 *
 * Threads: any.
 */
#pragma once

#include "apiserver/request.h"

/* Fills OUT with strings in A.  ERR_BAD_REQUEST for a path that does not decode. */
must_check int request_info_parse(struct bytes method, struct bytes path, struct bytes query,
                                  struct arena *a, struct request_info *out, struct error *err);
/* The same for a call that names its parts. */
void request_info_make(struct request_info *out, enum request_verb verb, const struct resource *r,
                       const struct object_key *key, const char *subresource, struct arena *a);
/* A list of one object by name counts as one for authorization ("get just this secret"): the name
 * that a field selector (may be NULL) asks for, in it, or "". */
const char *request_info_selected_name(const char *selector);
