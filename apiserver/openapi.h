/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openapi.h - /openapi/v2, /openapi/v3 and /openapi/v3/..., made from the schema tables on first
 * use.
 *
 * Threads: any; making a document takes long, so requests for one that is not made yet go to a
 * worker: openapi_serve() may be called there.
 */
#pragma once

#include "apiserver/discovery.h"

/* True if PATH is ours; then *IS_READY tells whether openapi_serve() will be quick. */
bool openapi_is_path(struct apiserver *a, struct bytes path, bool *is_ready);
void openapi_serve(struct request *r, struct bytes path, struct bytes accept,
                   struct bytes if_none_match, struct document *out);
