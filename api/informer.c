/* SPDX-License-Identifier: Apache-2.0 */
/* informer - a cache of one resource that a list and a watch keep true. */
#include "api/informer.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/hashmap.h"
#include "base/log.h"

/* After a list or a watch that failed: 200 ms, doubling.  A watch that lasted WATCH_HEALTHY_NS was
 * a good one: its end (servers end each after some minutes) is no failure. */
#define RETRY_FIRST_NS   (200 * NS_PER_MS)
#define RETRY_MAX_NS     (30 * NS_PER_S)
#define WATCH_HEALTHY_NS (5 * NS_PER_S)
#define LIST_PAGE        500
#define KEEPER_STACK     (256 * 1024)

/*
 * An index is a map from a value to the entries under it, kept by links that are in two lists at
 * once:
 *
 *     bucket "node-1"  <->  link  <->  link          an entry leaves a bucket in constant time,
 *                            |          |            however many others are in it
 *                         entry a    entry b
 */
struct link {
    struct link *next_of_entry;
    struct link *previous, *next; /* in the bucket */
    struct bucket *bucket;
    struct entry *entry;
};

struct bucket {
    struct index *index;
    struct link *first;
    size_t n;
    struct bytes value;
    char text[];
};

struct index {
    const char *name;
    informer_index_fn *fn;
    struct hashmap buckets;
};

struct entry {
    struct object *object;
    struct link *links;
    size_t key_len;
    char key[];
};

struct handler {
    void (*fn)(const struct informer_event *e);
    void *arg;
};

enum stage { STAGE_NEW, STAGE_LIST, STAGE_WATCH, STAGE_RUNNING };

struct informer {
    struct informer_set *set;
    struct informer *next;
    const struct resource *resource;
    char *field_selector;
    struct handler *handlers;
    size_t handlers_n;
    struct index indexes[INFORMER_INDEXES_MAX];
    size_t indexes_n;

    struct client_watch *watch; /* the keeper's own */
    int64_t watch_started_ns;

    /* Guarded by the set's lock. */
    enum stage stage;
    int64_t due_ns, retry_ns;
    bool is_synced;

    pthread_mutex_t lock; /* after the set's; no handler runs under it */
    pthread_cond_t moved;
    struct hashmap entries;
    int64_t revision;
    bool is_stopped;
};

struct informer_set {
    struct client *client;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct informer *informers;
    pthread_t keeper;
    bool is_started, is_stopping;
};

static int64_t now_ns(void)
{
    return clock_monotonic_ns(&system_clock);
}

/* ---- indexes: under the informer's lock ---- */

static struct bucket *bucket_get(struct index *x, struct bytes value)
{
    struct bucket *b = hashmap_get(&x->buckets, value);
    if (b)
        return b;
    b = xcalloc(1, sizeof(*b) + value.len + 1);
    b->index = x;
    memcpy(b->text, value.data, value.len);
    b->value = (struct bytes){ b->text, value.len };
    hashmap_put(&x->buckets, b->value, b);
    return b;
}

static void link_drop(struct link *l)
{
    struct bucket *b = l->bucket;
    if (l->previous)
        l->previous->next = l->next;
    else
        b->first = l->next;
    if (l->next)
        l->next->previous = l->previous;
    free(l);
    if (--b->n == 0) {
        hashmap_remove(&b->index->buckets, b->value);
        free(b);
    }
}

static void entry_unlink(struct entry *e)
{
    for (struct link *l = e->links, *next; l; l = next) {
        next = l->next_of_entry;
        link_drop(l);
    }
    e->links = NULL;
}

struct index_walk {
    struct index *index;
    struct entry *entry;
    struct link **at; /* the link that the next value should be */
    bool differs;
};

static void compare_value(struct bytes value, void *ctx)
{
    struct index_walk *w = ctx;
    struct link *l = *w->at;
    if (w->differs || !l || l->bucket->index != w->index || !bytes_equal(l->bucket->value, value)) {
        w->differs = true;
        return;
    }
    w->at = &l->next_of_entry;
}

static void add_value(struct bytes value, void *ctx)
{
    struct index_walk *w = ctx;
    struct bucket *b = bucket_get(w->index, value);
    struct link *l = xmalloc(sizeof(*l));
    *l = (struct link){ .next = b->first, .bucket = b, .entry = w->entry };
    if (b->first)
        b->first->previous = l;
    b->first = l;
    b->n++;
    *w->at = l;
    w->at = &l->next_of_entry;
}

/* Most changes move no index value (a status, a lease): then nothing is allocated. */
static void entry_index(struct informer *i, struct entry *e)
{
    struct index_walk same = { .entry = e, .at = &e->links };
    for (size_t n = 0; n < i->indexes_n && !same.differs; n++) {
        same.index = &i->indexes[n];
        same.index->fn(e->object, compare_value, &same);
    }
    if (!same.differs && !*same.at)
        return;
    entry_unlink(e);
    struct index_walk fill = { .entry = e, .at = &e->links };
    for (size_t n = 0; n < i->indexes_n; n++) {
        fill.index = &i->indexes[n];
        fill.index->fn(e->object, add_value, &fill);
    }
}

/* ---- the cache ---- */

static void tell(struct informer *i, const struct object *old, const struct object *new)
{
    for (size_t n = 0; n < i->handlers_n; n++) {
        struct informer_event e = { i, old, new, i->handlers[n].arg };
        i->handlers[n].fn(&e);
    }
}

/* Puts O (a reference taken) into the cache and gives the one that was there, for the caller to
 * release. */
static struct object *cache_put(struct informer *i, const struct object *o)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct bytes key = object_key_text(&o->key, text);
    struct entry *e = hashmap_get(&i->entries, key);
    struct object *old = e ? e->object : NULL;
    if (!e) {
        e = xcalloc(1, sizeof(*e) + key.len + 1);
        e->key_len = key.len;
        memcpy(e->key, key.data, key.len);
        hashmap_put(&i->entries, (struct bytes){ e->key, key.len }, e);
    }
    e->object = object_ref(o);
    entry_index(i, e);
    return old;
}

static struct object *cache_remove(struct informer *i, struct bytes key)
{
    struct entry *e = hashmap_remove(&i->entries, key);
    if (!e)
        return NULL;
    struct object *old = e->object;
    entry_unlink(e);
    free(e);
    return old;
}

static void advance(struct informer *i, int64_t revision)
{
    if (revision > i->revision)
        i->revision = revision;
    pthread_cond_broadcast(&i->moved);
}

static void apply(struct informer *i, enum watch_type type, struct object *o)
{
    scoped(object) struct object *old = NULL;
    pthread_mutex_lock(&i->lock);
    if (type == WATCH_DELETED) {
        char text[KEY_TEXT_BYTES_MAX];
        old = cache_remove(i, object_key_text(&o->key, text));
    } else if (type != WATCH_BOOKMARK) {
        old = cache_put(i, o);
    }
    advance(i, o->resource_version);
    pthread_mutex_unlock(&i->lock);

    if (type == WATCH_DELETED && old)
        tell(i, o, NULL); /* the last state: it may say more than what was cached */
    else if (type == WATCH_ADDED || type == WATCH_MODIFIED)
        tell(i, old, o);
}

/* What a list says is the truth: handlers are told how it differs from the cache. */
static void replace_all(struct informer *i, const struct object_list *list, int64_t revision)
{
    struct hashmap listed = { 0 };
    scoped(arena) struct arena *names = arena_new();
    object_list_each (list, o) {
        char text[KEY_TEXT_BYTES_MAX];
        struct bytes key = arena_bytes(names, object_key_text(&o->key, text));
        hashmap_put(&listed, key, o);
    }

    scoped(object_list) struct object_list gone = { 0 };
    pthread_mutex_lock(&i->lock);
    hashmap_each (&i->entries, e) {
        if (!hashmap_get(&listed, e->key))
            object_list_add(&gone, ((struct entry *)e->value)->object);
    }
    object_list_each (&gone, o) {
        char text[KEY_TEXT_BYTES_MAX];
        object_unref(cache_remove(i, object_key_text(&o->key, text)));
    }
    pthread_mutex_unlock(&i->lock);
    object_list_each (&gone, o)
        tell(i, o, NULL);

    object_list_each (list, o) {
        pthread_mutex_lock(&i->lock);
        scoped(object) struct object *old = cache_put(i, o);
        pthread_mutex_unlock(&i->lock);
        if (!old || old->resource_version != o->resource_version)
            tell(i, old, o);
    }
    pthread_mutex_lock(&i->lock);
    i->revision = revision; /* also backwards: the store may have been restored from a backup */
    pthread_cond_broadcast(&i->moved);
    pthread_mutex_unlock(&i->lock);
    hashmap_deinit(&listed);
}

/* ---- the watch, on the client's thread ---- */

static void on_event(const struct watch_event *e, void *arg)
{
    apply(arg, e->type, e->object);
}

static void schedule_retry(struct informer *i, enum stage stage)
{
    i->stage = stage;
    i->due_ns = now_ns() + i->retry_ns;
    i->retry_ns = i->retry_ns ? i->retry_ns * 2 : RETRY_FIRST_NS;
    if (i->retry_ns > RETRY_MAX_NS)
        i->retry_ns = RETRY_MAX_NS;
    pthread_cond_broadcast(&i->set->changed);
}

static enum stage stage_after(const struct error *err)
{
    return err->code == ERR_COMPACTED || err->code == ERR_GONE ? STAGE_LIST : STAGE_WATCH;
}

static void on_ended(const struct error *err, void *arg)
{
    struct informer *i = arg;
    pthread_mutex_lock(&i->set->lock);
    if (now_ns() - i->watch_started_ns > WATCH_HEALTHY_NS)
        i->retry_ns = 0;
    schedule_retry(i, stage_after(err));
    pthread_mutex_unlock(&i->set->lock);
}

/* ---- the keeper: one thread that lists and starts watches for all informers of the set ---- */

static int list_once(struct informer *i, struct error *err)
{
    scoped(object_list) struct object_list list = { 0 };
    struct client_list_options options = {
        .field_selector = i->field_selector,
        .limit = LIST_PAGE,
        /* What the server has in memory will do for the start; after an expiry it may be what had
         * been too old, so then ask for the newest. */
        .from_cache = !i->is_synced,
    };
    int64_t revision = 0;
    if (client_list(i->set->client, i->resource, &options, &list, &revision, err) < 0)
        return -1;
    replace_all(i, &list, revision);
    return 0;
}

static int watch_once(struct informer *i, struct error *err)
{
    struct client_watch_options options = {
        .field_selector = i->field_selector,
        .resource_version = informer_revision(i),
        .event = on_event,
        .ended = on_ended,
        .arg = i,
    };
    i->watch = client_watch(i->set->client, i->resource, &options, err);
    return i->watch ? 0 : -1;
}

static void set_stage(struct informer *i, enum stage stage)
{
    pthread_mutex_lock(&i->set->lock);
    i->stage = stage;
    pthread_mutex_unlock(&i->set->lock);
}

static void retry_later(struct informer *i, const struct error *err)
{
    pthread_mutex_lock(&i->set->lock);
    /* Once for each row of failures, and only if what it leaves is a cache without a first list. */
    enum log_level level = i->is_synced || i->retry_ns ? LOG_DEBUG : LOG_WARN;
    if (log_enabled(level))
        log_write(level, "informer", "%s: %s", i->resource->plural, err->message);
    schedule_retry(i, stage_after(err) == STAGE_LIST ? STAGE_LIST : i->stage);
    pthread_mutex_unlock(&i->set->lock);
}

static void list_and_watch(struct informer *i, enum stage stage)
{
    struct error err = { 0 };
    client_watch_close(take_ptr(&i->watch));
    if (stage == STAGE_LIST) {
        if (list_once(i, &err) < 0) {
            retry_later(i, &err);
            return;
        }
        pthread_mutex_lock(&i->set->lock);
        i->is_synced = true;
        pthread_cond_broadcast(&i->set->changed);
        pthread_mutex_unlock(&i->set->lock);
    }
    /* Before the watch begins, since it may end (and say so) before client_watch() returns. */
    pthread_mutex_lock(&i->set->lock);
    i->stage = STAGE_RUNNING;
    i->watch_started_ns = now_ns();
    pthread_mutex_unlock(&i->set->lock);
    if (watch_once(i, &err) < 0) {
        set_stage(i, STAGE_WATCH);
        retry_later(i, &err);
    }
}

/* Under the set's lock: who is due first; NULL if all run by themselves. */
static struct informer *first_due(struct informer_set *s)
{
    struct informer *first = NULL;
    for (struct informer *i = s->informers; i; i = i->next) {
        if ((i->stage == STAGE_LIST || i->stage == STAGE_WATCH) &&
            (!first || i->due_ns < first->due_ns))
            first = i;
    }
    return first;
}

static void *keep(void *arg)
{
    struct informer_set *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->is_stopping) {
        struct informer *i = first_due(s);
        if (!i) {
            pthread_cond_wait(&s->changed, &s->lock);
        } else if (i->due_ns > now_ns()) {
            cond_wait_until(&s->changed, &s->lock, i->due_ns);
        } else {
            enum stage stage = i->stage;
            pthread_mutex_unlock(&s->lock);
            list_and_watch(i, stage);
            pthread_mutex_lock(&s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the set ---- */

struct informer_set *informer_set_new(struct client *c)
{
    struct informer_set *s = xcalloc(1, sizeof(*s));
    s->client = c;
    pthread_mutex_init(&s->lock, NULL);
    cond_init(&s->changed);
    return s;
}

static struct informer *informer_new(struct informer_set *s, const struct resource *r,
                                     const char *field_selector)
{
    struct informer *i = xcalloc(1, sizeof(*i));
    i->set = s;
    i->resource = r;
    i->field_selector = field_selector ? xstrdup(field_selector) : NULL;
    pthread_mutex_init(&i->lock, NULL);
    cond_init(&i->moved);
    return i;
}

struct informer *informer_set_get(struct informer_set *s, const struct resource *r,
                                  const char *field_selector)
{
    pthread_mutex_lock(&s->lock);
    struct informer **p = &s->informers;
    while (*p && !((*p)->resource == r && str_equal((*p)->field_selector, field_selector)))
        p = &(*p)->next;
    if (!*p)
        *p = informer_new(s, r, field_selector);
    struct informer *i = *p;
    pthread_mutex_unlock(&s->lock);
    return i;
}

void informer_set_start(struct informer_set *s)
{
    pthread_mutex_lock(&s->lock);
    for (struct informer *i = s->informers; i; i = i->next) {
        if (i->stage == STAGE_NEW)
            i->stage = STAGE_LIST;
    }
    if (!s->is_started && !s->is_stopping) {
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, KEEPER_STACK);
        ensure(pthread_create(&s->keeper, &attr, keep, s) == 0);
        pthread_attr_destroy(&attr);
        s->is_started = true;
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static const struct informer *first_unsynced(const struct informer_set *s)
{
    const struct informer *i = s->informers;
    while (i && (i->is_synced || i->stage == STAGE_NEW))
        i = i->next;
    return i;
}

int informer_set_wait(struct informer_set *s, int64_t timeout_ms, struct error *err)
{
    int64_t until_ns = now_ns() + timeout_ms * NS_PER_MS;
    int result = 0;
    pthread_mutex_lock(&s->lock);
    while (first_unsynced(s) && !s->is_stopping && cond_wait_until(&s->changed, &s->lock, until_ns))
        ;
    if (s->is_stopping)
        result = error_set(err, ERR_CANCELED, "the informers have stopped");
    else if (first_unsynced(s))
        result = error_set(err, ERR_TIMEOUT, "%s: no list within %lld ms",
                           first_unsynced(s)->resource->plural, (long long)timeout_ms);
    pthread_mutex_unlock(&s->lock);
    return result;
}

bool informer_is_synced(struct informer *i)
{
    pthread_mutex_lock(&i->set->lock);
    bool is_synced = i->is_synced;
    pthread_mutex_unlock(&i->set->lock);
    return is_synced;
}

void informer_set_stop(struct informer_set *s)
{
    pthread_mutex_lock(&s->lock);
    bool must_join = s->is_started && !s->is_stopping;
    s->is_stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (must_join)
        pthread_join(s->keeper, NULL);
    for (struct informer *i = s->informers; i; i = i->next) {
        client_watch_close(take_ptr(&i->watch));
        pthread_mutex_lock(&i->lock);
        i->is_stopped = true;
        pthread_cond_broadcast(&i->moved);
        pthread_mutex_unlock(&i->lock);
    }
}

static void informer_free(struct informer *i)
{
    hashmap_each (&i->entries, e) {
        struct entry *entry = e->value;
        object_unref(entry->object);
        entry_unlink(entry);
        free(entry);
    }
    hashmap_deinit(&i->entries);
    for (size_t n = 0; n < i->indexes_n; n++)
        hashmap_deinit(&i->indexes[n].buckets);
    pthread_cond_destroy(&i->moved);
    pthread_mutex_destroy(&i->lock);
    free(i->handlers);
    free(i->field_selector);
    free(i);
}

void informer_set_free(struct informer_set *s)
{
    if (!s)
        return;
    informer_set_stop(s);
    for (struct informer *i = s->informers, *next; i; i = next) {
        next = i->next;
        informer_free(i);
    }
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void informer_add_handler(struct informer *i, void (*fn)(const struct informer_event *e), void *arg)
{
    ensure(i->stage == STAGE_NEW);
    i->handlers = xrealloc(i->handlers, (i->handlers_n + 1) * sizeof(*i->handlers));
    i->handlers[i->handlers_n++] = (struct handler){ fn, arg };
}

/* ---- reading ---- */

static struct index *find_index(struct informer *i, const char *name)
{
    for (size_t n = 0; n < i->indexes_n; n++) {
        if (str_equal(i->indexes[n].name, name))
            return &i->indexes[n];
    }
    return NULL;
}

void informer_add_index(struct informer *i, const char *name, informer_index_fn *fn)
{
    if (find_index(i, name)) /* two parts want the same one */
        return;
    ensure(i->stage == STAGE_NEW && i->indexes_n < INFORMER_INDEXES_MAX);
    i->indexes[i->indexes_n++] = (struct index){ .name = name, .fn = fn };
}

struct object *informer_get(struct informer *i, const struct object_key *key)
{
    char text[KEY_TEXT_BYTES_MAX];
    pthread_mutex_lock(&i->lock);
    struct entry *e = hashmap_get(&i->entries, object_key_text(key, text));
    struct object *o = e ? object_ref(e->object) : NULL;
    pthread_mutex_unlock(&i->lock);
    return o;
}

void informer_list(struct informer *i, struct object_list *out)
{
    pthread_mutex_lock(&i->lock);
    hashmap_each (&i->entries, e)
        object_list_add(out, ((struct entry *)e->value)->object);
    pthread_mutex_unlock(&i->lock);
}

void informer_list_by(struct informer *i, const char *index, struct bytes value,
                      struct object_list *out)
{
    struct index *x = find_index(i, index);
    ensure(x);
    pthread_mutex_lock(&i->lock);
    struct bucket *b = hashmap_get(&x->buckets, value);
    for (struct link *l = b ? b->first : NULL; l; l = l->next)
        object_list_add(out, l->entry->object);
    pthread_mutex_unlock(&i->lock);
}

const struct resource *informer_resource(const struct informer *i)
{
    return i->resource;
}

int64_t informer_revision(struct informer *i)
{
    pthread_mutex_lock(&i->lock);
    int64_t revision = i->revision;
    pthread_mutex_unlock(&i->lock);
    return revision;
}

bool informer_wait_revision(struct informer *i, int64_t revision, int64_t timeout_ms)
{
    int64_t until_ns = now_ns() + timeout_ms * NS_PER_MS;
    pthread_mutex_lock(&i->lock);
    while (i->revision < revision && !i->is_stopped &&
           cond_wait_until(&i->moved, &i->lock, until_ns))
        ;
    bool seen = i->revision >= revision;
    pthread_mutex_unlock(&i->lock);
    return seen;
}

/* Under the lock. */
static bool is_gone(struct informer *i, const struct object_key *key, const char *uid)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct entry *e = hashmap_get(&i->entries, object_key_text(key, text));
    return !e || !str_equal(e->object->uid, uid) || object_is_deleting(e->object);
}

bool informer_wait_deleted(struct informer *i, const struct object_key *key, const char *uid,
                           int64_t timeout_ms)
{
    int64_t until_ns = now_ns() + timeout_ms * NS_PER_MS;
    pthread_mutex_lock(&i->lock);
    while (!is_gone(i, key, uid) && !i->is_stopped &&
           cond_wait_until(&i->moved, &i->lock, until_ns))
        ;
    bool gone = is_gone(i, key, uid);
    pthread_mutex_unlock(&i->lock);
    return gone;
}

/* ---- ready-made indexes ---- */

void informer_index_namespace(const struct object *o, void (*emit)(struct bytes value, void *ctx),
                              void *ctx)
{
    emit(bytes_of(o->key.ns), ctx);
}

void informer_index_owner(const struct object *o, void (*emit)(struct bytes value, void *ctx),
                          void *ctx)
{
    json_each_item (json_at(o->doc, "metadata.ownerReferences"), ref)
        emit(bytes_of(json_str(ref, "uid", "")), ctx);
}

void informer_index_controller(const struct object *o, void (*emit)(struct bytes value, void *ctx),
                               void *ctx)
{
    const struct json *ref = object_controller(o);
    if (ref)
        emit(bytes_of(json_str(ref, "uid", "")), ctx);
}

void informer_index_node(const struct object *o, void (*emit)(struct bytes value, void *ctx),
                         void *ctx)
{
    const char *node = json_str(o->doc, "spec.nodeName", "");
    if (*node)
        emit(bytes_of(node), ctx);
}
