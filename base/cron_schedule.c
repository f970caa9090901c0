/* SPDX-License-Identifier: Apache-2.0 */
/* cron_schedule - when something is due. */
#include "base/cron_schedule.h"

#include <ctype.h>
#include <strings.h>

#include "base/clock.h"
#include "base/time_zone.h"

#define DAYS_MAX  (5 * 366) /* a time that has not come by then never comes */
#define DAY_S     86400
#define EVERY_MIN NS_PER_S

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

/* A number or a name at *P, which moves behind it; -1. */
static int read_value(const char **p, const struct field *f)
{
    if (isdigit((unsigned char)**p)) {
        char *end;
        long v = strtol(*p, &end, 10);
        *p = end;
        return v <= 1000 ? (int)v : -1;
    }
    for (int i = 0; f->names && f->names[i]; i++) {
        if (strncasecmp(*p, f->names[i], 3) == 0) {
            *p += 3;
            return f->first + i;
        }
    }
    return -1;
}

/* One of the parts between commas: "*", "5", "1-5", each with "/2". */
static int read_part(const char **p, const struct field *f, uint64_t *bits, bool *is_star)
{
    int first, last, step = 1;
    bool has_range = true;
    if (**p == '*' || **p == '?') {
        first = f->first;
        last = f->last;
        (*p)++;
        *is_star = true;
    } else {
        first = last = read_value(p, f);
        has_range = **p == '-';
        if (has_range) {
            (*p)++;
            last = read_value(p, f);
        }
    }
    if (**p == '/') {
        (*p)++;
        step = read_value(p, &(struct field){ 1, 1000, NULL });
        if (!has_range)
            last = f->last;
        if (step > 1)
            *is_star = false;
    }
    if (first < f->first || last > f->last || first > last || step < 1)
        return -1;
    for (int v = first; v <= last; v += step)
        *bits |= UINT64_C(1) << v;
    return 0;
}

static int read_field(const char **p, const struct field *f, uint64_t *bits, bool *is_star)
{
    *bits = 0;
    *is_star = false;
    for (;;) {
        if (read_part(p, f, bits, is_star) < 0)
            return -1;
        if (**p != ',')
            return **p == ' ' || **p == '\t' || !**p ? 0 : -1;
        (*p)++;
    }
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

static int read_fields(const char *text, struct cron_schedule *s)
{
    uint64_t *const sets[] = { &s->minutes, &s->hours, &s->days, &s->months, &s->weekdays };
    bool star[ARRAY_LEN(fields)];
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        text += strspn(text, " \t");
        if (!*text || read_field(&text, &fields[i], sets[i], &star[i]) < 0)
            return -1;
    }
    s->any_day = star[2];
    s->any_weekday = star[4];
    return text[strspn(text, " \t")] ? -1 : 0;
}

const struct cron_schedule *cron_schedule_parse(const char *text, const char *zone, struct arena *a,
                                                struct error *err)
{
    struct cron_schedule *s = arena_zalloc(a, sizeof(*s));
    s->zone = time_zone_open(zone, a, err);
    if (!s->zone)
        return NULL;
    if (str_has_prefix(text, "@every ")) {
        if (duration_parse(text + strlen("@every "), &s->every_ns) == 0 && s->every_ns > 0) {
            if (s->every_ns < EVERY_MIN)
                s->every_ns = EVERY_MIN;
            return s;
        }
    } else if (read_fields(expand(text), s) == 0) {
        return s;
    }
    error_set(err, ERR_BAD_REQUEST, "not a schedule: \"%s\"", text);
    return NULL;
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
