/* SPDX-License-Identifier: Apache-2.0 */
/* formats.c - names, keys, numbers and addresses as text. */

#include "apiserver/formats.h"

#include <arpa/inet.h>

#include "base/bytes.h"

#define ENDS "and must start and end with an alphanumeric character"

#define SYSCTL_NAME_BYTES_MAX 253
#define SYSCTL_CHARACTERS     "abcdefghijklmnopqrstuvwxyz0123456789_-"

#define LABEL_TEXT                                                                                 \
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', " ENDS  \
    " (e.g. 'my-name',  or '123-abc', regex used for validation is "                               \
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
#define LABEL_1035_TEXT                                                                            \
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "   \
    "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or "           \
    "'abc-123', "                                                                                  \
    "regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
#define WILDCARD_TEXT                                                                              \
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, "      \
    "which "                                                                                       \
    "must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric " \
    "character (e.g. '*.example.com', regex used for validation is "                               \
    "'\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define CONFIG_KEY_TEXT                                                                            \
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "           \
    "'key.name', "                                                                                 \
    " or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"

/* Not ctype.h: these must not follow a locale. */
static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

const char *dns_label_fault(const char *s)
{
    size_t n = strlen(s);
    if (n > LABEL_BYTES_MAX)
        return "must be no more than 63 bytes";
    return is_dns_label((struct bytes){ s, n }) ? NULL : LABEL_TEXT;
}

const char *dns_1035_label_fault(const char *s)
{
    size_t n = strlen(s);
    if (n > LABEL_BYTES_MAX)
        return "must be no more than 63 bytes";
    return is_dns_label((struct bytes){ s, n }) && *s >= 'a' ? NULL : LABEL_1035_TEXT;
}

const char *dns_subdomain_fault(const char *s)
{
    size_t n = strlen(s);
    if (n > SUBDOMAIN_BYTES_MAX)
        return "must be no more than 253 bytes";
    return is_dns_subdomain((struct bytes){ s, n }) ? NULL : DNS_SUBDOMAIN_FAULT;
}

const char *wildcard_subdomain_fault(const char *s)
{
    size_t n = strlen(s);
    if (n > SUBDOMAIN_BYTES_MAX)
        return "must be no more than 253 bytes";
    return n > 2 && s[0] == '*' && s[1] == '.' && is_dns_subdomain((struct bytes){ s + 2, n - 2 })
               ? NULL
               : WILDCARD_TEXT;
}

const char *label_key_fault(const char *s)
{
    const char *faults[LABEL_FAULTS_MAX];
    return label_key_faults(s, faults) ? faults[0] : NULL;
}

const char *label_value_fault(const char *s)
{
    const char *faults[LABEL_FAULTS_MAX];
    return label_value_faults(s, faults) ? faults[0] : NULL;
}

const char *lower_label_key_fault(const char *s)
{
    char lower[SUBDOMAIN_BYTES_MAX + LABEL_BYTES_MAX + 2];
    size_t n = strlen(s);
    if (n >= sizeof(lower))
        return label_key_fault(s);
    for (size_t i = 0; i <= n; i++)
        lower[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] - 'A' + 'a' : s[i]);
    return label_key_fault(lower);
}

const char *path_segment_fault(const char *s)
{
    if (str_equal(s, "."))
        return "may not be '.'";
    if (str_equal(s, ".."))
        return "may not be '..'";
    if (strchr(s, '/'))
        return "may not contain '/'";
    return strchr(s, '%') ? "may not contain '%'" : NULL;
}

const char *config_key_fault(const char *s)
{
    if (strlen(s) > SUBDOMAIN_BYTES_MAX)
        return "must be no more than 253 bytes";
    for (const char *c = s; *c || c == s; c++) {
        if (!*c || (!is_alnum(*c) && !strchr("-_.", *c)))
            return CONFIG_KEY_TEXT;
    }
    if (str_equal(s, "."))
        return "must not be '.'";
    if (str_equal(s, ".."))
        return "must not be '..'";
    return str_has_prefix(s, "..") ? "must not start with '..'" : NULL;
}

const char *env_name_fault(const char *s)
{
    static const char text[] =
        "a valid environment variable name must consist only of printable ASCII "
        "characters other than '='";
    if (!*s)
        return "environment variable name must not be empty";
    for (const char *c = s; *c; c++) {
        if (*c < ' ' || *c > '~' || *c == '=')
            return text;
    }
    return NULL;
}

const char *port_name_fault(const char *s)
{
    size_t n = strlen(s);
    bool has_letter = false;
    if (n > 15)
        return "must be no more than 15 bytes";
    for (const char *c = s; *c; c++) {
        if (!is_lower_alnum(*c) && *c != '-')
            return "must contain only alphanumeric characters (a-z, 0-9), and hyphens (-)";
        has_letter |= *c >= 'a' && *c <= 'z';
    }
    if (!has_letter)
        return "must contain at least one letter (a-z)";
    if (strstr(s, "--"))
        return "must not contain consecutive hyphens";
    return s[0] == '-' || s[n - 1] == '-' ? "must not begin or end with a hyphen" : NULL;
}

const char *port_number_fault(int64_t v)
{
    return v >= 1 && v <= 65535 ? NULL : "must be between 1 and 65535, inclusive";
}

const char *percent_fault(const char *s)
{
    size_t digits = strspn(s, "0123456789");
    return digits > 0 && str_equal(s + digits, "%")
               ? NULL
               : "a valid percent string must be a numeric string followed by an ending '%' (e.g. "
                 "'1%',  or "
                 "'93%', regex used for validation is '[0-9]+%')";
}

const char *http_header_name_fault(const char *s)
{
    for (const char *c = s; *c || c == s; c++) {
        if (!*c || (!is_alnum(*c) && *c != '-'))
            return "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. "
                   "'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
    }
    return NULL;
}

const char *ip_fault(const char *s)
{
    unsigned char binary[16];
    if (inet_pton(AF_INET, s, binary) == 1 || inet_pton(AF_INET6, s, binary) == 1)
        return NULL;
    return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
}

const char *ipv4_fault(const char *s)
{
    unsigned char binary[4];
    return inet_pton(AF_INET, s, binary) == 1 ? NULL : "must be a valid IPv4 address";
}

const char *ipv6_fault(const char *s)
{
    unsigned char binary[16];
    return inet_pton(AF_INET6, s, binary) == 1 ? NULL : "must be a valid IPv6 address";
}

const char *endpoint_ip_fault(const char *s)
{
    static const unsigned char loopback6[16] = { [15] = 1 }, zeros[16] = { 0 };
    unsigned char ip[16] = { 0 };
    bool is_v4 = inet_pton(AF_INET, s, ip) == 1;
    if (!is_v4 && inet_pton(AF_INET6, s, ip) != 1)
        return ip_fault(s);
    if (memcmp(ip, zeros, sizeof(ip)) == 0)
        return "may not be unspecified (0.0.0.0 or ::)";
    if (is_v4 ? ip[0] == 127 : memcmp(ip, loopback6, sizeof(ip)) == 0)
        return "may not be in the loopback range (127.0.0.0/8, ::1/128)";
    if (is_v4 ? ip[0] == 169 && ip[1] == 254 : ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80)
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
    if (is_v4 ? ip[0] == 224 && !ip[1] && !ip[2] : ip[0] == 0xff && (ip[1] & 0x0f) == 2)
        return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
    return NULL;
}

const char *cidr_fault(const char *s)
{
    static const char text[] = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(s, '/');
    if (!slash || (size_t)(slash - s) >= sizeof(address))
        return text;
    snprintf(address, sizeof(address), "%.*s", (int)(slash - s), s);
    size_t digits = strspn(slash + 1, "0123456789");
    int bits = digits > 0 && digits <= 3 && !slash[1 + digits] ? atoi(slash + 1) : -1;
    if (ip_fault(address) || bits < 0 || bits > (strchr(address, ':') ? 128 : 32))
        return text;
    return NULL;
}

const char *id_fault(int64_t v)
{
    return v >= 0 && v <= INT32_MAX ? NULL : "must be between 0 and 2147483647, inclusive";
}

const char *relative_path_fault(const char *s)
{
    if (*s == '/')
        return "must be a relative path";
    for (const char *at = s; at; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || !at[2]))
            return "must not contain '..'";
    }
    return NULL;
}

const char *domain_prefixed_path_fault(const char *s)
{
    const char *slash = strchr(s, '/');
    if (!slash || slash == s || !slash[1])
        return "must be a domain-prefixed path (such as \"acme.io/foo\")";
    if (!is_dns_subdomain((struct bytes){ s, (size_t)(slash - s) }))
        return DNS_SUBDOMAIN_FAULT;
    for (const char *c = slash + 1; *c; c++) {
        if (!is_alnum(*c) && !strchr("/-._~%!$&'()*+,;=:", *c))
            return "Invalid path (regex used for validation is "
                   "'[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
    }
    return NULL;
}

/* Segments that begin and end with a letter or digit, with dots or slashes between. */
const char *sysctl_name_fault(const char *s)
{
    static const char fault[] = "must have at most 253 characters and match regex "
                                "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*"
                                "[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    if (strlen(s) > SYSCTL_NAME_BYTES_MAX)
        return fault;
    for (;;) {
        size_t n = strcspn(s, "./");
        if (n == 0 || strspn(s, SYSCTL_CHARACTERS) < n || !is_lower_alnum(s[0]) ||
            !is_lower_alnum(s[n - 1]))
            return fault;
        if (!s[n])
            return NULL;
        s += n + 1;
    }
}

const char *driver_name_fault(const char *s)
{
    char lower[LABEL_BYTES_MAX + 1];
    size_t n = strlen(s);
    if (n > LABEL_BYTES_MAX)
        return NULL; /* too long is an error of another type */
    for (size_t i = 0; i <= n; i++)
        lower[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] - 'A' + 'a' : s[i]);
    return dns_subdomain_fault(lower);
}

const char *backsteps_fault(const char *path)
{
    return relative_path_fault(*path == '/' ? path + 1 : path);
}
