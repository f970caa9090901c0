/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c - clocks, random numbers, and the text forms of times and durations. */
#include "base/clock.h"

#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/scoped.h"

/* ---- clocks ---- */

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t system_monotonic(const struct clock *c)
{
    (void)c;
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t system_wall(const struct clock *c)
{
    (void)c;
    return read_clock(CLOCK_REALTIME);
}

const struct clock system_clock = { system_monotonic, system_wall };

static int64_t fake_now(const struct clock *c)
{
    return ((const struct fake_clock *)c)->now_ns;
}

void fake_clock_init(struct fake_clock *f, int64_t wall_ns)
{
    f->clock = (struct clock){ fake_now, fake_now };
    f->now_ns = wall_ns;
}

void fake_clock_advance(struct fake_clock *f, int64_t ns)
{
    f->now_ns += ns;
}

/* ---- random numbers ---- */

static uint64_t system_next(struct rng *r)
{
    (void)r;
    uint64_t v;
    ensure(getrandom(&v, sizeof(v), 0) == sizeof(v));
    return v;
}

static struct rng system_rng_value = { .next = system_next };
struct rng *const system_rng = &system_rng_value;

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* xoshiro256**, seeded with splitmix64 as its authors advise. */
static uint64_t seeded_next(struct rng *r)
{
    uint64_t *s = r->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

void seeded_rng_init(struct rng *r, uint64_t seed)
{
    r->next = seeded_next;
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        r->state[i] = z ^ (z >> 31);
    }
}

uint64_t rng_next(struct rng *r)
{
    return r->next(r);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    if (n == 0)
        return 0;
    uint64_t biased = -n % n; /* the lowest 2^64 mod n numbers would favour some results */
    uint64_t v;
    do
        v = r->next(r);
    while (v < biased);
    return v % n;
}

/* ---- RFC 3339 ---- */

struct date {
    int64_t year;
    int month, day;
};

/* The calendar in years that begin in March, so that the leap day is a year's last. */
static int64_t days_from_date(struct date d)
{
    int64_t y = d.year - (d.month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (d.month + (d.month > 2 ? -3 : 9)) + 2) / 5 + d.day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static struct date date_from_days(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t m = (5 * day_of_year + 2) / 153;
    struct date d = { .year = year_of_era + era * 400,
                      .month = (int)(m < 10 ? m + 3 : m - 9),
                      .day = (int)(day_of_year - (153 * m + 2) / 5 + 1) };
    d.year += d.month <= 2;
    return d;
}

static void put_digits(char **p, int64_t v, int digits)
{
    for (int i = digits - 1; i >= 0; i--, v /= 10)
        (*p)[i] = (char)('0' + v % 10);
    *p += digits;
}

static void format_fraction(int64_t wall_ns, int fraction_digits, char out[TIME_TEXT_BYTES])
{
    int64_t seconds = wall_ns / NS_PER_S, ns = wall_ns % NS_PER_S;
    if (ns < 0) {
        ns += NS_PER_S;
        seconds--;
    }
    int64_t days = seconds / 86400, rest = seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    struct date d = date_from_days(days);
    char *p = out;
    put_digits(&p, d.year, 4); /* 64 bits of nanoseconds are the years 1677 to 2262 */
    *p++ = '-';
    put_digits(&p, d.month, 2);
    *p++ = '-';
    put_digits(&p, d.day, 2);
    *p++ = 'T';
    put_digits(&p, rest / 3600, 2);
    *p++ = ':';
    put_digits(&p, rest / 60 % 60, 2);
    *p++ = ':';
    put_digits(&p, rest % 60, 2);
    if (fraction_digits) {
        *p++ = '.';
        put_digits(&p, fraction_digits == 6 ? ns / 1000 : ns, fraction_digits);
    }
    *p++ = 'Z';
    *p = 0;
}

void time_format(int64_t wall_ns, char out[TIME_TEXT_BYTES])
{
    format_fraction(wall_ns, 0, out);
}

void time_format_micro(int64_t wall_ns, char out[TIME_TEXT_BYTES])
{
    format_fraction(wall_ns, 6, out);
}

void time_format_nano(int64_t wall_ns, char out[TIME_TEXT_BYTES])
{
    format_fraction(wall_ns, 9, out);
}

/* Reads exactly DIGITS digits, then the character AFTER (0: none). */
static bool take_digits(const char **p, int digits, char after, int64_t *v)
{
    *v = 0;
    for (int i = 0; i < digits; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return false;
        *v = *v * 10 + (**p - '0');
    }
    if (!after)
        return true;
    return *(*p)++ == after;
}

static int days_in_month(int64_t year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && is_leap);
}

static bool take_fraction(const char **p, int64_t *ns)
{
    *ns = 0;
    if (**p != '.')
        return true;
    (*p)++;
    int digits = 0;
    for (; **p >= '0' && **p <= '9'; (*p)++)
        if (digits < 9) {
            *ns = *ns * 10 + (**p - '0');
            digits++;
        }
    if (digits == 0)
        return false;
    for (; digits < 9; digits++)
        *ns *= 10;
    return true;
}

static bool take_offset(const char **p, int64_t *seconds)
{
    char sign = *(*p)++;
    *seconds = 0;
    if (sign == 'Z')
        return true;
    int64_t hours, minutes;
    if ((sign != '+' && sign != '-') || !take_digits(p, 2, ':', &hours) ||
        !take_digits(p, 2, 0, &minutes) || hours > 24 || minutes > 60)
        return false;
    *seconds = (hours * 60 + minutes) * 60 * (sign == '-' ? -1 : 1);
    return true;
}

int time_parse(const char *text, int64_t *wall_ns)
{
    const char *p = text;
    int64_t year, month, day, hour, minute, second, ns, offset;
    if (!p || !take_digits(&p, 4, '-', &year) || !take_digits(&p, 2, '-', &month) ||
        !take_digits(&p, 2, 'T', &day) || !take_digits(&p, 2, ':', &hour) ||
        !take_digits(&p, 2, ':', &minute) || !take_digits(&p, 2, 0, &second) ||
        !take_fraction(&p, &ns) || !take_offset(&p, &offset) || *p)
        return -1;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, (int)month) || hour > 23 ||
        minute > 59 || second > 59)
        return -1;
    struct date d = { year, (int)month, (int)day };
    int64_t seconds = days_from_date(d) * 86400 + hour * 3600 + minute * 60 + second - offset;
    /* Year 1 (Go's zero time) and year 9999 are legal text: they end at what 64 bits can say. */
    if (__builtin_mul_overflow(seconds, NS_PER_S, wall_ns) ||
        __builtin_add_overflow(*wall_ns, ns, wall_ns))
        *wall_ns = seconds < 0 ? INT64_MIN : INT64_MAX;
    return 0;
}

/* ---- durations ---- */

static const struct {
    const char *name;
    int64_t ns;
} units[] = {
    /* Longer names first: "ms" is not "m" and then "s". */
    { "ns", 1 },           { "us", 1000 },    { "\xc2\xb5s", 1000 }, /* micro sign */
    { "\xce\xbcs", 1000 },                                           /* Greek mu */
    { "ms", NS_PER_MS },   { "s", NS_PER_S }, { "m", 60 * NS_PER_S }, { "h", 3600 * NS_PER_S },
};

/* One number and its unit: "1.5h". */
static bool take_part(const char **p, __int128 *ns)
{
    __int128 whole = 0, fraction = 0, scale = 1;
    int digits = 0;
    for (; **p >= '0' && **p <= '9'; (*p)++, digits++) {
        whole = whole * 10 + (**p - '0');
        if (whole > INT64_MAX)
            return false;
    }
    if (**p == '.')
        for ((*p)++; **p >= '0' && **p <= '9'; (*p)++, digits++)
            if (scale < INT64_C(1000000000000000)) { /* finer than any unit can show */
                fraction = fraction * 10 + (**p - '0');
                scale *= 10;
            }
    if (digits == 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        size_t n = strlen(units[i].name);
        if (strncmp(*p, units[i].name, n) == 0) {
            *p += n;
            *ns += whole * units[i].ns + fraction * units[i].ns / scale;
            return *ns <= INT64_MAX;
        }
    }
    return false;
}

int duration_parse(const char *text, int64_t *ns)
{
    if (!text)
        return -1;
    const char *p = text;
    bool is_negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    __int128 total = 0;
    if (strcmp(p, "0") != 0) { /* the only number that needs no unit */
        if (!*p)
            return -1;
        while (*p)
            if (!take_part(&p, &total))
                return -1;
    }
    *ns = (int64_t)(is_negative ? -total : total);
    return 0;
}

/* V / SCALE with as many decimals as it needs, then UNIT. */
static void put_decimal(char **p, uint64_t v, uint64_t scale, const char *unit)
{
    *p += snprintf(*p, 21, "%llu", (unsigned long long)(v / scale));
    uint64_t rest = v % scale;
    if (rest) {
        *(*p)++ = '.';
        for (uint64_t place = scale / 10; rest; place /= 10) {
            *(*p)++ = (char)('0' + rest / place);
            rest %= place;
        }
    }
    *p = stpcpy(*p, unit);
}

void duration_format(int64_t ns, char out[TIME_TEXT_BYTES])
{
    char *p = out;
    uint64_t v = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
    if (ns < 0)
        *p++ = '-';
    if (v == 0) {
        strcpy(out, "0s");
    } else if (v < 1000) {
        put_decimal(&p, v, 1, "ns");
    } else if (v < (uint64_t)NS_PER_MS) {
        put_decimal(&p, v, 1000, "\xc2\xb5s");
    } else if (v < (uint64_t)NS_PER_S) {
        put_decimal(&p, v, NS_PER_MS, "ms");
    } else {
        uint64_t minutes = v / (60 * (uint64_t)NS_PER_S);
        if (minutes >= 60)
            p += snprintf(p, 12, "%lluh", (unsigned long long)(minutes / 60));
        if (minutes)
            p += snprintf(p, 4, "%um", (unsigned)(minutes % 60));
        put_decimal(&p, v % (60 * (uint64_t)NS_PER_S), NS_PER_S, "s");
    }
}
