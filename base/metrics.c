/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c - one list of metrics, each with a map of its series. */
#include "base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <unistd.h>

#include "base/hashmap.h"

#define LABELS_MAX 8

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* Upstream's buckets of request durations: 5 ms to a minute. */
static const double default_buckets[] = { 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8,
                                          1,     1.25,  1.5,  2,   3,   4,   5,   6,
                                          8,     10,    15,   20,  30,  45,  60 };

struct series {
    struct series *next; /* in the order of their first use */
    struct bytes key;    /* the label values, each with a NUL */
    double value;        /* of a histogram: the sum */
    uint64_t observations;
    uint64_t *buckets; /* observations up to each bound, not cumulative */
};

struct metric {
    struct metric *next;
    enum metric_type type;
    const char *name, *help;
    const char *const *labels; /* ends with NULL; NULL if there are none */
    size_t labels_n;
    const double *bounds;
    size_t bounds_n;
    pthread_mutex_t lock; /* guards all below */
    struct hashmap by_key;
    struct series *first, **last;
    size_t series_n;
};

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER; /* guards all_* */
static struct metric *all_first, **all_last = &all_first;

/* ---- declaring ---- */

static struct metric *metric_new(enum metric_type type, const char *name, const char *help,
                                 const char *const *labels)
{
    struct metric *m = xcalloc(1, sizeof(*m));
    m->type = type;
    m->name = name;
    m->help = help;
    m->labels = labels;
    while (labels && labels[m->labels_n])
        m->labels_n++;
    ensure(m->labels_n <= LABELS_MAX);
    m->last = &m->first;
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_lock(&all_lock);
    *all_last = m;
    all_last = &m->next;
    pthread_mutex_unlock(&all_lock);
    return m;
}

struct metric *metric_counter(const char *name, const char *help, const char *const *labels)
{
    return metric_new(METRIC_COUNTER, name, help, labels);
}

struct metric *metric_gauge(const char *name, const char *help, const char *const *labels)
{
    return metric_new(METRIC_GAUGE, name, help, labels);
}

struct metric *metric_histogram(const char *name, const char *help, const char *const *labels,
                                const double *buckets, size_t n)
{
    struct metric *m = metric_new(METRIC_HISTOGRAM, name, help, labels);
    m->bounds = buckets ? buckets : default_buckets;
    m->bounds_n = buckets ? n : ARRAY_LEN(default_buckets);
    return m;
}

/* ---- counting; the metric's lock is held ---- */

static struct series *add_series(struct metric *m, struct bytes key)
{
    struct series *s = xcalloc(1, sizeof(*s));
    char *copy = xmalloc(key.len + 1);
    if (key.len)
        memcpy(copy, key.data, key.len);
    s->key = (struct bytes){ copy, key.len };
    if (m->type == METRIC_HISTOGRAM)
        s->buckets = xcalloc(m->bounds_n, sizeof(*s->buckets));
    hashmap_put(&m->by_key, s->key, s);
    *m->last = s;
    m->last = &s->next;
    m->series_n++;
    return s;
}

static void make_key(const struct metric *m, const char *const *values, struct buffer *key)
{
    for (size_t i = 0; i < m->labels_n; i++) {
        const char *value = values && values[i] ? values[i] : "";
        buffer_add(key, value, strlen(value) + 1);
    }
}

static struct series *series_of(struct metric *m, const char *const *values)
{
    static const char *const other[LABELS_MAX] = { "other", "other", "other", "other",
                                                   "other", "other", "other", "other" };
    scoped(buffer) struct buffer key = { 0 };
    make_key(m, values, &key);
    struct series *s = hashmap_get(&m->by_key, buffer_bytes(&key));
    if (!s && m->series_n >= METRIC_SERIES_MAX - 1) {
        buffer_clear(&key);
        make_key(m, other, &key);
        s = hashmap_get(&m->by_key, buffer_bytes(&key));
    }
    return s ? s : add_series(m, buffer_bytes(&key));
}

void metric_add(struct metric *m, double v, const char *const *values)
{
    pthread_mutex_lock(&m->lock);
    series_of(m, values)->value += v;
    pthread_mutex_unlock(&m->lock);
}

void metric_set(struct metric *m, double v, const char *const *values)
{
    pthread_mutex_lock(&m->lock);
    series_of(m, values)->value = v;
    pthread_mutex_unlock(&m->lock);
}

void metric_observe(struct metric *m, double v, const char *const *values)
{
    ensure(m->type == METRIC_HISTOGRAM);
    pthread_mutex_lock(&m->lock);
    struct series *s = series_of(m, values);
    s->value += v;
    s->observations++;
    size_t i = 0;
    while (i < m->bounds_n && v > m->bounds[i])
        i++;
    if (i < m->bounds_n)
        s->buckets[i]++;
    pthread_mutex_unlock(&m->lock);
}

/* ---- printing ---- */

static void print_number(double v, struct buffer *out)
{
    char text[32];
    if (isinf(v)) {
        buffer_add_str(out, v > 0 ? "+Inf" : "-Inf");
        return;
    }
    snprintf(text, sizeof(text), "%.15g", v);
    if (strtod(text, NULL) != v)
        snprintf(text, sizeof(text), "%.17g", v);
    buffer_add_str(out, text);
}

static void print_escaped(const char *text, bool is_quoted, struct buffer *out)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\n')
            buffer_add_str(out, "\\n");
        else if (*p == '\\' || (*p == '"' && is_quoted))
            buffer_printf(out, "\\%c", *p);
        else
            buffer_add_char(out, *p);
    }
}

/* `name_suffix{label="value",le="0.1"} ` */
static void print_name(const struct metric *m, const struct series *s, const char *suffix,
                       const double *bound, struct buffer *out)
{
    buffer_printf(out, "%s%s", m->name, suffix);
    const char *value = s->key.data;
    for (size_t i = 0; i < m->labels_n; i++) {
        buffer_printf(out, "%s%s=\"", i ? "," : "{", m->labels[i]);
        print_escaped(value, true, out);
        buffer_add_char(out, '"');
        value += strlen(value) + 1;
    }
    if (bound) {
        buffer_printf(out, "%sle=\"", m->labels_n ? "," : "{");
        print_number(*bound, out);
        buffer_add_char(out, '"');
    }
    buffer_add_str(out, m->labels_n || bound ? "} " : " ");
}

static void print_histogram(const struct metric *m, const struct series *s, struct buffer *out)
{
    uint64_t so_far = 0;
    for (size_t i = 0; i < m->bounds_n; i++) {
        so_far += s->buckets[i];
        print_name(m, s, "_bucket", &m->bounds[i], out);
        buffer_printf(out, "%llu\n", (unsigned long long)so_far);
    }
    double infinity = INFINITY;
    print_name(m, s, "_bucket", &infinity, out);
    buffer_printf(out, "%llu\n", (unsigned long long)s->observations);
    print_name(m, s, "_sum", NULL, out);
    print_number(s->value, out);
    buffer_add_char(out, '\n');
    print_name(m, s, "_count", NULL, out);
    buffer_printf(out, "%llu\n", (unsigned long long)s->observations);
}

static void print_metric(struct metric *m, struct buffer *out)
{
    static const char *const types[] = { "counter", "gauge", "histogram" };
    pthread_mutex_lock(&m->lock);
    if (m->first) {
        buffer_printf(out, "# HELP %s ", m->name);
        print_escaped(m->help, false, out);
        buffer_printf(out, "\n# TYPE %s %s\n", m->name, types[m->type]);
    }
    for (const struct series *s = m->first; s; s = s->next) {
        if (m->type == METRIC_HISTOGRAM) {
            print_histogram(m, s, out);
            continue;
        }
        print_name(m, s, "", NULL, out);
        print_number(s->value, out);
        buffer_add_char(out, '\n');
    }
    pthread_mutex_unlock(&m->lock);
}

/* ---- what Prometheus' libraries tell of every process ---- */

static struct metric *resident_bytes;

static void declare_process(void)
{
    resident_bytes = metric_gauge("process_resident_memory_bytes", "Resident memory.", NULL);
}

static void measure_process(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, declare_process);
    long pages;
    scoped(file) FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%*d %ld", &pages) == 1)
        metric_set(resident_bytes, (double)pages * (double)sysconf(_SC_PAGESIZE), NULL);
}

void metrics_print(struct buffer *out)
{
    measure_process();
    pthread_mutex_lock(&all_lock);
    struct metric *first = all_first;
    pthread_mutex_unlock(&all_lock);
    for (struct metric *m = first; m;) {
        print_metric(m, out);
        pthread_mutex_lock(&all_lock); /* a new metric may be being linked behind this one */
        m = m->next;
        pthread_mutex_unlock(&all_lock);
    }
}
