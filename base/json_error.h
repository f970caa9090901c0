/* SPDX-License-Identifier: Apache-2.0 */
/* json_error.h - private to base/: what is wrong with a text that is not JSON, in the words of Go's
 * encoding/json, because clients show them. */
#pragma once

#include "base/bytes.h"
#include "base/error.h"

/* Sets ERR_BAD_REQUEST for the first fault in TEXT.  Always -1. */
int json_error_explain(struct bytes text, struct error *err);
