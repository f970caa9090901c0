/* SPDX-License-Identifier: Apache-2.0 */
/* field_selector.c - selection by the few fields that each kind offers. */
#include "api/selector.h"

struct term {
    const char *label; /* as the client wrote it */
    const char *value;
    bool is_negated;
    const char *path;     /* where the object has it */
    const char *fallback; /* another place, for the other version of a kind; NULL: none */
    const char *absent;   /* what an object without it is taken to say */
};

struct field_selector {
    struct term *terms;
    size_t n, capacity;
};

/* Labels that are not simply the path of their field. */
static const struct {
    const char *label, *path, *fallback, *absent;
} places[] = {
    { "spec.host", "spec.nodeName", NULL, "" },
    { "spec.hostNetwork", "spec.hostNetwork", NULL, "false" },
    { "spec.unschedulable", "spec.unschedulable", NULL, "false" },
    { "status.replicas", "status.replicas", NULL, "0" },
    { "status.successful", "status.succeeded", NULL, "0" },
    { "source", "source.component", "reportingComponent", "" },
    { "reportingComponent", "reportingComponent", "reportingController", "" },
    { "reportingController", "reportingController", "reportingComponent", "" },
};

/* ---- parsing ---- */

static bool is_known(const struct resource *r, const char *label)
{
    if (strcmp(label, "metadata.name") == 0)
        return true;
    if (strcmp(label, "metadata.namespace") ==
        0) /* kinds with labels of their own list it or not */
        return r->namespaced || !r->field_labels || !r->field_labels[0];
    for (size_t i = 0; r->field_labels && r->field_labels[i]; i++)
        if (strcmp(r->field_labels[i], label) == 0)
            return true;
    return false;
}

static int unknown_label(const struct resource *r, const char *label, struct error *err)
{
    if (r->field_labels && r->field_labels[0])
        return error_set(err, ERR_BAD_REQUEST, "field label not supported: %s", label);
    return error_set(err, ERR_BAD_REQUEST,
                     "\"%s\" is not a known field selector: only \"metadata.name\", "
                     "\"metadata.namespace\"",
                     label);
}

/* An Event is one object under two names of its fields: both places are looked at. */
static void place_event_reference(struct term *t, struct arena *a)
{
    if (str_has_prefix(t->label, "involvedObject."))
        t->fallback = arena_printf(a, "regarding.%s", t->label + strlen("involvedObject."));
    else if (str_has_prefix(t->label, "regarding."))
        t->fallback = arena_printf(a, "involvedObject.%s", t->label + strlen("regarding."));
}

static int add_term(struct field_selector *f, const struct resource *r, struct term t,
                    struct arena *a, struct error *err)
{
    if (!is_known(r, t.label))
        return unknown_label(r, t.label, err);
    t.path = t.label;
    t.absent = "";
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (strcmp(places[i].label, t.label) == 0) {
            t.path = places[i].path;
            t.fallback = places[i].fallback;
            t.absent = places[i].absent;
        }
    place_event_reference(&t, a);
    f->terms = arena_grow(a, f->terms, f->n, &f->capacity, sizeof(*f->terms));
    f->terms[f->n++] = t;
    return 0;
}

/* The end of the term at P: a comma that is not escaped. */
static const char *term_end(const char *p)
{
    for (; *p && *p != ','; p++)
        if (*p == '\\' && p[1])
            p++;
    return p;
}

/* Undoes \\, \, and \= ; other escapes and a bare '=' are errors. */
static const char *unescape(struct bytes raw, struct arena *a, struct error *err)
{
    char *out = arena_strndup(a, raw.data, raw.len);
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.data[i];
        if (c == '=') {
            error_set(err, ERR_BAD_REQUEST,
                      "invalid field selector: unescaped character in value: %c", c);
            return NULL;
        }
        if (c == '\\') {
            char escaped = i + 1 < raw.len ? raw.data[++i] : 0;
            if (escaped != '\\' && escaped != ',' && escaped != '=') {
                char sequence[] = { c, escaped, 0 };
                error_set(err, ERR_BAD_REQUEST,
                          "invalid field selector: invalid escape sequence: %s", sequence);
                return NULL;
            }
            c = escaped;
        }
        out[n++] = c;
    }
    out[n] = 0;
    return out;
}

/* "label=value", "label==value" or "label!=value": the first operator in the text counts. */
static bool split_term(const char *p, const char *end, struct bytes *label, struct bytes *value,
                       bool *is_negated)
{
    for (const char *q = p; q < end; q++) {
        size_t width = 0;
        if (*q == '!' && q + 1 < end && q[1] == '=')
            width = 2;
        else if (*q == '=')
            width = q + 1 < end && q[1] == '=' ? 2 : 1;
        if (width) {
            *label = (struct bytes){ p, (size_t)(q - p) };
            *value = (struct bytes){ q + width, (size_t)(end - q) - width };
            *is_negated = *q == '!';
            return true;
        }
    }
    return false;
}

const struct field_selector *field_selector_parse(const struct resource *r, const char *text,
                                                  struct arena *a, struct error *err)
{
    struct field_selector *f = arena_zalloc(a, sizeof(*f));
    for (const char *p = text; *p;) {
        const char *end = term_end(p);
        struct bytes label, value;
        struct term t = { 0 };
        if (end > p) {
            if (!split_term(p, end, &label, &value, &t.is_negated)) {
                error_set(err, ERR_BAD_REQUEST, "invalid selector: '%s'; can't understand '%.*s'",
                          text, (int)(end - p), p);
                return NULL;
            }
            t.label = arena_strndup(a, label.data, label.len);
            t.value = unescape(value, a, err);
            if (!t.value || add_term(f, r, t, a, err) < 0)
                return NULL;
        }
        p = *end ? end + 1 : end;
    }
    return f;
}

/* ---- matching ---- */

static const char *value_text(const struct json *v, char number[24])
{
    if (!v)
        return NULL;
    switch ((enum json_type)v->type) {
    case JSON_STRING:
        return v->string;
    case JSON_BOOL:
        return v->boolean ? "true" : "false";
    case JSON_INT:
        snprintf(number, 24, "%lld", (long long)v->integer);
        return number;
    default:
        return NULL;
    }
}

static bool term_matches(const struct term *t, const struct object *o)
{
    char number[24];
    const char *value;
    if (strcmp(t->path, "metadata.name") == 0)
        value = o->key.name;
    else if (strcmp(t->path, "metadata.namespace") == 0)
        value = o->key.ns;
    else
        value = value_text(json_at(o->doc, t->path), number);
    if (str_empty(value) && t->fallback)
        value = value_text(json_at(o->doc, t->fallback), number);
    if (!value)
        value = t->absent;
    return (strcmp(value, t->value) == 0) != t->is_negated;
}

bool field_selector_matches(const struct field_selector *f, const struct object *o)
{
    for (size_t i = 0; i < f->n; i++)
        if (!term_matches(&f->terms[i], o))
            return false;
    return true;
}

const char *field_selector_requires(const struct field_selector *f, const char *field)
{
    for (size_t i = 0; i < f->n; i++)
        if (!f->terms[i].is_negated && strcmp(f->terms[i].path, field) == 0)
            return f->terms[i].value;
    return NULL;
}
