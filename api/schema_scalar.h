/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_scalar.h - the scalars whose JSON form is text with rules: times, quantities, base64.
 *
 * Each function checks V, which is of the right JSON type already, and makes it canonical; new text
 * lives in ARENA.  ERR_BAD_REQUEST in the words of Go's decoder.
 *
 * Threads: any.
 */
#pragma once

#include "api/schema.h"

must_check int scalar_time(struct json *v, bool is_micro, struct arena *arena, struct error *err);
must_check int scalar_duration(struct json *v, struct arena *arena, struct error *err);
must_check int scalar_bytes(struct json *v, struct arena *arena, struct error *err);
/* V may be a number too.  IS_MILLI: rounded up to thousandths, as in every resource list. */
must_check int scalar_quantity(struct json *v, bool is_milli, struct arena *arena,
                               struct error *err);
