/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h - metav1.Status from an error, and the field errors of an Invalid one.
 */
#pragma once

#include "api/resource.h"
#include "base/error.h"

/* The reason of the cause, and how its message starts. */
enum field_error_type {
    FIELD_REQUIRED,      /* "Required value" */
    FIELD_INVALID,       /* "Invalid value" */
    FIELD_NOT_SUPPORTED, /* "Unsupported value" */
    FIELD_DUPLICATE,     /* "Duplicate value" */
    FIELD_FORBIDDEN,     /* "Forbidden" */
    FIELD_NOT_FOUND,     /* "Not found" */
    FIELD_TOO_LONG,      /* "Too long" */
    FIELD_TOO_MANY,      /* "Too many" */
    FIELD_TYPE_INVALID,  /* "Invalid value" */
    FIELD_INTERNAL,      /* "Internal error" */
};

struct field_error {
    enum field_error_type type;
    const char *path;  /* spec.containers[0].name */
    const char *value; /* as upstream prints the bad value ("\"x\"", "3"); NULL for none */
    const char *detail;
};

#define FIELD_ERRORS_MAX 256 /* later ones are dropped: the answer stays readable */

struct field_errors {
    struct arena *arena;
    struct field_error *items;
    size_t n, capacity;
};

/* VALUE is the offending value in the tree or NULL; PATH and DETAIL are copied. */
void field_error_add(struct field_errors *list, enum field_error_type type, const char *path,
                     const struct json *value, const char *detail);
/* "Unsupported value: \"x\": supported values: \"A\", \"B\"". */
void field_error_not_supported(struct field_errors *list, const char *path,
                               const struct json *value, const char *const *supported);

struct status_cause {
    const char *reason, *message, *field;
};

/* What a failed request knows about its object; any part may be NULL. */
struct status_details {
    const struct resource *resource;
    const char *name;
    const char *uid;
    const struct field_errors *field_errors;
    const struct status_cause *causes; /* where they are no field errors */
    size_t causes_n;
    const char *message; /* in full, where an error value has no room for it */
    int retry_after_s;   /* 0: what is usual for the code; -1: none */
};

/* The error for a list of field errors: `Deployment.apps "x" is invalid: spec.y: Required value`.
 * Always -1. */
int status_invalid(struct error *err, const struct resource *r, const char *name,
                   const struct field_errors *errors);
/* `pods "x" not found` and its like, in upstream's words.  Always -1. */
int status_not_found(struct error *err, const struct resource *r, const char *name);
int status_already_exists(struct error *err, const struct resource *r, const char *name);
int status_conflict(struct error *err, const struct resource *r, const char *name);

/* The metav1.Status document. */
struct json *status_from_error(const struct error *err, const struct status_details *details,
                               struct arena *a);
/* The reverse, for clients. */
int status_to_error(const struct json *status, int http_status, struct error *err); /* always -1 */
