/* SPDX-License-Identifier: Apache-2.0 */
/* label_syntax.c - the form of DNS names, label keys and label values. */
#include "api/label_syntax.h"

#define NAME_PART_FAULT                                                                            \
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "    \
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "         \
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
#define VALUE_FAULT                                                                                \
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "    \
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "             \
    "'my_value',  or '12345', regex used for validation is "                                       \
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

bool is_dns_label(struct bytes s)
{
    if (s.len == 0 || !is_lower_alnum(s.data[0]) || !is_lower_alnum(s.data[s.len - 1]))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_lower_alnum(s.data[i]) && s.data[i] != '-')
            return false;
    }
    return true;
}

bool is_dns_subdomain(struct bytes s)
{
    for (;;) {
        const char *dot = s.len ? memchr(s.data, '.', s.len) : NULL;
        struct bytes label = { s.data, dot ? (size_t)(dot - s.data) : s.len };
        if (!is_dns_label(label))
            return false;
        if (!dot)
            return true;
        s = (struct bytes){ dot + 1, s.len - label.len - 1 };
    }
}

/* Letters and digits, with '-', '_' and '.' between them. */
static bool is_name_part(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || !is_alnum(s[0]) || !is_alnum(s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_alnum(s[i]) && !strchr("-_.", s[i]))
            return false;
    }
    return true;
}

size_t label_key_faults(const char *key, const char *faults[LABEL_FAULTS_MAX])
{
    size_t n = 0;
    const char *slash = strchr(key, '/'), *name = slash ? slash + 1 : key;
    if (slash && strchr(name, '/')) {
        faults[0] = "a qualified name " NAME_PART_FAULT
                    " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
        return 1;
    }
    struct bytes prefix = { key, slash ? (size_t)(slash - key) : 0 };
    if (slash && prefix.len == 0)
        faults[n++] = "prefix part must be non-empty";
    if (prefix.len > SUBDOMAIN_BYTES_MAX)
        faults[n++] = "prefix part must be no more than 253 bytes";
    if (prefix.len && !is_dns_subdomain(prefix))
        faults[n++] = "prefix part " DNS_SUBDOMAIN_FAULT;
    if (!*name)
        faults[n++] = "name part must be non-empty";
    else if (strlen(name) > LABEL_BYTES_MAX)
        faults[n++] = "name part must be no more than 63 bytes";
    if (!is_name_part(name))
        faults[n++] = "name part " NAME_PART_FAULT;
    return n;
}

size_t label_value_faults(const char *value, const char *faults[LABEL_FAULTS_MAX])
{
    size_t n = 0;
    if (strlen(value) > LABEL_BYTES_MAX)
        faults[n++] = "must be no more than 63 bytes";
    if (*value && !is_name_part(value))
        faults[n++] = VALUE_FAULT;
    return n;
}

static bool join(const char *const *faults, size_t n, struct buffer *why)
{
    for (size_t i = 0; i < n; i++)
        buffer_printf(why, "%s%s", i ? "; " : "", faults[i]);
    return n == 0;
}

bool label_key_is_valid(const char *key, struct buffer *why)
{
    const char *faults[LABEL_FAULTS_MAX];
    return join(faults, label_key_faults(key, faults), why);
}

bool label_value_is_valid(const char *value, struct buffer *why)
{
    const char *faults[LABEL_FAULTS_MAX];
    return join(faults, label_value_faults(value, faults), why);
}
