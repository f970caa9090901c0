/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_error.c - finds the first fault of a text that the parser has refused.
 *
 * The parser knows that something is wrong, clients want to read what upstream would have said.
 * So the grammar is walked once more, on this cold path only.
 */
#include "base/json_error.h"

#include "base/limits.h"

struct scan {
    const unsigned char *p;
    const unsigned char *end;
    int depth;
    struct error *err;
};

/* Prints the byte at P as Go quotes a character. */
static void quote_char(unsigned char c, char out[16])
{
    static const char escapes[] = "\aa\bb\ff\nn\rr\tt\vv";
    for (const char *e = escapes; *e; e += 2)
        if (c == (unsigned char)e[0]) {
            snprintf(out, 16, "'\\%c'", e[1]);
            return;
        }
    if (c == '\'' || c == '\\')
        snprintf(out, 16, "'\\%c'", c);
    else if (c < 0x20 || c == 0x7f)
        snprintf(out, 16, "'\\x%02x'", c);
    else if (c < 0x80)
        snprintf(out, 16, "'%c'", c);
    else if (c < 0xa1 || c == 0xad) /* not printable */
        snprintf(out, 16, "'\\u%04x'", c);
    else
        snprintf(out, 16, "'%c%c'", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
}

/* False with the message set: the character at P, or the end of the text, is not what CONTEXT
 * needs. */
static bool bad(struct scan *s, const char *context)
{
    char quoted[16];
    if (s->p >= s->end) {
        error_set(s->err, ERR_BAD_REQUEST, "unexpected end of JSON input");
        return false;
    }
    quote_char(*s->p, quoted);
    error_set(s->err, ERR_BAD_REQUEST, "invalid character %s %s", quoted, context);
    return false;
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static bool at(const struct scan *s, unsigned char c)
{
    return s->p < s->end && *s->p == c;
}

static bool at_digit(const struct scan *s)
{
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static bool at_hex(const struct scan *s)
{
    return at_digit(s) ||
           (s->p < s->end && ((*s->p >= 'a' && *s->p <= 'f') || (*s->p >= 'A' && *s->p <= 'F')));
}

static bool scan_string(struct scan *s)
{
    for (s->p++; !at(s, '"'); s->p++) {
        if (s->p >= s->end || *s->p < 0x20)
            return bad(s, "in string literal");
        if (*s->p != '\\')
            continue;
        s->p++;
        if (at(s, 'u')) {
            for (int i = 0; i < 4; i++) {
                s->p++;
                if (!at_hex(s))
                    return bad(s, "in \\u hexadecimal character escape");
            }
        } else if (s->p >= s->end || !*s->p || !strchr("\"\\/bfnrt", *s->p)) {
            return bad(s, "in string escape code");
        }
    }
    s->p++;
    return true;
}

static bool scan_number(struct scan *s)
{
    if (at(s, '-'))
        s->p++;
    if (!at_digit(s))
        return bad(s, "in numeric literal");
    if (at(s, '0'))
        s->p++;
    else
        while (at_digit(s))
            s->p++;
    if (at(s, '.')) {
        s->p++;
        if (!at_digit(s))
            return bad(s, "after decimal point in numeric literal");
        while (at_digit(s))
            s->p++;
    }
    if (at(s, 'e') || at(s, 'E')) {
        s->p++;
        if (at(s, '+') || at(s, '-'))
            s->p++;
        if (!at_digit(s))
            return bad(s, "in exponent of numeric literal");
        while (at_digit(s))
            s->p++;
    }
    return true;
}

static bool scan_literal(struct scan *s, const char *word)
{
    for (size_t i = 0; word[i]; i++, s->p++)
        if (!at(s, (unsigned char)word[i])) {
            char context[64];
            snprintf(context, sizeof(context), "in literal %s (expecting '%c')", word, word[i]);
            return bad(s, context);
        }
    return true;
}

static bool scan_value(struct scan *s);

static bool scan_object(struct scan *s)
{
    s->p++;
    skip_space(s);
    if (at(s, '}')) {
        s->p++;
        return true;
    }
    for (;;) {
        skip_space(s);
        if (!at(s, '"'))
            return bad(s, "looking for beginning of object key string");
        if (!scan_string(s))
            return false;
        skip_space(s);
        if (!at(s, ':'))
            return bad(s, "after object key");
        s->p++;
        if (!scan_value(s))
            return false;
        skip_space(s);
        if (!at(s, ',') && !at(s, '}'))
            return bad(s, "after object key:value pair");
        if (*s->p++ == '}')
            return true;
    }
}

static bool scan_array(struct scan *s)
{
    s->p++;
    skip_space(s);
    if (at(s, ']')) {
        s->p++;
        return true;
    }
    for (;;) {
        if (!scan_value(s))
            return false;
        skip_space(s);
        if (!at(s, ',') && !at(s, ']'))
            return bad(s, "after array element");
        if (*s->p++ == ']')
            return true;
    }
}

static bool scan_container(struct scan *s)
{
    if (++s->depth > JSON_DEPTH_MAX) {
        error_set(s->err, ERR_BAD_REQUEST, "exceeded max depth");
        return false;
    }
    bool ok = *s->p == '{' ? scan_object(s) : scan_array(s);
    s->depth--;
    return ok;
}

static bool scan_value(struct scan *s)
{
    skip_space(s);
    if (at(s, '{') || at(s, '['))
        return scan_container(s);
    if (at(s, '"'))
        return scan_string(s);
    if (at(s, '-') || at_digit(s))
        return scan_number(s);
    if (at(s, 't'))
        return scan_literal(s, "true");
    if (at(s, 'f'))
        return scan_literal(s, "false");
    if (at(s, 'n'))
        return scan_literal(s, "null");
    return bad(s, "looking for beginning of value");
}

int json_error_explain(struct bytes text, struct error *err)
{
    const unsigned char *p = (const unsigned char *)text.data;
    struct scan s = { .p = p, .end = p + text.len, .err = err };
    if (!scan_value(&s))
        return -1;
    skip_space(&s);
    if (s.p < s.end) {
        bad(&s, "after top-level value");
        return -1;
    }
    return error_set(err, ERR_BAD_REQUEST, "invalid UTF-8 in JSON text");
}
