/* SPDX-License-Identifier: Apache-2.0 */
/*
 * validate_test.h - what the tests of validators share: an object as text, shaped and defaulted by
 * the real tables, then checked as a write checks it; the faults as one text.
 */
#pragma once

#include "api/object.h"
#include "apiserver/rest_storage.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct validate_case {
    const char *old;    /* NULL: a create */
    const char *text;   /* JSON */
    const char *faults; /* "path: message", one a line; "" for none */
};

static const struct resource *resource_of(const struct json *doc)
{
    const char *version = json_str(doc, "apiVersion", ""), *slash = strchr(version, '/');
    char group[128] = "";
    if (slash)
        snprintf(group, sizeof(group), "%.*s", (int)(slash - version), version);
    return resource_find_kind(group, slash ? slash + 1 : version, json_str(doc, "kind", ""));
}

static struct json *load(const char *text, struct arena *a)
{
    struct error err = { 0 };
    struct json *doc = json_parse(bytes_of(text), a, NULL, &err);
    if (!doc)
        fail_msg("%s: %s", text, err.message);
    const struct resource *r = resource_of(doc);
    if (!r)
        fail_msg("no such kind: %s", text);
    if (schema_shape(r->type, doc, a, NULL, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    schema_default(r, doc, a);
    return doc;
}

/* The faults of a create, an update (OLD) or an update of SUBRESOURCE. */
static char *faults_of(const struct validate_case *c, const char *subresource, struct arena *a)
{
    struct json *doc = load(c->text, a), *before = c->old ? load(c->old, a) : NULL;
    const struct resource *r = resource_of(doc);
    const struct rest_storage *row = rest_storage_of(r);
    const struct strategy *s = rest_storage_strategy(row, subresource);
    struct object old = { .resource = r, .doc = before };
    struct field_errors errors = { .arena = a };
    struct strategy_call call = { .arena = a };
    check_rules(&errors, NULL, before, doc,
                strcmp(subresource, "status") == 0 ? row->status_rules : row->rules);
    if (s && s->validate)
        s->validate(&call, doc, &errors);
    if (s && s->validate_update && before)
        s->validate_update(&call, &old, doc, &errors);
    struct buffer out = { 0 };
    struct error err = { 0 };
    status_invalid(&err, r, "x", &errors);
    struct status_details details = { .resource = r, .name = "x", .field_errors = &errors };
    struct json *status = status_from_error(&err, &details, a);
    json_each_item (json_at(status, "details.causes"), cause) {
        buffer_printf(&out, "%s%s: %s", out.len ? "\n" : "", json_str(cause, "field", ""),
                      json_str(cause, "message", ""));
    }
    return buffer_take(&out);
}

static void check_cases(const struct validate_case *cases, size_t n, const char *subresource)
{
    for (size_t i = 0; i < n; i++) {
        scoped(arena) struct arena *a = arena_new();
        char *faults = faults_of(&cases[i], subresource, a);
        if (strcmp(faults, cases[i].faults) != 0)
            fail_msg("%s\n--- expected:\n%s\n--- found:\n%s", cases[i].text, cases[i].faults,
                     faults);
        free(faults);
    }
}
