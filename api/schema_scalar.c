/* SPDX-License-Identifier: Apache-2.0 */
/* schema_scalar.c - times, quantities and base64 text, checked and made canonical. */
#include "api/schema_scalar.h"

#include <ctype.h>

#include "api/quantity.h"
#include "base/clock.h"

static void set_text(struct json *v, struct arena *arena, const char *text)
{
    if (v->type != JSON_STRING || strcmp(v->string, text) != 0)
        *v = json_string_value(arena, text);
}

/* ---- times ---- */

/* RFC 3339 as Go's time.Parse goes through it: each element with the range of its number. */
static const struct time_element {
    const char *layout; /* how Go's message names it */
    char separator;     /* instead of a number */
    int digits, min, max;
    const char *name; /* in "month out of range" */
} time_elements[] = {
    { "2006", 0, 4, 0, 9999, "year" }, { "-", '-', 0, 0, 0, NULL },
    { "01", 0, 2, 1, 12, "month" },    { "-", '-', 0, 0, 0, NULL },
    { "02", 0, 2, 1, 31, "day" },      { "T", 'T', 0, 0, 0, NULL },
    { "15", 0, 2, 0, 23, "hour" },     { ":", ':', 0, 0, 0, NULL },
    { "04", 0, 2, 0, 59, "minute" },   { ":", ':', 0, 0, 0, NULL },
    { "05", 0, 2, 0, 59, "second" },
};

static int time_error(const char *text, struct error *err)
{
    const char *rest = text;
    for (size_t i = 0; i < sizeof(time_elements) / sizeof(time_elements[0]); i++) {
        const struct time_element *e = &time_elements[i];
        int number = 0, n = 0;
        while (n < e->digits && isdigit((unsigned char)rest[n]))
            number = number * 10 + (rest[n++] - '0');
        if (e->separator ? *rest != e->separator : n < e->digits)
            return error_set(err, ERR_BAD_REQUEST,
                             "parsing time \"%s\" as \"2006-01-02T15:04:05Z07:00\": cannot parse "
                             "\"%s\" as \"%s\"",
                             text, rest, e->layout);
        if (!e->separator && (number < e->min || number > e->max))
            return error_set(err, ERR_BAD_REQUEST, "parsing time \"%s\": %s out of range", text,
                             e->name);
        rest += e->separator ? 1 : n;
    }
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (*rest == 'Z' || !*rest || (*rest != '+' && *rest != '-'))
        return *rest == 'Z' ? error_set(err, ERR_BAD_REQUEST,
                                        "parsing time \"%s\": extra text: \"%s\"", text, rest + 1)
                            : error_set(err, ERR_BAD_REQUEST,
                                        "parsing time \"%s\" as \"2006-01-02T15:04:05Z07:00\": "
                                        "cannot parse \"%s\" as \"Z07:00\"",
                                        text, rest);
    return error_set(err, ERR_BAD_REQUEST, "parsing time \"%s\": day out of range", text);
}

int scalar_time(struct json *v, bool is_micro, struct arena *arena, struct error *err)
{
    int64_t ns;
    if (time_parse(v->string, &ns) < 0)
        return time_error(v->string, err);
    char text[TIME_TEXT_BYTES];
    if (is_micro)
        time_format_micro(ns, text);
    else
        time_format(ns, text);
    set_text(v, arena, text);
    return 0;
}

int scalar_duration(struct json *v, struct arena *arena, struct error *err)
{
    int64_t ns;
    if (duration_parse(v->string, &ns) < 0)
        return error_set(err, ERR_BAD_REQUEST, "time: invalid duration \"%s\"", v->string);
    char text[TIME_TEXT_BYTES];
    duration_format(ns, text);
    set_text(v, arena, text);
    return 0;
}

/* ---- base64 ---- */

static bool is_base64(char c)
{
    return isalnum((unsigned char)c) || c == '+' || c == '/';
}

static size_t skip_line_ends(const char *s, size_t at, size_t len)
{
    while (at < len && (s[at] == '\n' || s[at] == '\r'))
        at++;
    return at;
}

/* Where Go's decoder finds fault with the text, or LEN if it does not. */
static size_t base64_fault(const char *s, size_t len)
{
    size_t at = 0, in_quantum = 0;
    while ((at = skip_line_ends(s, at, len)) < len) {
        if (is_base64(s[at])) {
            in_quantum = (in_quantum + 1) % 4;
            at++;
            continue;
        }
        if (s[at] != '=' || in_quantum < 2)
            return at;
        size_t next = skip_line_ends(s, at + 1, len);
        if (in_quantum == 2) { /* this pad wants another */
            if (next == len)
                return SIZE_MAX;
            if (s[next] != '=')
                return next;
            next = skip_line_ends(s, next + 1, len);
        }
        return next; /* LEN, or garbage behind the padding */
    }
    return in_quantum ? len - in_quantum : len;
}

int scalar_bytes(struct json *v, struct arena *arena, struct error *err)
{
    size_t len = v->len;
    size_t fault = base64_fault(v->string, len);
    if (fault != len)
        return error_set(err, ERR_BAD_REQUEST, "illegal base64 data at input byte %zu",
                         fault == SIZE_MAX ? len : fault);
    if (!memchr(v->string, '\n', len) && !memchr(v->string, '\r', len))
        return 0;

    char *text = arena_alloc(arena, len + 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        if (v->string[i] != '\n' && v->string[i] != '\r')
            text[n++] = v->string[i];
    text[n] = '\0';
    v->string = text;
    v->len = (uint32_t)n;
    return 0;
}

/* ---- quantities ---- */

static int quantity_error(const char *text, struct error *err)
{
    const char *s = text + (*text == '+' || *text == '-');
    size_t digits = strspn(s, "0123456789.");
    const char *suffix = s + digits;
    const char *end = suffix + strspn(suffix, "eEinumkKMGTP");
    end += *end == '+' || *end == '-';
    end += strspn(end, "0123456789");
    if (!digits || *end)
        return error_set(err, ERR_BAD_REQUEST,
                         "quantities must match the regular expression "
                         "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
    size_t whole = strspn(s, "0123456789");
    if (whole < digits && memchr(s + whole + 1, '.', digits - whole - 1))
        return error_set(err, ERR_BAD_REQUEST, "unable to parse numeric part of quantity");
    return error_set(err, ERR_BAD_REQUEST, "unable to parse quantity's suffix");
}

static void round_up_to_milli(struct quantity *q)
{
    const __int128 milli = 1000 * 1000; /* nano */
    __int128 rest = q->nano % milli;
    if (rest > 0)
        q->nano += milli - rest;
    else
        q->nano -= rest;
}

int scalar_quantity(struct json *v, bool is_milli, struct arena *arena, struct error *err)
{
    scoped(buffer) struct buffer number = { 0 };
    const char *text = json_text(v);
    if (!text) {
        json_print(v, &number);
        text = number.data;
    }
    struct quantity q;
    if (quantity_parse(text, &q) < 0)
        return quantity_error(text, err);
    if (is_milli)
        round_up_to_milli(&q);
    set_text(v, arena, quantity_print(&q, arena));
    return 0;
}
