/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selector.h - label selectors (text and LabelSelector objects) and field selectors.
 *
 * Threads: any for a parsed selector.
 */
#pragma once

#include "api/object.h"

struct selector; /* lives in the arena given */

/* "a=b,c!=d,e in (x,y),!f".  ERR_BAD_REQUEST in upstream's words. */
must_check const struct selector *selector_parse(const char *text, struct arena *a,
                                                 struct error *err);
/* {"matchLabels": ..., "matchExpressions": [...]}.  NULL matches nothing, {} everything. */
must_check const struct selector *selector_from_json(const struct json *label_selector,
                                                     struct arena *a, struct error *err);
/* A plain map: Service.spec.selector, nodeSelector. */
const struct selector *selector_from_map(const struct json *labels, struct arena *a);
bool selector_matches(const struct selector *s, const struct json *labels); /* LABELS may be NULL */
bool selector_is_empty(const struct selector *s);                           /* matches everything */
/* Its text form in upstream's canonical order (Scale.status.selector). */
void selector_print(const struct selector *s, struct buffer *out);

/* "metadata.name=x,status.phase!=Running".  ERR_BAD_REQUEST for a label that R does not know. */
struct field_selector;
must_check const struct field_selector *field_selector_parse(const struct resource *r,
                                                             const char *text, struct arena *a,
                                                             struct error *err);
bool field_selector_matches(const struct field_selector *f, const struct object *o);
/* The value that FIELD must equal, NULL if the selector does not say (metadata.name,
 * spec.nodeName). */
const char *field_selector_requires(const struct field_selector *f, const char *field);
