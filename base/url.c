/* SPDX-License-Identifier: Apache-2.0 */
/* url.c - percent-encoding and queries, declared in base/http_server.h. */
#include "base/http_server.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int url_decode(struct bytes in, bool is_query, struct arena *a, struct bytes *out)
{
    char *text = arena_alloc(a, in.len + 1), *p = text;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.data[i];
        if (c == '+' && is_query) {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < in.len ? hex_digit(in.data[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(in.data[i + 2]) : -1;
            if (low < 0)
                return -1;
            c = (char)(high << 4 | low);
            i += 2;
        }
        *p++ = c;
    }
    *p = 0;
    *out = (struct bytes){ text, (size_t)(p - text) };
    return 0;
}

static bool is_unreserved(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("-_.~", c));
}

char *url_encode(struct bytes in, struct arena *a)
{
    static const char digits[] = "0123456789ABCDEF";
    char *text = arena_alloc(a, in.len * 3 + 1), *p = text;
    for (size_t i = 0; i < in.len; i++) {
        unsigned char c = (unsigned char)in.data[i];
        if (is_unreserved((char)c)) {
            *p++ = (char)c;
        } else {
            *p++ = '%';
            *p++ = digits[c >> 4];
            *p++ = digits[c & 15];
        }
    }
    *p = 0;
    return text;
}

/* Takes "name=value" off the front of QUERY.  False at its end. */
static bool next_pair(struct bytes *query, struct bytes *name, struct bytes *value)
{
    if (query->len == 0)
        return false;
    const char *and = memchr(query->data, '&', query->len);
    size_t len = and? (size_t)(and-query->data) : query->len;
    const char *equals = memchr(query->data, '=', len);
    *name = (struct bytes){ query->data, equals ? (size_t)(equals - query->data) : len };
    *value = equals ? (struct bytes){ equals + 1, len - name->len - 1 } : (struct bytes){ "", 0 };
    size_t used = and? len + 1 : len;
    query->data += used;
    query->len -= used;
    return true;
}

static bool name_is(struct bytes encoded, const char *name, struct arena *a)
{
    if (!memchr(encoded.data, '%', encoded.len) && !memchr(encoded.data, '+', encoded.len))
        return bytes_equal_str(encoded, name);
    struct bytes decoded;
    return url_decode(encoded, true, a, &decoded) == 0 && bytes_equal_str(decoded, name);
}

const char *query_get(struct bytes query, const char *name, size_t index, struct arena *a)
{
    struct bytes n, v;
    while (next_pair(&query, &n, &v)) {
        if (!name_is(n, name, a) || index-- > 0)
            continue;
        struct bytes decoded;
        /* A value that cannot be decoded counts as absent, as Go's url.ParseQuery drops it. */
        return url_decode(v, true, a, &decoded) == 0 ? decoded.data : NULL;
    }
    return NULL;
}

bool query_is_true(struct bytes query, const char *name, struct arena *a)
{
    const char *v = query_get(query, name, 0, a);
    return v && !str_equal(v, "0") && strcasecmp(v, "false") != 0;
}

int query_int(struct bytes query, const char *name, struct arena *a, int64_t *out,
              struct error *err)
{
    const char *text = query_get(query, name, 0, a);
    char *end;
    if (!text)
        return 0;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)*text) || errno)
        return error_set(err, ERR_BAD_REQUEST, "strconv.ParseInt: parsing \"%s\": %s", text,
                         errno == ERANGE ? "value out of range" : "invalid syntax");
    *out = v;
    return 0;
}
