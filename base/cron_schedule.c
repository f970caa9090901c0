/* SPDX-License-Identifier: Apache-2.0 */
/* cron_schedule - when something is due. */
#include "base/cron_schedule.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/time_zone.h"

#define DAYS_MAX  (5 * 366) /* a time that has not come by then never comes */
#define DAY_S     86400
#define EVERY_MIN NS_PER_S
#define EVERY     "@every "
#define BLANKS    " \t\r\n\v\f"

struct cron_schedule {
    int64_t every_ns;                                /* 0: by the fields */
    uint64_t minutes, hours, days, months, weekdays; /* bit sets */
    bool any_day, any_weekday;
    const struct time_zone *zone;
};

struct field {
    int first, last;
    const char *const *names; /* of FIRST and the following; NULL: none */
};

static const char *const month_names[] = { "jan", "feb", "mar", "apr", "may", "jun", "jul",
                                           "aug", "sep", "oct", "nov", "dec", NULL };
static const char *const day_names[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL };
static const struct field fields[] = {
    { 0, 59, NULL }, { 0, 23, NULL }, { 1, 31, NULL }, { 1, 12, month_names }, { 0, 6, day_names },
};

/* ---- text ---- */

/* What one field allows. */
struct set {
    uint64_t bits;
    bool is_star;
};

static int read_number(const char *text, int *value, struct error *err)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)*text))
        return error_set(
            err, ERR_BAD_REQUEST,
            "failed to parse int from %s: strconv.Atoi: parsing \"%s\": invalid syntax", text,
            text);
    if (errno || v > INT_MAX || v < INT_MIN)
        return error_set(
            err, ERR_BAD_REQUEST,
            "failed to parse int from %s: strconv.Atoi: parsing \"%s\": value out of range", text,
            text);
    if (v < 0)
        return error_set(err, ERR_BAD_REQUEST, "negative number (%ld) not allowed: %s", v, text);
    *value = (int)v;
    return 0;
}

static int read_value(const char *text, const struct field *f, int *value, struct error *err)
{
    for (int i = 0; f->names && f->names[i]; i++) {
        if (strcasecmp(text, f->names[i]) == 0) {
            *value = f->first + i;
            return 0;
        }
    }
    return read_number(text, value, err);
}

/* Ends *TEXT at the first C; what is behind it, or NULL. */
static char *cut(char *text, char c)
{
    char *at = strchr(text, c);
    if (at)
        *at++ = '\0';
    return at;
}

/* One of the parts between commas: "*", "5", "1-5", each with "/2".  PART is cut up. */
static int read_part(char *part, const struct field *f, struct set *set, struct error *err)
{
    char whole[64];
    snprintf(whole, sizeof(whole), "%s", part);
    int first = f->first, last = f->last, step = 1;
    char *by = cut(part, '/'), *to = cut(part, '-');
    bool is_star = str_equal(part, "*") || str_equal(part, "?");
    if (!is_star) {
        if (read_value(part, f, &first, err) < 0)
            return -1;
        if (to && strchr(to, '-'))
            return error_set(err, ERR_BAD_REQUEST, "too many hyphens: %s", whole);
        if (to && read_value(to, f, &last, err) < 0)
            return -1;
        if (!to && !by)
            last = first;
    }
    if (by && strchr(by, '/'))
        return error_set(err, ERR_BAD_REQUEST, "too many slashes: %s", whole);
    if (by && read_number(by, &step, err) < 0)
        return -1;
    if (first < f->first)
        return error_set(err, ERR_BAD_REQUEST, "beginning of range (%d) below minimum (%d): %s",
                         first, f->first, whole);
    if (last > f->last)
        return error_set(err, ERR_BAD_REQUEST, "end of range (%d) above maximum (%d): %s", last,
                         f->last, whole);
    if (first > last)
        return error_set(err, ERR_BAD_REQUEST,
                         "beginning of range (%d) beyond end of range (%d): %s", first, last,
                         whole);
    if (step == 0)
        return error_set(err, ERR_BAD_REQUEST, "step of range should be a positive number: %s",
                         whole);
    for (int64_t v = first; v <= last; v += step)
        set->bits |= UINT64_C(1) << v;
    set->is_star |= is_star && step == 1;
    return 0;
}

static int read_field(char *text, const struct field *f, struct set *set, struct error *err)
{
    char *rest;
    for (char *part = strtok_r(text, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
        if (read_part(part, f, set, err) < 0)
            return -1;
    }
    return 0;
}

static const char *expand(const char *text)
{
    static const struct {
        const char *name, *fields;
    } shorthands[] = {
        { "@yearly", "0 0 1 1 *" }, { "@annually", "0 0 1 1 *" }, { "@monthly", "0 0 1 * *" },
        { "@weekly", "0 0 * * 0" }, { "@daily", "0 0 * * *" },    { "@midnight", "0 0 * * *" },
        { "@hourly", "0 * * * *" },
    };
    for (size_t i = 0; i < ARRAY_LEN(shorthands); i++) {
        if (str_equal(text, shorthands[i].name))
            return shorthands[i].fields;
    }
    return text;
}

static int read_fields(const char *text, struct cron_schedule *s, struct arena *a,
                       struct error *err)
{
    char *field[ARRAY_LEN(fields)] = { NULL }, *rest;
    struct set sets[ARRAY_LEN(fields)] = { { 0 } };
    size_t n = 0;
    for (char *f = strtok_r(arena_strdup(a, text), BLANKS, &rest); f;
         f = strtok_r(NULL, BLANKS, &rest)) {
        if (n < ARRAY_LEN(fields))
            field[n] = f;
        n++;
    }
    if (n != ARRAY_LEN(fields))
        return error_set(err, ERR_BAD_REQUEST, "expected exactly %zu fields, found %zu: [%s]",
                         ARRAY_LEN(fields), n, text);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (read_field(field[i], &fields[i], &sets[i], err) < 0)
            return -1;
    }
    s->minutes = sets[0].bits;
    s->hours = sets[1].bits;
    s->days = sets[2].bits;
    s->months = sets[3].bits;
    s->weekdays = sets[4].bits;
    s->any_day = sets[2].is_star;
    s->any_weekday = sets[4].is_star;
    return 0;
}

static int read_interval(const char *text, struct cron_schedule *s, struct error *err)
{
    const char *interval = text + strlen(EVERY);
    if (duration_parse(interval, &s->every_ns) < 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "failed to parse duration %s: time: invalid duration \"%s\"", text,
                         interval);
    if (s->every_ns < EVERY_MIN)
        s->every_ns = EVERY_MIN;
    return 0;
}

const struct cron_schedule *cron_schedule_parse(const char *text, const char *zone, struct arena *a,
                                                struct error *err)
{
    struct cron_schedule *s = arena_zalloc(a, sizeof(*s));
    const char *expanded = expand(text);
    s->zone = time_zone_open(zone, a, err);
    if (!s->zone)
        return NULL;
    if (str_has_prefix(text, EVERY))
        return read_interval(text, s, err) < 0 ? NULL : s;
    if (*expanded == '@') {
        error_set(err, ERR_BAD_REQUEST, "unrecognized descriptor: %s", text);
        return NULL;
    }
    return read_fields(expanded, s, a, err) < 0 ? NULL : s;
}

/* ---- the calendar ---- */

struct day {
    int year, month, day, weekday;
};

/* Days since 1970-01-01 to a date of the Gregorian calendar.  Years are counted from March, so that
 * the leap day is a year's last and months have a regular pattern. */
static struct day day_of(int64_t days)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t of_era = z - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t from_march = (5 * of_year + 2) / 153;
    struct day d = {
        .day = (int)(of_year - (153 * from_march + 2) / 5 + 1),
        .month = (int)(from_march < 10 ? from_march + 3 : from_march - 9),
        .weekday = (int)(((days + 4) % 7 + 7) % 7), /* 1970-01-01 was a Thursday */
    };
    d.year = (int)(year + era * 400 + (d.month <= 2));
    return d;
}

/* Days of the month and of the week both count where both are given. */
static bool is_due_on(const struct cron_schedule *s, int64_t days)
{
    struct day d = day_of(days);
    bool by_day = s->days >> d.day & 1, by_weekday = s->weekdays >> d.weekday & 1;
    if (!(s->months >> d.month & 1))
        return false;
    return s->any_day || s->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

/* The second at which clocks show LOCAL_S; the first if they do so twice; -1 if they never do. */
static int64_t utc_of(const struct time_zone *z, int64_t local_s)
{
    int64_t best = -1;
    int64_t offsets[] = { time_zone_offset_s(z, local_s - DAY_S),
                          time_zone_offset_s(z, local_s + DAY_S) };
    for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
        int64_t utc = local_s - offsets[i];
        if (utc + time_zone_offset_s(z, utc) == local_s && (best < 0 || utc < best))
            best = utc;
    }
    return best;
}

static int64_t next_on_day(const struct cron_schedule *s, int64_t days, int64_t after_s)
{
    for (int hour = 0; hour < 24; hour++) {
        for (int minute = 0; minute < 60; minute++) {
            if (!(s->hours >> hour & 1) || !(s->minutes >> minute & 1))
                continue;
            int64_t utc = utc_of(s->zone, days * DAY_S + hour * 3600 + minute * 60);
            if (utc > after_s)
                return utc;
        }
    }
    return -1;
}

int64_t cron_schedule_next(const struct cron_schedule *s, int64_t after_ns)
{
    int64_t after_s = after_ns / NS_PER_S;
    if (s->every_ns)
        return after_s * NS_PER_S + s->every_ns;
    int64_t today = (after_s + time_zone_offset_s(s->zone, after_s)) / DAY_S;
    for (int64_t days = today; days < today + DAYS_MAX; days++) {
        int64_t utc = is_due_on(s, days) ? next_on_day(s, days, after_s) : -1;
        if (utc >= 0)
            return utc * NS_PER_S;
    }
    return 0;
}
