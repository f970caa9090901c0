/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml.h - YAML documents as JSON trees, over libyaml; Kubernetes' reading of scalars (YAML 1.1
 * booleans as in sigs.k8s.io/yaml).
 */
#pragma once

#include "base/json.h"

/* The next document of *TEXT, which is advanced past it; *OUT is NULL for an empty document.
 * 1: a document; 0: no more; -1: ERR_BAD_REQUEST with line and column.  Aliases are expanded up to
 * YAML_NODES_MAX values in all. */
#define YAML_NODES_MAX 1000000
must_check int yaml_next(struct bytes *text, struct arena *a, struct json **out, struct error *err);
/* The same, but a key that is repeated in a map is no error: the last one wins, and
 * `line 3: key "a" already set in map` is added to REPEATED. */
must_check int yaml_next_lenient(struct bytes *text, struct arena *a, struct json **out,
                                 struct json_duplicates *repeated, struct error *err);
void yaml_print(const struct json *v, struct buffer *out);
