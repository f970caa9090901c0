/* SPDX-License-Identifier: Apache-2.0 */
/* event_recorder - core/v1 Events about objects, aggregated and rate-limited. */
#include "api/event_recorder.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/hashmap.h"
#include "base/log.h"

/* client-go's numbers: users know them from what they see. */
#define SIMILAR_MAX         10 /* from so many different messages of one reason on they are combined */
#define SIMILAR_INTERVAL_NS (600 * NS_PER_S)
#define SPAM_BURST          25.0 /* events about one object, then one in five minutes */
#define SPAM_REFILL_NS      (300 * NS_PER_S)
#define SEND_ATTEMPTS_MAX   12
#define SEND_RETRY_NS       (10 * NS_PER_S)
#define RECORDS_MAX         1024 /* what is remembered for counting; the longest unused goes */
#define SENDER_STACK        (256 * 1024)
#define EVENT_MESSAGE_MAX   1024 /* the API's limit for a message */

struct pending {
    struct pending *next;
    struct object *about;
    int64_t at_ns;
    const char *type; /* the texts lie behind the struct */
    const char *reason, *message, *field_path;
};

/* What is known of earlier events.  A key's first byte says of what kind:
 *     s  a series: the same event again
 *     a  similar events: same object and reason, different messages
 *     o  all events about an object */
struct record {
    struct record *newer, *older;
    char *event_name; /* s */
    int64_t count;
    int64_t first_ns, last_ns;
    uint64_t messages[SIMILAR_MAX - 1]; /* a: hashes of those that are told one by one */
    size_t messages_n;
    double tokens; /* o */
    size_t key_len;
    char key[];
};

struct event_recorder {
    struct client *client;
    char *component, *host;

    pthread_mutex_t lock;
    pthread_cond_t stopping;
    struct pending *first, **last;
    size_t pending_n;
    uint64_t dropped;
    bool has_sender, is_sending, is_stopping;
    pthread_t sender;

    /* The sender's own. */
    struct hashmap records;
    struct record *newest, *oldest;
    int64_t name_ns;
};

/* ---- memory of earlier events ---- */

static void record_unlink(struct event_recorder *r, struct record *rec)
{
    *(rec->newer ? &rec->newer->older : &r->newest) = rec->older;
    *(rec->older ? &rec->older->newer : &r->oldest) = rec->newer;
}

static void record_push(struct event_recorder *r, struct record *rec)
{
    rec->newer = NULL;
    rec->older = r->newest;
    *(r->newest ? &r->newest->newer : &r->oldest) = rec;
    r->newest = rec;
}

static void record_free(struct event_recorder *r, struct record *rec)
{
    hashmap_remove(&r->records, (struct bytes){ rec->key, rec->key_len });
    record_unlink(r, rec);
    free(rec->event_name);
    free(rec);
}

/* The record of KEY, made where there is none, as the newest. */
static struct record *record_get(struct event_recorder *r, struct bytes key)
{
    struct record *rec = hashmap_get(&r->records, key);
    if (rec) {
        record_unlink(r, rec);
    } else {
        if (r->records.n >= RECORDS_MAX)
            record_free(r, r->oldest);
        rec = xcalloc(1, sizeof(*rec) + key.len + 1);
        rec->key_len = key.len;
        rec->tokens = SPAM_BURST;
        memcpy(rec->key, key.data, key.len);
        hashmap_put(&r->records, (struct bytes){ rec->key, key.len }, rec);
    }
    record_push(r, rec);
    return rec;
}

static void key_begin(struct buffer *key, char what, const struct pending *p)
{
    buffer_clear(key);
    buffer_printf(key, "%c|%s|%s|%s|%s", what, p->about->resource->kind, p->about->key.ns,
                  p->about->key.name, p->about->uid ? p->about->uid : "");
}

/* True if there have been so many events about the object that this one is not sent. */
static bool is_spam(struct event_recorder *r, const struct pending *p)
{
    scoped(buffer) struct buffer key = { 0 };
    key_begin(&key, 'o', p);
    struct record *rec = record_get(r, buffer_bytes(&key));
    if (rec->last_ns)
        rec->tokens += (double)(p->at_ns - rec->last_ns) / (double)SPAM_REFILL_NS;
    if (rec->tokens > SPAM_BURST)
        rec->tokens = SPAM_BURST;
    rec->last_ns = p->at_ns;
    if (rec->tokens < 1)
        return true;
    rec->tokens -= 1;
    return false;
}

/* True if this is yet another message of a reason that has had as many different ones lately.  One
 * of those again is counted as itself. */
static bool is_combined(struct event_recorder *r, const struct pending *p)
{
    scoped(buffer) struct buffer key = { 0 };
    key_begin(&key, 'a', p);
    buffer_printf(&key, "|%s|%s", p->type, p->reason);
    struct record *rec = record_get(r, buffer_bytes(&key));
    if (p->at_ns - rec->last_ns > SIMILAR_INTERVAL_NS)
        rec->messages_n = 0;
    rec->last_ns = p->at_ns;

    uint64_t hash = bytes_hash(bytes_of(p->message));
    for (size_t i = 0; i < rec->messages_n; i++)
        if (rec->messages[i] == hash)
            return false;
    if (rec->messages_n == ARRAY_LEN(rec->messages))
        return true;
    rec->messages[rec->messages_n++] = hash;
    return false;
}

static struct record *series_of(struct event_recorder *r, const struct pending *p, bool combined)
{
    scoped(buffer) struct buffer key = { 0 };
    key_begin(&key, 's', p);
    buffer_printf(&key, "|%s|%s", p->type, p->reason);
    if (!combined)
        buffer_printf(&key, "|%s|%s", p->field_path, p->message);
    return record_get(r, buffer_bytes(&key));
}

/* ---- sending ---- */

static void put_time(struct arena *a, struct json *doc, const char *path, int64_t ns)
{
    char text[TIME_TEXT_BYTES];
    time_format(ns, text);
    json_put_str(a, doc, path, text);
}

static void put_involved(struct arena *a, struct json *doc, const struct pending *p)
{
    char text[128];
    const struct object *o = p->about;
    json_put_str(a, doc, "involvedObject.kind", o->resource->kind);
    if (*o->key.ns)
        json_put_str(a, doc, "involvedObject.namespace", o->key.ns);
    json_put_str(a, doc, "involvedObject.name", o->key.name);
    if (o->uid)
        json_put_str(a, doc, "involvedObject.uid", o->uid);
    json_put_str(a, doc, "involvedObject.apiVersion",
                 resource_api_version(o->resource, text, sizeof(text)));
    const char *version = json_str(o->doc, "metadata.resourceVersion", NULL);
    if (version)
        json_put_str(a, doc, "involvedObject.resourceVersion", version);
    if (*p->field_path)
        json_put_str(a, doc, "involvedObject.fieldPath", p->field_path);
}

static const char *event_ns(const struct pending *p)
{
    return *p->about->key.ns ? p->about->key.ns : "default";
}

static int create(struct event_recorder *r, const struct pending *p, const struct record *series,
                  const char *message, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "apiVersion", "v1");
    json_put_str(a, doc, "kind", "Event");
    json_put_str(a, doc, "metadata.name", series->event_name);
    json_put_str(a, doc, "metadata.namespace", event_ns(p));
    put_involved(a, doc, p);
    json_put_str(a, doc, "reason", p->reason);
    json_put_str(a, doc, "message", message);
    json_put_str(a, doc, "source.component", r->component);
    if (r->host)
        json_put_str(a, doc, "source.host", r->host);
    put_time(a, doc, "firstTimestamp", series->first_ns);
    put_time(a, doc, "lastTimestamp", p->at_ns);
    json_put_int(a, doc, "count", series->count);
    json_put_str(a, doc, "type", p->type);
    json_put_str(a, doc, "reportingComponent", r->component);
    json_put_str(a, doc, "reportingInstance", r->host ? r->host : "");
    return client_create(r->client, &resources[RESOURCE_EVENTS], event_ns(p), doc, NULL, err);
}

static int count_up(struct event_recorder *r, const struct pending *p, const struct record *series,
                    const char *message, struct error *err)
{
    scoped(arena) struct arena *a = arena_new();
    struct json *patch = json_new(a, JSON_OBJECT);
    json_put_int(a, patch, "count", series->count);
    put_time(a, patch, "lastTimestamp", p->at_ns);
    json_put_str(a, patch, "message", message);
    scoped(buffer) struct buffer body = { 0 };
    json_print(patch, &body);
    struct object_key key = { event_ns(p), series->event_name };
    return client_patch(r->client, &resources[RESOURCE_EVENTS], &key, NULL, PATCH_MERGE,
                        buffer_bytes(&body), NULL, err);
}

static void name_event(struct event_recorder *r, const struct pending *p, struct record *series)
{
    free(series->event_name);
    r->name_ns = p->at_ns > r->name_ns ? p->at_ns : r->name_ns + 1;
    series->event_name = xasprintf("%s.%llx", p->about->key.name, (unsigned long long)r->name_ns);
}

/* One attempt.  An event that counted up and has expired meanwhile is made anew. */
static int send_once(struct event_recorder *r, const struct pending *p, struct record *series,
                     const char *message, struct error *err)
{
    if (series->event_name) {
        struct error failure = { 0 };
        if (count_up(r, p, series, message, &failure) == 0)
            return 0;
        if (failure.code != ERR_NOT_FOUND)
            return error_set(err, failure.code, "%s", failure.message);
    }
    name_event(r, p, series);
    return create(r, p, series, message, err);
}

static bool is_worth_retrying(const struct error *err)
{
    return err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT || err->code == ERR_IO ||
           err->code == ERR_TOO_MANY_REQUESTS || err->code == ERR_INTERNAL;
}

/* Sleeps between attempts; false if the recorder is being freed. */
static bool wait_before_retry(struct event_recorder *r)
{
    int64_t until_ns = clock_monotonic_ns(&system_clock) + SEND_RETRY_NS;
    pthread_mutex_lock(&r->lock);
    while (!r->is_stopping && cond_wait_until(&r->stopping, &r->lock, until_ns))
        ;
    bool go_on = !r->is_stopping;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

/* Not inside a character: half of one is no text. */
static void cut(char *message)
{
    size_t len = EVENT_MESSAGE_MAX;
    if (strlen(message) <= len)
        return;
    while (len > 0 && ((unsigned char)message[len] & 0xc0) == 0x80)
        len--;
    message[len] = '\0';
}

static void send_event(struct event_recorder *r, const struct pending *p)
{
    bool combined = is_combined(r, p);
    struct record *series = series_of(r, p, combined);
    if (series->count == 0)
        series->first_ns = p->at_ns;
    series->count++;
    if (is_spam(r, p))
        return;
    /* is_spam() may have pushed out the oldest record, never this one, which is the newest but one.
     */
    scoped(str) char *message =
        xasprintf("%s%s", combined ? "(combined from similar events): " : "", p->message);
    cut(message);
    struct error err = { 0 };
    for (int attempt = 1; send_once(r, p, series, message, &err) < 0; attempt++) {
        if (!is_worth_retrying(&err) || attempt == SEND_ATTEMPTS_MAX || !wait_before_retry(r)) {
            log_debug(r->component, "event %s about %s/%s: %s", p->reason, p->about->key.ns,
                      p->about->key.name, err.message);
            return;
        }
    }
}

/* ---- the queue ---- */

static void pending_free(struct pending *p)
{
    object_unref(p->about);
    free(p);
}

static struct pending *pop(struct event_recorder *r)
{
    struct pending *p = r->first;
    if (p) {
        r->first = p->next;
        if (!r->first)
            r->last = &r->first;
        r->pending_n--;
    }
    return p;
}

/* Leaves as soon as there is nothing to send: a recorder at rest has no thread. */
static void *send_all(void *arg)
{
    struct event_recorder *r = arg;
    struct pending *p;
    pthread_mutex_lock(&r->lock);
    while ((p = pop(r))) {
        pthread_mutex_unlock(&r->lock);
        send_event(r, p);
        pending_free(p);
        pthread_mutex_lock(&r->lock);
    }
    r->is_sending = false;
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Under the lock. */
static void ensure_sender(struct event_recorder *r)
{
    if (r->is_sending)
        return;
    if (r->has_sender)
        pthread_join(r->sender, NULL); /* it has left its loop: it is at its very end */
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, SENDER_STACK);
    r->has_sender = r->is_sending = pthread_create(&r->sender, &attr, send_all, r) == 0;
    pthread_attr_destroy(&attr);
}

static struct pending *pending_new(const struct object *about, const char *field_path,
                                   const char *type, const char *reason, struct bytes message)
{
    size_t type_n = strlen(type) + 1, reason_n = strlen(reason) + 1;
    size_t path_n = field_path ? strlen(field_path) + 1 : 1;
    struct pending *p = xcalloc(1, sizeof(*p) + type_n + reason_n + path_n + message.len + 1);
    char *at = (char *)(p + 1);
    p->type = memcpy(at, type, type_n);
    p->reason = memcpy(at += type_n, reason, reason_n);
    p->field_path = memcpy(at += reason_n, field_path ? field_path : "", path_n);
    p->message = at += path_n;
    if (message.len)
        memcpy(at, message.data, message.len);
    p->about = object_ref(about);
    p->at_ns = clock_wall_ns(&system_clock);
    return p;
}

static void enqueue(struct event_recorder *r, const struct object *about, const char *field_path,
                    const char *type, const char *reason, struct bytes message)
{
    pthread_mutex_lock(&r->lock);
    if (r->pending_n >= EVENT_QUEUED_MAX || r->is_stopping) {
        r->dropped++;
    } else {
        struct pending *p = pending_new(about, field_path, type, reason, message);
        *r->last = p;
        r->last = &p->next;
        r->pending_n++;
        ensure_sender(r);
    }
    pthread_mutex_unlock(&r->lock);
}

void event_record(struct event_recorder *r, const struct object *about, const char *type,
                  const char *reason, const char *fmt, ...)
{
    scoped(buffer) struct buffer message = { 0 };
    va_list args;
    va_start(args, fmt);
    buffer_vprintf(&message, fmt, args);
    va_end(args);
    enqueue(r, about, NULL, type, reason, buffer_bytes(&message));
}

void event_record_field(struct event_recorder *r, const struct object *about,
                        const char *field_path, const char *type, const char *reason,
                        const char *fmt, ...)
{
    scoped(buffer) struct buffer message = { 0 };
    va_list args;
    va_start(args, fmt);
    buffer_vprintf(&message, fmt, args);
    va_end(args);
    enqueue(r, about, field_path, type, reason, buffer_bytes(&message));
}

struct event_recorder *event_recorder_new(struct client *c, const char *component, const char *host)
{
    struct event_recorder *r = xcalloc(1, sizeof(*r));
    r->client = c;
    r->component = xstrdup(component);
    r->host = host ? xstrdup(host) : NULL;
    r->last = &r->first;
    pthread_mutex_init(&r->lock, NULL);
    cond_init(&r->stopping);
    return r;
}

/* What is queued is still tried once. */
void event_recorder_free(struct event_recorder *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->is_stopping = true;
    pthread_cond_broadcast(&r->stopping);
    bool has_sender = r->has_sender;
    pthread_mutex_unlock(&r->lock);
    if (has_sender)
        pthread_join(r->sender, NULL);
    if (r->dropped)
        log_warn(r->component, "%llu events were dropped: more than %d were waiting",
                 (unsigned long long)r->dropped, EVENT_QUEUED_MAX);
    while (r->oldest)
        record_free(r, r->oldest);
    hashmap_deinit(&r->records);
    pthread_cond_destroy(&r->stopping);
    pthread_mutex_destroy(&r->lock);
    free(r->component);
    free(r->host);
    free(r);
}
