/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patch.h - the patch languages, each a function from (document, patch) to a new document in ARENA.
 * Inputs are not changed; the result may share their subtrees, so it lives no longer than they do.
 *
 * ERR_BAD_REQUEST for a patch that is not one; ERR_INVALID where it does not apply (a failed test,
 * a missing path), in upstream's words.
 */
#pragma once

#include "api/schema.h"

/* RFC 6902.  At most PATCH_OPERATIONS_MAX operations. */
#define PATCH_OPERATIONS_MAX 10000
must_check struct json *patch_json(const struct json *doc, const struct json *patch,
                                   struct arena *a, struct error *err);
/* RFC 7386. */
struct json *patch_merge(const struct json *doc, const struct json *patch, struct arena *a);
/* Strategic merge by TYPE's merge keys, with $patch, $retainKeys, $setElementOrder and
 * $deleteFromPrimitiveList. */
must_check struct json *patch_strategic(const struct schema_type *type, const struct json *doc,
                                        const struct json *patch, struct arena *a,
                                        struct error *err);
