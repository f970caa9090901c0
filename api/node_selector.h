/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_selector.h - which nodes a pod may be on by what it says of their labels and names.
 *
 * Threads: any.
 */
#pragma once

#include "base/json.h"

/* TERM is a NodeSelectorTerm; an empty one selects nothing. */
bool node_term_matches(const struct json *term, const struct json *labels, const char *name);

/* EXACT is a pod's nodeSelector, REQUIRED the NodeSelector of its node affinity, of whose terms one
 * has to match; NULL asks for nothing. */
bool node_selector_matches(const struct json *exact, const struct json *required,
                           const struct json *labels, const char *name);
