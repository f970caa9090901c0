/* SPDX-License-Identifier: Apache-2.0 */
/* label_syntax.c - the form of label keys and values. */
#include "api/label_syntax.h"

#define NAME_BYTES_MAX   63
#define PREFIX_BYTES_MAX 253

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Letters and digits, with '-', '_' and '.' between them. */
static bool is_name(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || !is_alphanumeric(s[0]) || !is_alphanumeric(s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_alphanumeric(s[i]) && !strchr("-_.", s[i]))
            return false;
    return true;
}

static bool is_lower(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_dns_subdomain(struct bytes s)
{
    bool after_letter = false; /* a label begins and ends with a letter or digit */
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (is_lower(c))
            after_letter = true;
        else if (c == '.' && after_letter && i + 1 < s.len && is_lower(s.data[i + 1]))
            after_letter = false;
        else if (c != '-' || i == 0 || s.data[i - 1] == '.' || i + 1 == s.len ||
                 s.data[i + 1] == '.')
            return false;
    }
    return s.len > 0;
}

static void add_reason(struct buffer *why, bool *is_valid, const char *what, const char *reason)
{
    *is_valid = false;
    if (why)
        buffer_printf(why, "%s%s%s", why->len ? "; " : "", what, reason);
}

bool label_key_is_valid(const char *key, struct buffer *why)
{
    bool ok = true;
    const char *name = key, *slash = strchr(key, '/');
    if (slash && strchr(slash + 1, '/')) {
        add_reason(why, &ok, "",
                   "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and "
                   "must start and end with an alphanumeric character (e.g. 'MyName',  or "
                   "'my.name',  or '123-abc', regex used for validation is "
                   "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain "
                   "prefix and '/' (e.g. 'example.com/MyName')");
        return ok;
    }
    if (slash) {
        struct bytes prefix = { key, (size_t)(slash - key) };
        name = slash + 1;
        if (prefix.len == 0)
            add_reason(why, &ok, "prefix part ", "must be non-empty");
        else if (prefix.len > PREFIX_BYTES_MAX)
            add_reason(why, &ok, "prefix part ", "must be no more than 253 bytes");
        if (prefix.len && !is_dns_subdomain(prefix))
            add_reason(why, &ok, "prefix part ",
                       "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "
                       "characters, '-' or '.', and must start and end with an alphanumeric "
                       "character (e.g. 'example.com', regex used for validation is "
                       "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
    }
    if (!*name)
        add_reason(why, &ok, "name part ", "must be non-empty");
    else if (strlen(name) > NAME_BYTES_MAX)
        add_reason(why, &ok, "name part ", "must be no more than 63 bytes");
    if (!is_name(name))
        add_reason(why, &ok, "name part ",
                   "must consist of alphanumeric characters, '-', '_' or '.', and must start and "
                   "end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
                   "'123-abc', regex used for validation is "
                   "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')");
    return ok;
}

bool label_value_is_valid(const char *value, struct buffer *why)
{
    bool ok = true;
    if (strlen(value) > NAME_BYTES_MAX)
        add_reason(why, &ok, "", "must be no more than 63 bytes");
    if (*value && !is_name(value))
        add_reason(why, &ok, "",
                   "a valid label must be an empty string or consist of alphanumeric characters, "
                   "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
                   "'MyValue',  or 'my_value',  or '12345', regex used for validation is "
                   "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')");
    return ok;
}
