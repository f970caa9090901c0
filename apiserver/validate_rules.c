/* SPDX-License-Identifier: Apache-2.0 */
/* validate_rules.c - the interpreter of rule tables. */

#include "apiserver/validate_rules.h"

#include "base/hashmap.h"

/* Up to this many items pairs are compared; longer lists are worth a hash table. */
#define PAIRS_ITEMS_MAX 48

static const struct json empty_text = { .type = JSON_STRING, .string = "" };
static const struct json nothing = { .type = JSON_NULL };
static const struct json zero = { .type = JSON_INT };

static bool is_empty(const struct json *value)
{
    if (!value || value->type == JSON_NULL)
        return true;
    return (value->type == JSON_STRING || value->type == JSON_ARRAY) && value->len == 0;
}

/* ---- the tests ---- */

static void test_format(struct field_errors *v, const struct rule *r, const struct place *at,
                        const struct json *value)
{
    const char *text = json_text(value), *wrong = str_empty(text) ? NULL : r->fault(text);
    if (wrong)
        fail(v, at, FIELD_INVALID, value, wrong);
}

static void test_one_of(struct field_errors *v, const struct rule *r, const struct place *at,
                        const struct json *value)
{
    const char *text = json_text(value) ? json_text(value) : "";
    for (const char *const *s = r->values; *s; s++) {
        if (str_equal(text, *s))
            return;
    }
    if (*text || r->test == RULE_EXACTLY_ONE_OF)
        fail_not_supported(v, at, value, r->values);
    else if (r->test == RULE_REQUIRED_ONE_OF)
        fail(v, at, FIELD_REQUIRED, NULL, "");
}

static void test_number(struct field_errors *v, const struct rule *r, const struct place *at,
                        const struct json *value)
{
    if (!json_is(value, JSON_INT)) {
        if (r->test == RULE_RANGE)
            return;
        value = &zero;
    }
    if (value->integer < r->min || value->integer > r->max)
        fail(v, at, FIELD_INVALID, value, r->detail);
}

static void test_length(struct field_errors *v, const struct rule *r, const struct place *at,
                        const struct json *value)
{
    char detail[64];
    if (!value || (int64_t)value->len <= r->max)
        return;
    if (r->test == RULE_BYTES_MAX) {
        snprintf(detail, sizeof(detail), "may not be more than %lld bytes", (long long)r->max);
        fail(v, at, FIELD_TOO_LONG, NULL, detail);
    } else {
        struct json n = json_int_value(value->len);
        snprintf(detail, sizeof(detail), "must have at most %lld items", (long long)r->max);
        fail(v, at, FIELD_TOO_MANY, &n, detail);
    }
}

static const struct json *keyed(const struct json *item, const char *key)
{
    return *key ? json_get(item, key) : item;
}

static void fail_duplicate(struct field_errors *v, const struct rule *r, const struct place *at,
                           size_t i, const struct json *value)
{
    struct place item = place_item(at, i);
    if (*r->key)
        fail_field(v, &item, r->key, FIELD_DUPLICATE, value, "");
    else
        fail(v, &item, FIELD_DUPLICATE, value, "");
}

static void test_unique_text(struct field_errors *v, const struct rule *r, const struct place *at,
                             const struct json *list)
{
    struct hashmap seen = { 0 };
    for (uint32_t i = 0; i < list->len; i++) {
        const struct json *value = keyed(&list->items[i], r->key);
        if (is_empty(value) || !json_text(value))
            continue;
        struct bytes key = { value->string, value->len };
        if (hashmap_get(&seen, key))
            fail_duplicate(v, r, at, i, value);
        else
            hashmap_put(&seen, key, (void *)value);
    }
    hashmap_deinit(&seen);
}

static void test_unique(struct field_errors *v, const struct rule *r, const struct place *at,
                        const struct json *list)
{
    if (!json_is(list, JSON_ARRAY))
        return;
    if (list->len > PAIRS_ITEMS_MAX) {
        test_unique_text(v, r, at, list);
        return;
    }
    for (uint32_t i = 1; i < list->len; i++) {
        const struct json *value = keyed(&list->items[i], r->key);
        for (uint32_t before = 0; !is_empty(value) && before < i; before++) {
            const struct json *other = keyed(&list->items[before], r->key);
            if (other && json_equal(value, other)) {
                fail_duplicate(v, r, at, i, value);
                break;
            }
        }
    }
}

static void test_immutable(struct field_errors *v, const struct rule *r, const struct place *at,
                           const struct json *old, const struct json *value)
{
    if (is_empty(old) && is_empty(value))
        return;
    if (!old || !value || !json_equal(old, value))
        fail(v, at, FIELD_INVALID,
             value                       ? value
             : json_is(old, JSON_STRING) ? &empty_text
                                         : &nothing,
             r->detail);
}

/* ---- the walk ---- */

/* One row on its way down a path. */
struct walk {
    struct field_errors *v;
    const struct rule *rule;
    bool is_update;
};

static void check_at(struct field_errors *v, const struct place *at, bool is_update,
                     const struct json *old, const struct json *value, const struct rule *rules);

static void test(const struct walk *w, const struct place *at, const struct json *old,
                 const struct json *value)
{
    const struct rule *r = w->rule;
    switch (r->test) {
    case RULE_REQUIRED:
        if (is_empty(value))
            fail(w->v, at, FIELD_REQUIRED, NULL, r->detail);
        break;
    case RULE_REQUIRED_FORMAT:
        if (is_empty(value))
            fail(w->v, at, FIELD_REQUIRED, NULL, "");
        test_format(w->v, r, at, value);
        break;
    case RULE_FORMAT:
        test_format(w->v, r, at, value);
        break;
    case RULE_ONE_OF:
    case RULE_REQUIRED_ONE_OF:
    case RULE_EXACTLY_ONE_OF:
        test_one_of(w->v, r, at, value);
        break;
    case RULE_RANGE:
    case RULE_NUMBER:
        test_number(w->v, r, at, value);
        break;
    case RULE_BYTES_MAX:
    case RULE_ITEMS_MAX:
        test_length(w->v, r, at, value);
        break;
    case RULE_FORBIDDEN:
        if (!is_empty(value))
            fail(w->v, at, FIELD_FORBIDDEN, NULL, r->detail);
        break;
    case RULE_UNIQUE:
        test_unique(w->v, r, at, value);
        break;
    case RULE_BLOCK:
        r->block(w->v, at, value);
        break;
    case RULE_RULES:
        check_at(w->v, at, w->is_update, old, value, r->rules);
        break;
    case RULE_CREATE:
        if (!w->is_update)
            r->block(w->v, at, value);
        break;
    case RULE_UPDATE:
        if (w->is_update)
            r->update(w->v, at, old, value);
        break;
    case RULE_IMMUTABLE:
        if (w->is_update)
            test_immutable(w->v, r, at, old, value);
        break;
    }
}

static const struct json *member(const struct json *object, const char *name, size_t len)
{
    json_each_member (object, m) {
        if (strncmp(m->name, name, len) == 0 && !m->name[len])
            return &m->value;
    }
    return NULL;
}

static void walk(const struct walk *w, const struct place *at, const char *path,
                 const struct json *old, const struct json *value);

static void walk_each(const struct walk *w, const struct place *at, const char *rest,
                      const struct json *old, const struct json *value)
{
    size_t i = 0;
    json_each_item (value, item) {
        struct place p = place_item(at, i++);
        walk(w, &p, rest, NULL, item);
    }
    json_each_member (value, m) {
        struct place p = place_key(at, m->name);
        walk(w, &p, rest, json_get(old, m->name), &m->value);
    }
}

static void walk(const struct walk *w, const struct place *at, const char *path,
                 const struct json *old, const struct json *value)
{
    if (*path == '.')
        path++;
    if (!*path) {
        test(w, at, old, value);
    } else if (*path == '?') {
        if (value && value->type != JSON_NULL)
            walk(w, at, path + 1, old, value);
    } else if (*path == '[') {
        walk_each(w, at, path + strlen("[*]"), old, value);
    } else {
        size_t len = strcspn(path, ".?[");
        struct place p = { .parent = at, .name = path, .name_len = len };
        walk(w, &p, path + len, member(old, path, len), member(value, path, len));
    }
}

static void check_at(struct field_errors *v, const struct place *at, bool is_update,
                     const struct json *old, const struct json *value, const struct rule *rules)
{
    for (const struct rule *r = rules; r && r->path; r++) {
        struct walk w = { .v = v, .rule = r, .is_update = is_update };
        walk(&w, at, r->path, old, value);
    }
}

void check_rules(struct field_errors *v, const struct place *at, const struct json *old,
                 const struct json *value, const struct rule *rules)
{
    check_at(v, at, old != NULL, old, value, rules);
}
