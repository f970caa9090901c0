/* SPDX-License-Identifier: Apache-2.0 */
/* json_print.c - trees to text, byte for byte as Go's encoding/json writes it. */
#include "base/json.h"

#include <float.h>
#include <math.h>

#include "base/utf8.h"

/* What to do with each byte of a string: 0 copy it, 'u' \u00XX, 8 look at the UTF-8 sequence, else
 * the letter of its escape.  '<', '>' and '&' are escaped because Go does. */
static const unsigned char escapes[256] = {
    // clang-format off
    [0x00 ... 0x07] = 'u', ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', [0x0b] = 'u', ['\f'] = 'f',
    ['\r'] = 'r', [0x0e ... 0x1f] = 'u', ['"'] = '"', ['\\'] = '\\', ['<'] = 'u', ['>'] = 'u',
    ['&'] = 'u', [0x80 ... 0xff] = 8,
    // clang-format on
};

/* Adds the escaped form of what is at P and returns the bytes it stands for. */
static size_t add_escape(const char *p, const char *end, struct buffer *out)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char c = (unsigned char)*p;
    if (escapes[c] == 'u') {
        char text[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };
        buffer_add(out, text, 6);
        return 1;
    }
    if (escapes[c] != 8) {
        char text[2] = { '\\', (char)escapes[c] };
        buffer_add(out, text, 2);
        return 1;
    }
    size_t n = utf8_sequence(p, end);
    if (n == 0 && end - p >= 2 && memcmp(p, "\xc0\x80", 2) == 0) { /* a NUL in a member's name */
        buffer_add(out, "\\u0000", 6);
        return 2;
    }
    if (n == 0) {
        buffer_add(out, "\\ufffd", 6);
        return 1;
    }
    /* U+2028 and U+2029 end a line in JavaScript. */
    if (n == 3 && memcmp(p, "\xe2\x80", 2) == 0 && ((unsigned char)p[2] & 0xfe) == 0xa8)
        buffer_add(out, p[2] & 1 ? "\\u2029" : "\\u2028", 6);
    else
        buffer_add(out, p, n);
    return n;
}

void json_print_string(struct bytes s, struct buffer *out)
{
    buffer_reserve(out, s.len + 2);
    out->data[out->len++] = '"';
    const char *p = s.data, *end = p + s.len;
    while (p < end) {
        const char *run = p;
        while (p < end && !escapes[(unsigned char)*p])
            p++;
        if (p > run)
            buffer_add(out, run, (size_t)(p - run));
        if (p < end)
            p += add_escape(p, end, out);
    }
    buffer_add_char(out, '"');
}

/* The fewest digits that read back as V: DIGITS of them and the decimal EXPONENT of the first. */
static void shortest(double v, char digits[32], int *exponent)
{
    char text[40];
    /* 15 digits survive any round trip, except where a number has fewer bits: below DBL_MIN. */
    for (int precision = v < DBL_MIN ? 0 : 14; precision <= 16; precision++) {
        snprintf(text, sizeof(text), "%.*e", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    char *e = strchr(text, 'e');
    *exponent = atoi(e + 1);
    size_t n = 0;
    for (const char *p = text; p < e; p++)
        if (*p != '.')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = 0;
}

/* Go's form: plain decimals between 1e-6 and 1e21, else an exponent without padding. */
static void print_double(double v, struct buffer *out)
{
    if (!isfinite(v)) { /* JSON has no such number; no parser makes one */
        buffer_add_str(out, "null");
        return;
    }
    if (signbit(v)) {
        buffer_add_char(out, '-');
        v = -v;
    }
    char digits[32];
    int exponent;
    shortest(v, digits, &exponent);
    int n = (int)strlen(digits);
    if (v != 0 && (v < 1e-6 || v >= 1e21)) {
        buffer_add_char(out, digits[0]);
        if (n > 1)
            buffer_printf(out, ".%s", digits + 1);
        buffer_printf(out, "e%c%d", exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        buffer_printf(out, "0.%.*s%s", -exponent - 1, "00000", digits);
    } else if (n <= exponent + 1) {
        buffer_printf(out, "%s%.*s", digits, exponent + 1 - n, "000000000000000000000");
    } else {
        buffer_printf(out, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
    }
}

static void new_line(struct buffer *out, int indent)
{
    buffer_reserve(out, (size_t)indent + 1);
    out->data[out->len++] = '\n';
    memset(out->data + out->len, ' ', (size_t)indent);
    out->len += (size_t)indent;
    out->data[out->len] = 0;
}

/* INDENT: of the line that V is on; below 0: all on one line. */
static void print(const struct json *v, int indent, struct buffer *out);

static void print_array(const struct json *v, int indent, struct buffer *out)
{
    int inner = indent < 0 ? indent : indent + 2;
    buffer_add_char(out, '[');
    for (size_t i = 0; i < v->len; i++) {
        if (i)
            buffer_add_char(out, ',');
        if (indent >= 0)
            new_line(out, inner);
        print(&v->items[i], inner, out);
    }
    if (indent >= 0 && v->len)
        new_line(out, indent);
    buffer_add_char(out, ']');
}

static void print_object(const struct json *v, int indent, struct buffer *out)
{
    int inner = indent < 0 ? indent : indent + 2;
    buffer_add_char(out, '{');
    for (size_t i = 0; i < v->len; i++) {
        if (i)
            buffer_add_char(out, ',');
        if (indent >= 0)
            new_line(out, inner);
        json_print_string(bytes_of(v->members[i].name), out);
        if (indent >= 0)
            buffer_add(out, ": ", 2);
        else
            buffer_add_char(out, ':');
        print(&v->members[i].value, inner, out);
    }
    if (indent >= 0 && v->len)
        new_line(out, indent);
    buffer_add_char(out, '}');
}

static void print(const struct json *v, int indent, struct buffer *out)
{
    switch ((enum json_type)v->type) {
    case JSON_NULL:
        buffer_add(out, "null", 4);
        break;
    case JSON_BOOL:
        buffer_add_str(out, v->boolean ? "true" : "false");
        break;
    case JSON_INT:
        buffer_add_int(out, v->integer);
        break;
    case JSON_DOUBLE:
        print_double(v->number, out);
        break;
    case JSON_STRING:
        json_print_string((struct bytes){ v->string, v->len }, out);
        break;
    case JSON_ARRAY:
        print_array(v, indent, out);
        break;
    case JSON_OBJECT:
        print_object(v, indent, out);
        break;
    }
}

void json_print(const struct json *v, struct buffer *out)
{
    print(v, -1, out);
}

void json_print_pretty(const struct json *v, struct buffer *out)
{
    print(v, 0, out);
}
