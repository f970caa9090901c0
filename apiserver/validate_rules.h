/* SPDX-License-Identifier: Apache-2.0 */
/*
 * validate_rules.h - the rules of a kind as a table, and the one interpreter of such tables.
 *
 *     const struct rule ingress_class_rules[] = {
 *         REQUIRED("spec.controller"),
 *         BYTES_MAX("spec.controller", 250),
 *         REQUIRED("spec.parameters?.kind"),
 *         UNIQUE("spec.drivers", "name"),
 *         RULES("spec.rules[*]", path_rules),
 *         IMMUTABLE("spec.controller"),
 *         RULES_END,
 *     };
 *
 * A path is relative to the object of the table.  `a.b` looks into a whether it is there or not (a
 * struct is always there); `a?.b` is only looked at where a is there (a pointer); `a[*]` is each
 * item of a list or each value of a map.  Rows are checked in order, as upstream reports in order.
 * Nothing is allocated while nothing is wrong.
 *
 * Threads: any.
 */
#pragma once

#include "apiserver/validate.h"

enum rule_test {
    RULE_REQUIRED,
    RULE_FORMAT,
    RULE_REQUIRED_FORMAT,
    RULE_ONE_OF,
    RULE_REQUIRED_ONE_OF,
    RULE_EXACTLY_ONE_OF,
    RULE_RANGE,
    RULE_NUMBER,
    RULE_BYTES_MAX,
    RULE_ITEMS_MAX,
    RULE_FORBIDDEN,
    RULE_UNIQUE,
    RULE_BLOCK,
    RULE_RULES,
    RULE_CREATE,
    RULE_UPDATE,
    RULE_IMMUTABLE,
};

struct rule {
    const char *path;
    enum rule_test test;
    const char *detail;
    union {
        const char *(*fault)(const char *);
        const char *const *values;
        struct {
            int64_t min, max;
        };
        const char *key;
        const struct rule *rules;
        void (*block)(struct field_errors *v, const struct place *at, const struct json *value);
        void (*update)(struct field_errors *v, const struct place *at, const struct json *old,
                       const struct json *new);
    };
};

#define ONE_OF_LIST(...)                                                                           \
    .values = (const char *const[])                                                                \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/* clang-format off */
/* Empty text, an empty list or nothing at all. */
#define REQUIRED(p)                  { .path = p, .test = RULE_REQUIRED, .detail = "" }
#define REQUIRED_BECAUSE(p, d)       { .path = p, .test = RULE_REQUIRED, .detail = d }
/* Text that has the form, if it is not empty; F is one of formats.h. */
#define FORMAT(p, f)                 { .path = p, .test = RULE_FORMAT, .fault = f }
#define REQUIRED_FORMAT(p, f)        { .path = p, .test = RULE_REQUIRED_FORMAT, .fault = f }
/* Empty text: fine; Required; as wrong as any other. */
#define ONE_OF(p, ...)               { .path = p, .test = RULE_ONE_OF, ONE_OF_LIST(__VA_ARGS__) }
#define REQUIRED_ONE_OF(p, ...)      { .path = p, .test = RULE_REQUIRED_ONE_OF, ONE_OF_LIST(__VA_ARGS__) }
#define EXACTLY_ONE_OF(p, ...)       { .path = p, .test = RULE_EXACTLY_ONE_OF, ONE_OF_LIST(__VA_ARGS__) }
/* A number that may be left out; one that is 0 where it is. */
#define RANGE(p, low, high, d)       { .path = p, .test = RULE_RANGE, .detail = d, .min = low, .max = high }
#define NUMBER(p, low, high, d)      { .path = p, .test = RULE_NUMBER, .detail = d, .min = low, .max = high }
#define NOT_NEGATIVE(p)              RANGE(p, 0, INT64_MAX, "must be greater than or equal to 0")
#define ABOVE_ZERO(p)                RANGE(p, 1, INT64_MAX, "must be greater than 0")
#define PORT(p)                      NUMBER(p, 1, 65535, "must be between 1 and 65535, inclusive")
#define BYTES_MAX(p, n)              { .path = p, .test = RULE_BYTES_MAX, .max = n }
#define ITEMS_MAX(p, n)              { .path = p, .test = RULE_ITEMS_MAX, .max = n }
#define FORBIDDEN(p, d)              { .path = p, .test = RULE_FORBIDDEN, .detail = d }
/* No two items of the list with the same value of member K ("": the same item); empty ones may
 * repeat. */
#define UNIQUE(p, k)                 { .path = p, .test = RULE_UNIQUE, .key = k }
/* A function's rules: F is called with the value, NULL where it is absent. */
#define BLOCK(p, f)                  { .path = p, .test = RULE_BLOCK, .block = f }
#define RULES(p, table)              { .path = p, .test = RULE_RULES, .rules = table }
/* Only on a create. */
#define CREATE(p, f)                 { .path = p, .test = RULE_CREATE, .block = f }
/* Only on an update; not below a list, whose items have no old value. */
#define UPDATE(p, f)                 { .path = p, .test = RULE_UPDATE, .update = f }
#define IMMUTABLE(p)                 { .path = p, .test = RULE_IMMUTABLE, .detail = "field is immutable" }
#define RULES_END                    { .path = NULL }
/* clang-format on */

/* Adds what is wrong with VALUE at AT (NULL: the document).  OLD is what it was before the update;
 * NULL: a create.  RULES may be NULL. */
void check_rules(struct field_errors *v, const struct place *at, const struct json *old,
                 const struct json *value, const struct rule *rules);
