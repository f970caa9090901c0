/* SPDX-License-Identifier: Apache-2.0 */
/* selector.c - label selectors: the text language, LabelSelector objects, matching. */
#include "api/selector.h"

#include <errno.h>

#include "api/label_syntax.h"

enum operator{
    OP_EXISTS,
    OP_NOT_EXISTS,
    OP_EQUALS,
    OP_DOUBLE_EQUALS,
    OP_NOT_EQUALS,
    OP_IN,
    OP_NOT_IN,
    OP_GREATER,
    OP_LESS,
};

struct requirement {
    const char *key;
    enum operator op;
    const char **values; /* sorted, each once */
    size_t n, capacity;
};

struct selector {
    bool is_nothing;
    struct requirement *items; /* sorted by key */
    size_t n, capacity;
};

/* ---- making ---- */

static struct selector *selector_new(struct arena *a)
{
    return arena_zalloc(a, sizeof(struct selector));
}

static struct requirement *add_requirement(struct selector *s, const char *key, enum operator op,
                                           struct arena *a)
{
    s->items = arena_grow(a, s->items, s->n, &s->capacity, sizeof(*s->items));
    struct requirement *r = &s->items[s->n++];
    *r = (struct requirement){ .key = key, .op = op };
    return r;
}

static void add_value(struct requirement *r, const char *value, struct arena *a)
{
    r->values = arena_grow(a, r->values, r->n, &r->capacity, sizeof(*r->values));
    r->values[r->n++] = value;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Values are a set: sorted, each once. */
static void make_set(struct requirement *r)
{
    if (r->n < 2)
        return;
    qsort(r->values, r->n, sizeof(*r->values), compare_text);
    size_t n = 1;
    for (size_t i = 1; i < r->n; i++)
        if (strcmp(r->values[i], r->values[n - 1]) != 0)
            r->values[n++] = r->values[i];
    r->n = n;
}

/* By key; requirements of one key keep the order in which they were written. */
static void sort_by_key(struct selector *s, struct arena *a)
{
    struct requirement *room = arena_alloc(a, s->n * sizeof(*room));
    for (size_t width = 1; width < s->n; width *= 2) { /* a merge sort, since qsort is not stable */
        for (size_t begin = 0; begin < s->n; begin += 2 * width) {
            size_t middle = begin + width < s->n ? begin + width : s->n;
            size_t end = middle + width < s->n ? middle + width : s->n;
            for (size_t i = begin, l = begin, r = middle; i < end; i++)
                if (l < middle && (r == end || strcmp(s->items[l].key, s->items[r].key) <= 0))
                    room[i] = s->items[l++];
                else
                    room[i] = s->items[r++];
        }
        struct requirement *t = s->items;
        s->items = room;
        room = t;
        s->capacity = s->n;
    }
}

static int bad_value(struct error *err, const char *path, const char *value, const char *detail)
{
    scoped(buffer) struct buffer text = { 0 };
    buffer_printf(&text, "%s: Invalid value: ", path);
    buffer_add_quoted(&text, bytes_of(value));
    buffer_printf(&text, ": %s", detail);
    return error_set(err, ERR_BAD_REQUEST, "%s", text.data);
}

static int check_key(const char *key, struct error *err)
{
    scoped(buffer) struct buffer why = { 0 };
    if (label_key_is_valid(key, &why))
        return 0;
    return bad_value(err, "<nil>", key, why.data); /* upstream has no path here, and says so */
}

static bool parse_int(const char *text, int64_t *v)
{
    char *end;
    errno = 0;
    *v = strtoll(text, &end, 10);
    return end != text && !*end && errno == 0 && *text != ' ';
}

static int check_values(const struct requirement *r, struct error *err)
{
    for (size_t i = 0; i < r->n; i++) {
        scoped(str) char *path = xasprintf("values[%zu]", i);
        int64_t number;
        if ((r->op == OP_GREATER || r->op == OP_LESS) && !parse_int(r->values[i], &number))
            return bad_value(err, path, r->values[i],
                             "for 'Gt', 'Lt' operators, the value must be an integer");
    }
    for (size_t i = 0; i < r->n; i++) {
        scoped(buffer) struct buffer why = { 0 };
        if (label_value_is_valid(r->values[i], &why))
            continue;
        scoped(str) char *path = xasprintf("values[%zu][%s]", i, r->key);
        return bad_value(err, path, r->values[i], why.data);
    }
    return 0;
}

/* ---- the text language ---- */

enum token {
    TOKEN_END,
    TOKEN_IDENTIFIER,
    TOKEN_COMMA,
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_NOT,
    TOKEN_EQUALS,
    TOKEN_DOUBLE_EQUALS,
    TOKEN_NOT_EQUALS,
    TOKEN_GREATER,
    TOKEN_LESS,
};

struct lexer {
    const char *p;
    enum token token; /* the current one */
    struct bytes text;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static enum token symbol(const char *p, size_t *len)
{
    *len = p[0] && p[1] == '=' && (p[0] == '=' || p[0] == '!') ? 2 : 1;
    switch (*p) {
    case ',':
        return TOKEN_COMMA;
    case '(':
        return TOKEN_OPEN;
    case ')':
        return TOKEN_CLOSE;
    case '>':
        return TOKEN_GREATER;
    case '<':
        return TOKEN_LESS;
    case '!':
        return *len == 2 ? TOKEN_NOT_EQUALS : TOKEN_NOT;
    case '=':
        return *len == 2 ? TOKEN_DOUBLE_EQUALS : TOKEN_EQUALS;
    default:
        *len = strcspn(p, ",()<>!= \t\r\n");
        return *len ? TOKEN_IDENTIFIER : TOKEN_END;
    }
}

static void next(struct lexer *l)
{
    while (is_space(*l->p))
        l->p++;
    size_t len;
    l->token = symbol(l->p, &len);
    if (l->token == TOKEN_END)
        len = 0;
    l->text = (struct bytes){ l->p, len };
    l->p += len;
}

static int unexpected(const struct lexer *l, const char *expected, struct error *err)
{
    return error_set(err, ERR_BAD_REQUEST, "found '%.*s'%s", (int)l->text.len, l->text.data,
                     expected);
}

static const char *take_text(struct lexer *l, struct arena *a)
{
    const char *text = arena_strndup(a, l->text.data, l->text.len);
    next(l);
    return text;
}

static int parse_operator(struct lexer *l, enum operator* op, struct error *err)
{
    static const enum operator of_token[] = {
        [TOKEN_EQUALS] = OP_EQUALS,
        [TOKEN_DOUBLE_EQUALS] = OP_DOUBLE_EQUALS,
        [TOKEN_NOT_EQUALS] = OP_NOT_EQUALS,
        [TOKEN_GREATER] = OP_GREATER,
        [TOKEN_LESS] = OP_LESS,
    };
    if (l->token >= TOKEN_EQUALS)
        *op = of_token[l->token];
    else if (bytes_equal_str(l->text, "in"))
        *op = OP_IN;
    else if (bytes_equal_str(l->text, "notin"))
        *op = OP_NOT_IN;
    else
        return unexpected(l, ", expected: in, notin, =, ==, !=, gt, lt", err);
    next(l);
    return 0;
}

/* "(a, b)".  A place between commas without text is the empty value. */
static int parse_set(struct lexer *l, struct requirement *r, struct arena *a, struct error *err)
{
    if (l->token != TOKEN_OPEN)
        return unexpected(l, " expected: '('", err);
    next(l);
    if (l->token != TOKEN_IDENTIFIER && l->token != TOKEN_COMMA && l->token != TOKEN_CLOSE)
        return unexpected(l, ", expected: ',', ')' or identifier", err);
    for (;;) {
        if (l->token == TOKEN_IDENTIFIER)
            add_value(r, take_text(l, a), a);
        else if (l->token == TOKEN_COMMA || l->token == TOKEN_CLOSE)
            add_value(r, "", a);
        else
            return unexpected(l, ", expected: ',', or identifier", err);
        if (l->token != TOKEN_COMMA && l->token != TOKEN_CLOSE)
            return unexpected(l, ", expected: ',' or ')'", err);
        bool is_last = l->token == TOKEN_CLOSE;
        next(l);
        if (is_last)
            break;
    }
    make_set(r);
    return 0;
}

static int parse_requirement(struct lexer *l, struct selector *s, struct arena *a,
                             struct error *err)
{
    bool is_negated = l->token == TOKEN_NOT;
    if (is_negated)
        next(l);
    if (l->token != TOKEN_IDENTIFIER)
        return unexpected(l, ", expected: identifier", err);
    const char *key = take_text(l, a);
    if (check_key(key, err) < 0)
        return -1;
    struct requirement *r = add_requirement(s, key, is_negated ? OP_NOT_EXISTS : OP_EXISTS, a);
    if (is_negated || l->token == TOKEN_END || l->token == TOKEN_COMMA)
        return 0;
    if (parse_operator(l, &r->op, err) < 0)
        return -1;
    if (r->op == OP_IN || r->op == OP_NOT_IN) {
        if (parse_set(l, r, a, err) < 0)
            return -1;
    } else if (l->token == TOKEN_END || l->token == TOKEN_COMMA) {
        add_value(r, "", a);
    } else if (l->token == TOKEN_IDENTIFIER) {
        add_value(r, take_text(l, a), a);
    } else {
        return unexpected(l, ", expected: identifier", err);
    }
    return check_values(r, err);
}

const struct selector *selector_parse(const char *text, struct arena *a, struct error *err)
{
    struct selector *s = selector_new(a);
    struct lexer l = { .p = text };
    next(&l);
    while (l.token != TOKEN_END) {
        if (l.token != TOKEN_IDENTIFIER && l.token != TOKEN_NOT) {
            unexpected(&l, ", expected: !, identifier, or 'end of string'", err);
            return NULL;
        }
        if (parse_requirement(&l, s, a, err) < 0) {
            error_wrap(err, "unable to parse requirement");
            return NULL;
        }
        if (l.token == TOKEN_END)
            break;
        if (l.token != TOKEN_COMMA) {
            unexpected(&l, ", expected: ',' or 'end of string'", err);
            return NULL;
        }
        next(&l);
        if (l.token != TOKEN_IDENTIFIER && l.token != TOKEN_NOT) {
            unexpected(&l, ", expected: identifier after ','", err);
            return NULL;
        }
    }
    sort_by_key(s, a);
    return s;
}

/* ---- from objects ---- */

static int add_map(struct selector *s, const struct json *labels, struct arena *a,
                   struct error *err)
{
    json_each_member (labels, m) {
        struct requirement *r = add_requirement(s, m->name, OP_EQUALS, a);
        add_value(r, json_text(&m->value) ? m->value.string : "", a);
        if (err && (check_key(r->key, err) < 0 || check_values(r, err) < 0))
            return -1;
    }
    return 0;
}

static int add_expression(struct selector *s, const struct json *e, struct arena *a,
                          struct error *err)
{
    static const struct {
        const char *name;
        enum operator op;
    } operators[] = {
        { "In", OP_IN },
        { "NotIn", OP_NOT_IN },
        { "Exists", OP_EXISTS },
        { "DoesNotExist", OP_NOT_EXISTS },
    };
    const char *name = json_str(e, "operator", "");
    size_t i = 0;
    while (i < ARRAY_LEN(operators) && strcmp(operators[i].name, name) != 0)
        i++;
    if (i == ARRAY_LEN(operators))
        return error_set(err, ERR_BAD_REQUEST, "\"%s\" is not a valid label selector operator",
                         name);
    struct requirement *r = add_requirement(s, json_str(e, "key", ""), operators[i].op, a);
    json_each_item (json_get(e, "values"), v)
        add_value(r, json_text(v) ? v->string : "", a);
    if (check_key(r->key, err) < 0)
        return -1;
    if ((r->op == OP_IN || r->op == OP_NOT_IN) && r->n == 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "values: Invalid value: []: for 'in', 'notin' operators, values set can't "
                         "be empty");
    if ((r->op == OP_EXISTS || r->op == OP_NOT_EXISTS) && r->n)
        return error_set(err, ERR_BAD_REQUEST,
                         "values: Invalid value: values set must be empty for exists and does not "
                         "exist");
    make_set(r);
    return check_values(r, err);
}

const struct selector *selector_from_json(const struct json *label_selector, struct arena *a,
                                          struct error *err)
{
    struct selector *s = selector_new(a);
    if (!label_selector || label_selector->type == JSON_NULL) {
        s->is_nothing = true;
        return s;
    }
    if (add_map(s, json_get(label_selector, "matchLabels"), a, err) < 0)
        return NULL;
    json_each_item (json_get(label_selector, "matchExpressions"), e) {
        if (add_expression(s, e, a, err) < 0)
            return NULL;
    }
    sort_by_key(s, a);
    return s;
}

const struct selector *selector_from_map(const struct json *labels, struct arena *a)
{
    struct selector *s = selector_new(a);
    if (add_map(s, labels, a, NULL) < 0)
        return NULL; /* never: without an error nothing is checked */
    sort_by_key(s, a);
    return s;
}

/* ---- matching ---- */

static bool has_value(const struct requirement *r, const char *value)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->values[i], value) == 0)
            return true;
    return false;
}

static bool compares(const struct requirement *r, const char *value)
{
    int64_t left, right;
    if (!value || !parse_int(value, &left) || !parse_int(r->values[0], &right))
        return false;
    return r->op == OP_GREATER ? left > right : left < right;
}

static bool requirement_matches(const struct requirement *r, const struct json *labels)
{
    const char *value = json_text(json_get(labels, r->key));
    switch (r->op) {
    case OP_EXISTS:
        return value != NULL;
    case OP_NOT_EXISTS:
        return value == NULL;
    case OP_EQUALS:
    case OP_DOUBLE_EQUALS:
    case OP_IN:
        return value && has_value(r, value);
    case OP_NOT_EQUALS:
    case OP_NOT_IN:
        return !value || !has_value(r, value);
    case OP_GREATER:
    case OP_LESS:
        return compares(r, value);
    }
    return false;
}

bool selector_matches(const struct selector *s, const struct json *labels)
{
    for (size_t i = 0; i < s->n; i++)
        if (!requirement_matches(&s->items[i], labels))
            return false;
    return !s->is_nothing;
}

bool selector_is_empty(const struct selector *s)
{
    return s->n == 0 && !s->is_nothing;
}

/* ---- printing ---- */

static void print_requirement(const struct requirement *r, struct buffer *out)
{
    static const char *const between[] = {
        [OP_EQUALS] = "=", [OP_DOUBLE_EQUALS] = "==", [OP_NOT_EQUALS] = "!=",
        [OP_IN] = " in (", [OP_NOT_IN] = " notin (",  [OP_GREATER] = ">",
        [OP_LESS] = "<",
    };
    if (r->op == OP_NOT_EXISTS)
        buffer_add_char(out, '!');
    buffer_add_str(out, r->key);
    if (r->op <= OP_NOT_EXISTS)
        return;
    buffer_add_str(out, between[r->op]);
    for (size_t i = 0; i < r->n; i++)
        buffer_printf(out, "%s%s", i ? "," : "", r->values[i]);
    if (r->op == OP_IN || r->op == OP_NOT_IN)
        buffer_add_char(out, ')');
}

void selector_print(const struct selector *s, struct buffer *out)
{
    for (size_t i = 0; i < s->n; i++) {
        if (i)
            buffer_add_char(out, ',');
        print_requirement(&s->items[i], out);
    }
}
