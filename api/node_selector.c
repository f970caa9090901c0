/* SPDX-License-Identifier: Apache-2.0 */
/* node_selector.c - requirements on a node's labels and its name. */
#include "api/node_selector.h"

#include <errno.h>

static bool parse_number(const char *text, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *text && !*end && !errno;
}

static bool is_greater(const char *a, const char *b)
{
    long long x, y;
    return a && b && parse_number(a, &x) && parse_number(b, &y) && x > y;
}

/* VALUE is NULL where the node has no such label. */
static bool requirement_holds(const struct json *requirement, const char *value)
{
    const char *operator= json_str(requirement, "operator", "");
    const struct json *values = json_get(requirement, "values");
    const char *first =
        json_is(values, JSON_ARRAY) && values->len ? json_text(values->items) : NULL;
    if (str_equal(operator, "In"))
        return value && json_has_text(values, value);
    if (str_equal(operator, "NotIn"))
        return !value || !json_has_text(values, value);
    if (str_equal(operator, "Exists"))
        return value;
    if (str_equal(operator, "DoesNotExist"))
        return !value;
    if (str_equal(operator, "Gt"))
        return is_greater(value, first);
    return str_equal(operator, "Lt") && is_greater(first, value);
}

static const char *label(const struct json *labels, const char *key)
{
    return json_text(json_get(labels, key));
}

bool node_term_matches(const struct json *term, const struct json *labels, const char *name)
{
    if (!json_len(term, "matchExpressions") && !json_len(term, "matchFields"))
        return false;
    json_each_item (json_get(term, "matchExpressions"), e) {
        if (!requirement_holds(e, label(labels, json_str(e, "key", ""))))
            return false;
    }
    json_each_item (json_get(term, "matchFields"), f) {
        bool is_name = str_equal(json_str(f, "key", ""), "metadata.name");
        if (!is_name || !requirement_holds(f, name))
            return false;
    }
    return true;
}

bool node_selector_matches(const struct json *exact, const struct json *required,
                           const struct json *labels, const char *name)
{
    json_each_member (exact, m) {
        if (!label(labels, m->name) || !str_equal(json_text(&m->value), label(labels, m->name)))
            return false;
    }
    if (!required)
        return true;
    json_each_item (json_get(required, "nodeSelectorTerms"), term) {
        if (node_term_matches(term, labels, name))
            return true;
    }
    return false;
}
