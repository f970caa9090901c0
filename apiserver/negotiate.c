/* SPDX-License-Identifier: Apache-2.0 */
/* negotiate.c - the Accept header, clause by clause. */
#include "apiserver/negotiate.h"

#include "base/http_server.h"

struct clause {
    struct bytes type; /* "application/json" */
    struct bytes as, group, version;
    double quality;
};

static struct bytes trim(struct bytes b)
{
    while (b.len > 0 && (*b.data == ' ' || *b.data == '\t'))
        b = (struct bytes){ b.data + 1, b.len - 1 };
    while (b.len > 0 && (b.data[b.len - 1] == ' ' || b.data[b.len - 1] == '\t'))
        b.len--;
    return b;
}

/* Cuts *REST at the first SEPARATOR and returns what came before it. */
static struct bytes cut(struct bytes *rest, char separator)
{
    const char *at = memchr(rest->data, separator, rest->len);
    size_t n = at ? (size_t)(at - rest->data) : rest->len;
    struct bytes part = { rest->data, n };
    size_t used = at ? n + 1 : n;
    *rest = (struct bytes){ rest->data + used, rest->len - used };
    return trim(part);
}

static struct clause parse_clause(struct bytes text)
{
    struct clause c = { .quality = 1 };
    c.type = cut(&text, ';');
    while (text.len > 0) {
        struct bytes parameter = cut(&text, ';');
        struct bytes name = cut(&parameter, '=');
        struct bytes value = trim(parameter);
        if (bytes_equal_str(name, "as"))
            c.as = value;
        else if (bytes_equal_str(name, "g"))
            c.group = value;
        else if (bytes_equal_str(name, "v"))
            c.version = value;
        else if (bytes_equal_str(name, "q")) {
            char number[16];
            snprintf(number, sizeof(number), "%.*s", (int)value.len, value.data);
            c.quality = strtod(number, NULL);
        }
    }
    return c;
}

static bool is_any(struct bytes type)
{
    return bytes_equal_str(type, "*/*") || bytes_equal_str(type, "application/*");
}

static bool serve_form(const struct clause *c, struct answer_type *out)
{
    if (c->as.len == 0) {
        out->form = ANSWER_OBJECT;
        return true;
    }
    if (!bytes_equal_str(c->group, "meta.k8s.io"))
        return false;
    if (bytes_equal_str(c->version, "v1"))
        out->meta_version = "meta.k8s.io/v1";
    else if (bytes_equal_str(c->version, "v1beta1"))
        out->meta_version = "meta.k8s.io/v1beta1";
    else
        return false;
    if (bytes_equal_str(c->as, "Table"))
        out->form = ANSWER_TABLE;
    else if (bytes_equal_str(c->as, "PartialObjectMetadata"))
        out->form = ANSWER_METADATA;
    else if (bytes_equal_str(c->as, "PartialObjectMetadataList"))
        out->form = ANSWER_METADATA_LIST;
    else
        return false;
    return true;
}

static bool serve_clause(const struct clause *c, bool is_watch, struct answer_type *out)
{
    bool is_json = bytes_equal_str(c->type, "application/json");
    bool is_yaml = bytes_equal_str(c->type, "application/yaml") && !is_watch;
    if (!is_json && !is_yaml && !is_any(c->type))
        return false;
    *out = (struct answer_type){ .text = is_yaml ? ANSWER_YAML : ANSWER_JSON };
    return serve_form(c, out);
}

int negotiate(struct bytes accept, bool is_watch, struct answer_type *out, struct error *err)
{
    *out = (struct answer_type){ 0 };
    if (accept.len == 0)
        return 0;
    double best = 0;
    while (accept.len > 0) {
        struct answer_type type;
        struct clause c = parse_clause(cut(&accept, ','));
        if (c.quality > best && serve_clause(&c, is_watch, &type)) {
            best = c.quality;
            *out = type;
        }
    }
    if (best > 0)
        return 0;
    return error_set(err, ERR_NOT_ACCEPTABLE,
                     "only the following media types are accepted: application/json%s",
                     is_watch ? ", application/json;stream=watch" : ", application/yaml");
}

/* Upstream looks for this word alone, and at no quality. */
bool negotiate_gzip(struct bytes accept_encoding)
{
    while (accept_encoding.len > 0)
        if (bytes_equal_str(cut(&accept_encoding, ','), "gzip"))
            return true;
    return false;
}

bool negotiate_pretty(struct bytes query, const char *user_agent, struct arena *a)
{
    static const char *const peoples[] = { "curl", "Wget", "Mozilla/5.0" };
    static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };
    const char *asked = query.len > 0 ? query_get(query, "pretty", 0, a) : NULL;
    for (size_t i = 0; !str_empty(asked) && i < ARRAY_LEN(yes); i++)
        if (str_equal(asked, yes[i]))
            return true;
    if (!str_empty(asked))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(peoples); i++)
        if (bytes_has_prefix(bytes_of(user_agent), bytes_of(peoples[i])))
            return true;
    return false;
}
