/* SPDX-License-Identifier: Apache-2.0 */
/*
 * validate.h - what the validators of the kinds share: where a field is, and the blocks of rules
 * that many kinds use (facts/validation.json, "blocks").
 *
 * A place is a chain on the stack, printed only when something is wrong:
 *
 *     struct place spec = place_root("spec"), c = place_in(&spec, "containers"), c0 =
 * place_item(&c, 0); fail(v, &c0, FIELD_REQUIRED, NULL, "");        spec.containers[0]: Required
 * value
 *
 * Threads: any.
 */
#pragma once

#include "api/status.h"

struct place {
    const struct place *parent;
    const char *name; /* a field; NULL: see KEY and INDEX */
    size_t name_len;  /* 0: up to NAME's end; else NAME goes on in another text */
    const char *key;  /* [key] of a map */
    size_t index;     /* [index] of a list */
};

static inline struct place place_root(const char *name)
{
    return (struct place){ .name = name };
}
static inline struct place place_in(const struct place *parent, const char *name)
{
    return (struct place){ .parent = parent, .name = name };
}
static inline struct place place_item(const struct place *parent, size_t index)
{
    return (struct place){ .parent = parent, .index = index };
}
static inline struct place place_key(const struct place *parent, const char *key)
{
    return (struct place){ .parent = parent, .key = key };
}

/* AT is NULL for the document itself. */
void fail(struct field_errors *v, const struct place *at, enum field_error_type type,
          const struct json *value, const char *detail);
/* VALUES ends with NULL. */
void fail_not_supported(struct field_errors *v, const struct place *at, const struct json *value,
                        const char *const *values);
void fail_field(struct field_errors *v, const struct place *at, const char *name,
                enum field_error_type type, const struct json *value, const char *detail);

/* ---- one field of OBJECT at AT; absent is fine unless the name says otherwise ---- */

/* Required unless a non-empty string. */
void check_required(struct field_errors *v, const struct place *at, const struct json *object,
                    const char *name);
/* FAULT is one of formats.h. */
void check_format(struct field_errors *v, const struct place *at, const struct json *object,
                  const char *name, const char *(*fault)(const char *));
void check_required_format(struct field_errors *v, const struct place *at,
                           const struct json *object, const char *name,
                           const char *(*fault)(const char *));
/* One of VALUES (ends with NULL); REQUIRED when empty if IS_REQUIRED. */
void check_one_of(struct field_errors *v, const struct place *at, const struct json *object,
                  const char *name, const char *const *values, bool is_required);
void check_not_negative(struct field_errors *v, const struct place *at, const struct json *object,
                        const char *name);
void check_positive(struct field_errors *v, const struct place *at, const struct json *object,
                    const char *name);
void check_port(struct field_errors *v, const struct place *at, const struct json *object,
                const char *name, bool is_required);
/* The update may not change it: `field is immutable`. */
void check_immutable(struct field_errors *v, const struct place *at, const struct json *old,
                     const struct json *new, const char *name);

/* ---- shared blocks ---- */

void validate_labels(struct field_errors *v, const struct place *at, const struct json *labels);
void validate_annotations(struct field_errors *v, const struct place *at,
                          const struct json *annotations);
void validate_label_selector(struct field_errors *v, const struct place *at,
                             const struct json *selector);
void validate_resources(struct field_errors *v, const struct place *at, const struct json *wanted);
void validate_tolerations(struct field_errors *v, const struct place *at,
                          const struct json *tolerations);
void validate_taints(struct field_errors *v, const struct place *at, const struct json *taints);
/* A NodeSelector, and the terms of preferred affinity. */
void validate_node_selector(struct field_errors *v, const struct place *at,
                            const struct json *selector);
void validate_affinity(struct field_errors *v, const struct place *at, const struct json *affinity);
/* "25%" or a number that is not negative. */
void validate_int_or_percent(struct field_errors *v, const struct place *at,
                             const struct json *value);

/* ---- pods (validate_pod.c) ---- */

enum pod_use { POD_ITSELF, POD_IN_TEMPLATE };
/* CLAIMS (may be NULL): claim templates, whose names are volumes too. */
void validate_pod_spec(struct field_errors *v, const struct place *at, const struct json *spec,
                       enum pod_use use, const struct json *claims);
void validate_pod_template(struct field_errors *v, const struct place *at,
                           const struct json *template);
void validate_pod_template_with(struct field_errors *v, const struct place *at,
                                const struct json *template, const struct json *claims);
/* A field or a resource of the pod by name.  KNOWN ends with NULL: the fields that may be asked for
 * here, of all that a pod has. */
void validate_field_ref(struct field_errors *v, const struct place *at, const struct json *ref,
                        const char *const *known);
void validate_resource_ref(struct field_errors *v, const struct place *at, const struct json *ref);
/* Whether SELECTOR (a LabelSelector or a plain map) picks the template's labels. */
bool selects_template(const struct json *selector, const struct json *template);
