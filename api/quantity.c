/* SPDX-License-Identifier: Apache-2.0 */
/* quantity.c - resource quantities: reading, arithmetic and upstream's canonical text. */
#include "api/quantity.h"

#define NANO          1000000000
#define VALUE_MAX     INT64_MAX /* upstream's cap on parsing, in whole units */
#define EXPONENT_MAX  1000000   /* beyond any digit string's reach, within an int's */
#define DIGITS_BEHIND 18        /* decimals kept before rounding up */

static const struct {
    const char *name;
    uint8_t format;
    int8_t exponent; /* of 10, or of 2 in the binary format */
} suffixes[] = {
    // clang-format off
    { "",   QUANTITY_DECIMAL_SI, 0 },
    { "n",  QUANTITY_DECIMAL_SI, -9 }, { "u",  QUANTITY_DECIMAL_SI, -6 },
    { "m",  QUANTITY_DECIMAL_SI, -3 }, { "k",  QUANTITY_DECIMAL_SI, 3 },
    { "M",  QUANTITY_DECIMAL_SI, 6 },  { "G",  QUANTITY_DECIMAL_SI, 9 },
    { "T",  QUANTITY_DECIMAL_SI, 12 }, { "P",  QUANTITY_DECIMAL_SI, 15 },
    { "E",  QUANTITY_DECIMAL_SI, 18 },
    { "Ki", QUANTITY_BINARY_SI, 10 },  { "Mi", QUANTITY_BINARY_SI, 20 },
    { "Gi", QUANTITY_BINARY_SI, 30 },  { "Ti", QUANTITY_BINARY_SI, 40 },
    { "Pi", QUANTITY_BINARY_SI, 50 },  { "Ei", QUANTITY_BINARY_SI, 60 },
    // clang-format on
};

/* ---- reading ---- */

static int find_suffix(const char *text, uint8_t *format, int *exponent)
{
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (strcmp(suffixes[i].name, text) == 0) {
            *format = suffixes[i].format;
            *exponent = suffixes[i].exponent;
            return 0;
        }
    if (*text != 'e' && *text != 'E')
        return -1;
    const char *p = text + 1;
    bool is_negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    if (!*p)
        return -1;
    int v = 0;
    for (; *p; p++) {
        if (*p < '0' || *p > '9')
            return -1;
        if (v < EXPONENT_MAX)
            v = v * 10 + (*p - '0');
    }
    if (v > EXPONENT_MAX)
        v = EXPONENT_MAX;
    *format = QUANTITY_DECIMAL_EXPONENT;
    *exponent = is_negative ? -v : v;
    return 0;
}

/* The digits of a number without its point. */
struct digits {
    const char *text;
    long n;     /* digits, the point not counted */
    long point; /* how many stand before it; may lie outside of them after a shift */
    const char *dot;
};

static int digit_at(const struct digits *d, long i)
{
    if (i < 0 || i >= d->n)
        return 0;
    const char *p = d->text + i;
    if (d->dot && p >= d->dot)
        p++;
    return *p - '0';
}

static struct digits scan_digits(const char *text, const char **end)
{
    struct digits d = { .text = text };
    const char *p = text;
    for (; (*p >= '0' && *p <= '9') || (*p == '.' && !d.dot); p++) {
        if (*p == '.')
            d.dot = p;
        else
            d.n++;
    }
    d.point = d.dot ? d.dot - text : d.n;
    *end = p;
    return d;
}

static bool is_all_zero(const struct digits *d, long from)
{
    for (long i = from < 0 ? 0 : from; i < d->n; i++)
        if (digit_at(d, i))
            return false;
    return true;
}

static __int128 divide_up(__int128 v, __int128 by)
{
    return v / by + (v % by != 0);
}

/* Units of 1e-9 of the number times 2^SHIFT, rounded up, at most the cap. */
static __int128 nano_of(const struct digits *d, int shift)
{
    const __int128 cap = (__int128)VALUE_MAX * NANO;
    if (is_all_zero(d, 0))
        return 0;
    __int128 whole = 0, fraction = 0, scale = 1;
    for (long i = 0; i < d->point; i++) {
        whole = whole * 10 + digit_at(d, i);
        if (whole > VALUE_MAX >> shift)
            return cap;
    }
    for (long i = 0; i < DIGITS_BEHIND; i++) {
        fraction = fraction * 10 + digit_at(d, d->point + i);
        scale *= 10;
    }
    /* fraction << 60 stays below 2^120; times NANO it would not, so the scale is cut instead. */
    bool has_rest = !is_all_zero(d, d->point + DIGITS_BEHIND);
    __int128 nano = divide_up((fraction << shift) + has_rest, scale / NANO);
    nano += (whole << shift) * NANO;
    return nano > cap ? cap : nano;
}

int quantity_parse(const char *text, struct quantity *out)
{
    if (!text)
        return -1;
    bool is_negative = *text == '-';
    if (*text == '-' || *text == '+')
        text++;
    const char *suffix;
    struct digits d = scan_digits(text, &suffix);
    uint8_t format;
    int exponent;
    if (d.n == 0 || find_suffix(suffix, &format, &exponent) < 0)
        return -1;
    int shift = 0;
    if (format == QUANTITY_BINARY_SI)
        shift = exponent;
    else
        d.point += exponent;
    __int128 nano = nano_of(&d, shift);
    /* Upstream shows what is less than one without a binary suffix. */
    if (format == QUANTITY_BINARY_SI && nano > 0 && nano < NANO)
        format = QUANTITY_DECIMAL_SI;
    *out = (struct quantity){ .nano = is_negative ? -nano : nano, .format = format };
    return 0;
}

/* ---- arithmetic ---- */

int quantity_compare(const struct quantity *a, const struct quantity *b)
{
    return (a->nano > b->nano) - (a->nano < b->nano);
}

void quantity_add(struct quantity *a, const struct quantity *b)
{
    if (a->nano == 0)
        a->format = b->format;
    a->nano += b->nano;
}

/* V / BY, rounded away from zero and held within 64 bits. */
static int64_t scaled(__int128 v, int64_t by)
{
    __int128 result = v < 0 ? -divide_up(-v, by) : divide_up(v, by);
    if (result > INT64_MAX)
        return INT64_MAX;
    return result < INT64_MIN ? INT64_MIN : (int64_t)result;
}

int64_t quantity_value(const struct quantity *q)
{
    return scaled(q->nano, NANO);
}

int64_t quantity_milli_value(const struct quantity *q)
{
    return scaled(q->nano, NANO / 1000);
}

/* ---- printing ---- */

static const char *suffix_name(uint8_t format, int exponent)
{
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (suffixes[i].format == format && suffixes[i].exponent == exponent)
            return suffixes[i].name;
    return "";
}

static char *print_scaled(struct arena *a, bool is_negative, unsigned __int128 v,
                          const char *suffix)
{
    char digits[48];
    char *p = digits + sizeof(digits);
    *--p = 0;
    do
        *--p = (char)('0' + (int)(v % 10));
    while (v /= 10);
    return arena_printf(a, "%s%s%s", is_negative ? "-" : "", p, suffix);
}

/* The largest exponent that is a multiple of three and leaves no fraction. */
static char *print_decimal(const struct quantity *q, bool is_negative, unsigned __int128 nano,
                           struct arena *a)
{
    int exponent = -9;
    while (nano % 1000 == 0 && exponent < 18) {
        nano /= 1000;
        exponent += 3;
    }
    if (q->format != QUANTITY_DECIMAL_EXPONENT)
        return print_scaled(a, is_negative, nano, suffix_name(QUANTITY_DECIMAL_SI, exponent));
    char suffix[16] = "";
    if (exponent)
        snprintf(suffix, sizeof(suffix), "e%d", exponent);
    return print_scaled(a, is_negative, nano, suffix);
}

char *quantity_print(const struct quantity *q, struct arena *a)
{
    bool is_negative = q->nano < 0;
    unsigned __int128 nano = (unsigned __int128)(is_negative ? -q->nano : q->nano);
    if (nano == 0)
        return arena_strdup(a, "0");
    if (q->format != QUANTITY_BINARY_SI || nano < (unsigned __int128)1024 * NANO)
        return print_decimal(q, is_negative, nano, a);
    unsigned __int128 v = nano / NANO + (nano % NANO != 0);
    int exponent = 0;
    while (v % 1024 == 0 && exponent < 60) {
        v /= 1024;
        exponent += 10;
    }
    return print_scaled(a, is_negative, v,
                        exponent ? suffix_name(QUANTITY_BINARY_SI, exponent) : "");
}
