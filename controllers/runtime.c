/* SPDX-License-Identifier: Apache-2.0 */
/* runtime - the queue, the workers and the caches that all controllers share. */
#include "controllers/runtime.h"

#include <pthread.h>

#include "base/log.h"
#include "base/workqueue.h"

/* All controllers share one queue and these threads.  A thread starts when a key waits and nobody
 * is free, so a quiet cluster has one or two of them. */
#define WORKERS_MAX      16
#define WORKER_STACK     (256 * 1024)
#define CONTROLLERS_MAX  64
#define SYNC_FIRST_MS    5000  /* then those controllers start whose caches are full */
#define SYNC_TIMEOUT_MS  60000 /* and so often the others are looked at, and spoken of */
#define OBSERVE_SLICE_MS 500   /* a look at whether we are to stop, while a cache lags behind */
#define OBSERVE_SLICES   60

struct write {
    struct informer *informer;
    int64_t revision;       /* of the result */
    struct object *deleted; /* or: to be seen gone */
};

struct writes {
    struct write *items;
    size_t n, capacity;
};

/* A key that waits because its controller has as many workers as it may have. */
struct parked {
    struct parked *next;
    struct bytes queued;
};

struct desk { /* one controller at work */
    struct controller base;
    int working;
    struct parked *first, **last;
    bool is_open;         /* its caches are full; until then every key is parked */
    bool uses[RESOURCES]; /* the caches it looks into */
};

struct controllers {
    struct controllers_config config;
    struct workqueue *queue; /* keys: a byte with the controller's number, then "ns/name" */
    struct desk desks[CONTROLLERS_MAX];
    int desks_n;
    bool is_built; /* no controller is added any more */

    pthread_mutex_t lock; /* the fields below, and the desks' own */
    bool is_running, is_stopping;
    pthread_t threads[WORKERS_MAX];
    int threads_n, idle;
    bool has_opener;
    pthread_t opener;
};

/* ---- workers ---- */

static void *work(void *arg);

/* Under the lock.  0 or an errno. */
static int start_worker(struct controllers *all)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK);
    int rc = pthread_create(&all->threads[all->threads_n], &attr, work, all);
    pthread_attr_destroy(&attr);
    if (rc == 0) {
        all->threads_n++;
        all->idle++; /* on its way to the queue */
    }
    return rc;
}

/* One more thread, if keys wait that nobody is about to take. */
static void add_worker(struct controllers *all)
{
    pthread_mutex_lock(&all->lock);
    if (all->is_running && !all->is_stopping && all->threads_n < WORKERS_MAX &&
        (size_t)all->idle < workqueue_len(all->queue))
        start_worker(all); /* if it cannot, the key waits for the threads there are */
    pthread_mutex_unlock(&all->lock);
}

static bool is_stopping(struct controllers *all)
{
    pthread_mutex_lock(&all->lock);
    bool stopping = all->is_stopping;
    pthread_mutex_unlock(&all->lock);
    return stopping;
}

static bool is_seen(const struct write *w)
{
    if (w->deleted)
        return informer_wait_deleted(w->informer, &w->deleted->key, w->deleted->uid,
                                     OBSERVE_SLICE_MS);
    return informer_wait_revision(w->informer, w->revision, OBSERVE_SLICE_MS);
}

/* Ends early when a cache lags for long (its watch is broken): the key is then worked on with what
 * is known, as it would be after a restart. */
static void await_writes(struct controller *c)
{
    int slices = OBSERVE_SLICES;
    for (size_t i = 0; i < c->writes->n; i++) {
        while (slices > 0 && !is_seen(&c->writes->items[i]) && !is_stopping(c->all))
            slices--;
        object_unref(c->writes->items[i].deleted);
    }
    if (slices == 0)
        log_warn(c->spec->name, "the cache has not seen the last writes yet");
}

static void reconcile(struct controllers *all, struct desk *desk, struct bytes queued)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct object_key key =
        object_key_parse((struct bytes){ queued.data + 1, queued.len - 1 }, text);
    scoped(arena) struct arena *arena = arena_new();
    struct writes writes = { 0 };
    struct controller c = desk->base;
    c.arena = arena;
    c.writes = &writes;

    struct error err = { 0 };
    int rc = c.spec->reconcile(&c, &key, &err);
    await_writes(&c);
    if (rc == 0) {
        workqueue_forget(all->queue, queued);
    } else {
        /* A conflict says that the cache was behind: the next attempt sees more. */
        enum log_level level = err.code == ERR_CONFLICT ? LOG_DEBUG : LOG_WARN;
        if (log_enabled(level) && !is_stopping(all))
            log_write(level, c.spec->name, "%.*s: %s", (int)queued.len - 1, queued.data + 1,
                      err.message);
        workqueue_retry(all->queue, queued);
    }
    workqueue_done(all->queue, queued);
}

/* True if the caller works for the desk now; else the key is parked and will be somebody's later.
 */
static bool desk_enter(struct controllers *all, struct desk *desk, struct bytes queued)
{
    pthread_mutex_lock(&all->lock);
    bool entered = desk->is_open && desk->working < desk->base.spec->workers;
    if (entered) {
        desk->working++;
    } else {
        struct parked *p = xmalloc(sizeof(*p));
        *p = (struct parked){ .queued = queued };
        *desk->last = p;
        desk->last = &p->next;
    }
    pthread_mutex_unlock(&all->lock);
    return entered;
}

/* True if a parked key was there to go on with; else the caller has left the desk. */
static bool desk_next(struct controllers *all, struct desk *desk, struct bytes *queued)
{
    pthread_mutex_lock(&all->lock);
    struct parked *p = desk->first;
    if (p) {
        *queued = p->queued;
        desk->first = p->next;
        if (!desk->first)
            desk->last = &desk->first;
    } else {
        desk->working--;
    }
    pthread_mutex_unlock(&all->lock);
    free(p);
    return p != NULL;
}

static void count_idle(struct controllers *all, int change)
{
    pthread_mutex_lock(&all->lock);
    all->idle += change;
    pthread_mutex_unlock(&all->lock);
}

static void *work(void *arg)
{
    struct controllers *all = arg;
    struct bytes queued;
    while (workqueue_get(all->queue, &queued)) {
        count_idle(all, -1);
        add_worker(all);
        struct desk *desk = &all->desks[(unsigned char)queued.data[0] - 1];
        if (desk_enter(all, desk, queued)) {
            do {
                if (is_stopping(all))
                    workqueue_done(all->queue, queued);
                else
                    reconcile(all, desk, queued);
            } while (desk_next(all, desk, &queued));
        }
        count_idle(all, 1);
    }
    return NULL;
}

/* ---- keys ---- */

static struct bytes queue_key(const struct controller *c, const struct object_key *key,
                              char buf[KEY_TEXT_BYTES_MAX + 1])
{
    char text[KEY_TEXT_BYTES_MAX];
    struct bytes b = object_key_text(key, text);
    buf[0] = (char)(c->number + 1);
    memcpy(buf + 1, b.data, b.len);
    return (struct bytes){ buf, b.len + 1 };
}

void enqueue_key(struct controller *c, const struct object_key *key)
{
    char buf[KEY_TEXT_BYTES_MAX + 1];
    workqueue_add(c->all->queue, queue_key(c, key, buf));
    add_worker(c->all);
}

void enqueue_key_after(struct controller *c, const struct object_key *key, int64_t delay_ms)
{
    char buf[KEY_TEXT_BYTES_MAX + 1];
    workqueue_add_after(c->all->queue, queue_key(c, key, buf), delay_ms);
}

void enqueue_self(struct controller *c, const struct informer_event *e)
{
    enqueue_key(c, e->new ? &e->new->key : &e->old->key);
}

static const char *controller_name(const struct controller *c, const struct object *o)
{
    const struct json *ref = o ? object_controller(o) : NULL;
    const char *kind = resources[c->spec->watches[0].resource].kind;
    return ref && str_equal(json_str(ref, "kind", ""), kind) ? json_str(ref, "name", NULL) : NULL;
}

void enqueue_owner(struct controller *c, const struct informer_event *e)
{
    const char *was = controller_name(c, e->old), *is = controller_name(c, e->new);
    const char *ns = e->new ? e->new->key.ns : e->old->key.ns;
    if (is)
        enqueue_key(c, &(struct object_key){ ns, is });
    if (was && !str_equal(was, is))
        enqueue_key(c, &(struct object_key){ ns, was });
}

static void on_event(const struct informer_event *e)
{
    struct controller *c = e->arg;
    for (int i = 0; i < CONTROLLER_WATCHES_MAX; i++) {
        const struct controller_watch *w = &c->spec->watches[i];
        if (w->enqueue && &resources[w->resource] == informer_resource(e->informer))
            w->enqueue(c, e);
    }
}

/* ---- start and end ---- */

static bool is_disabled(const struct controllers_config *config, const struct controller_spec *spec)
{
    for (const char *const *name = config->disabled; name && *name; name++) {
        if (str_equal(*name, spec->name))
            return true;
    }
    return false;
}

/* Watches end with an empty row; resource 0, bindings, cannot be watched. */
static bool is_used(const struct controller_watch *w)
{
    return w->resource != 0;
}

static void register_informers(struct controller *c)
{
    for (int i = 0; i < CONTROLLER_WATCHES_MAX; i++) {
        const struct controller_watch *w = &c->spec->watches[i];
        if (!is_used(w))
            continue;
        struct informer *informer = cache_of(c, w->resource);
        if (w->enqueue)
            informer_add_handler(informer, on_event, c);
    }
    for (int i = 0; i < CONTROLLER_INDEXES_MAX && c->spec->indexes[i].name; i++) {
        const struct controller_index *x = &c->spec->indexes[i];
        informer_add_index(cache_of(c, x->resource), x->name, x->fn);
    }
}

static int add_controller(struct controllers *all, const struct controller_spec *spec,
                          struct error *err)
{
    ensure(all->desks_n < CONTROLLERS_MAX);
    struct desk *desk = &all->desks[all->desks_n];
    desk->last = &desk->first;
    struct client *client = all->config.client(spec->account, all->config.arg, err);
    if (!client)
        return error_wrap(err, "controller %s", spec->name);
    struct controller *c = &desk->base;
    *c = (struct controller){
        .spec = spec,
        .config = &all->config,
        .all = all,
        .number = all->desks_n,
        .client = client,
        .clock = all->config.clock,
    };
    c->events = event_recorder_new(c->client, spec->source, NULL);
    all->desks_n++;
    if (spec->init && spec->init(c, err) < 0)
        return error_wrap(err, "controller %s", spec->name);
    register_informers(c);
    return 0;
}

static void copy_config(struct controllers *all, const struct controllers_config *config)
{
    all->config = *config;
    if (!all->config.clock)
        all->config.clock = &system_clock;
}

struct controllers *controllers_new_of(const struct controllers_config *config,
                                       const struct controller_spec *const *specs,
                                       struct error *err)
{
    struct controllers *all = xcalloc(1, sizeof(*all));
    copy_config(all, config);
    pthread_mutex_init(&all->lock, NULL);
    all->queue = workqueue_new(&(struct workqueue_config){ 0 });
    for (; *specs; specs++) {
        if (!is_disabled(config, *specs) && add_controller(all, *specs, err) < 0) {
            controllers_stop(all);
            return NULL;
        }
    }
    all->is_built = true;
    return all;
}

/* The first cache that is still empty; NULL: all are full. */
static struct informer *missing_cache(struct desk *desk)
{
    for (int id = 0; id < RESOURCES; id++) {
        struct informer *i = desk->uses[id] ? cache_of(&desk->base, id) : NULL;
        if (i && !informer_is_synced(i))
            return i;
    }
    return NULL;
}

static void open_desk(struct controllers *all, struct desk *desk)
{
    pthread_mutex_lock(&all->lock);
    desk->is_open = true;
    struct parked *waiting = desk->first;
    desk->first = NULL;
    desk->last = &desk->first;
    pthread_mutex_unlock(&all->lock);
    for (struct parked *p = waiting, *next; p; p = next) {
        next = p->next;
        workqueue_add(all->queue, p->queued); /* while it counts as at work: it comes back */
        workqueue_done(all->queue, p->queued);
        free(p);
    }
    if (desk->base.spec->start)
        desk->base.spec->start(&desk->base);
    add_worker(all);
}

/* What one controller has to wait for holds up no other.  True if all work now. */
static bool open_desks(struct controllers *all)
{
    bool is_all = true;
    for (int i = 0; i < all->desks_n; i++) {
        struct desk *desk = &all->desks[i];
        struct informer *missing = desk->is_open ? NULL : missing_cache(desk);
        if (missing)
            log_warn(desk->base.spec->name, "waits for the first list of %s",
                     informer_resource(missing)->plural);
        else if (!desk->is_open)
            open_desk(all, desk);
        is_all = is_all && !missing;
    }
    return is_all;
}

static void *open_the_rest(void *arg)
{
    struct controllers *all = arg;
    struct error err;
    do {
        err = (struct error){ 0 };
        if (informer_set_wait(all->config.informers, SYNC_TIMEOUT_MS, &err) < 0 &&
            err.code != ERR_TIMEOUT)
            return NULL; /* the informers have stopped */
    } while (!open_desks(all));
    return NULL;
}

int controllers_run(struct controllers *all, struct error *err)
{
    struct error late = { 0 };
    if (informer_set_wait(all->config.informers, SYNC_FIRST_MS, &late) < 0 &&
        late.code != ERR_TIMEOUT)
        return error_set(err, late.code, "%s", late.message);
    pthread_mutex_lock(&all->lock);
    all->is_running = true;
    /* One that stays, for keys that become due later. */
    int rc = start_worker(all);
    pthread_mutex_unlock(&all->lock);
    if (rc == 0 && !open_desks(all)) {
        rc = pthread_create(&all->opener, NULL, open_the_rest, all);
        all->has_opener = rc == 0;
    }
    if (rc != 0)
        return error_set(err, ERR_INTERNAL, "start a controller thread: %s", strerror(rc));
    return 0;
}

static void desk_close(struct controllers *all, struct desk *desk)
{
    for (struct parked *p = desk->first, *next; p; p = next) {
        next = p->next;
        workqueue_done(all->queue, p->queued);
        free(p);
    }
    struct controller *c = &desk->base;
    event_recorder_free(c->events);
    if (c->spec->deinit)
        c->spec->deinit(c);
    client_close(c->client);
}

void controllers_stop(struct controllers *all)
{
    if (!all)
        return;
    pthread_mutex_lock(&all->lock);
    all->is_stopping = true;
    pthread_mutex_unlock(&all->lock);
    if (all->has_opener)
        pthread_join(all->opener, NULL);
    workqueue_shutdown(all->queue);
    for (int i = 0; i < all->threads_n; i++)
        pthread_join(all->threads[i], NULL);
    for (int i = 0; i < all->desks_n; i++)
        desk_close(all, &all->desks[i]);
    workqueue_free(all->queue);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

/* ---- the caches ---- */

struct informer *cache_of(struct controller *c, int resource)
{
    if (!c->all->is_built)
        c->all->desks[c->number].uses[resource] = true;
    return informer_set_get(c->config->informers, &resources[resource], NULL);
}

struct object *cache_get(struct controller *c, int resource, const struct object_key *key)
{
    return informer_get(cache_of(c, resource), key);
}

void cache_list(struct controller *c, int resource, struct object_list *out)
{
    informer_list(cache_of(c, resource), out);
}

void cache_list_by(struct controller *c, int resource, const char *index, const char *value,
                   struct object_list *out)
{
    informer_list_by(cache_of(c, resource), index, bytes_of(value), out);
}

void cache_list_namespace(struct controller *c, int resource, const char *ns,
                          struct object_list *out)
{
    cache_list_by(c, resource, "namespace", ns, out);
}

/* ---- writes ---- */

/* Remembers that the caches are to see this; writes to what nobody watches are not waited for. */
static void remember(struct controller *c, const struct resource *r, int64_t revision,
                     const struct object *deleted)
{
    bool watched = false;
    for (int i = 0; i < CONTROLLER_WATCHES_MAX && !watched; i++)
        watched = is_used(&c->spec->watches[i]) && &resources[c->spec->watches[i].resource] == r;
    if (!watched)
        return;
    struct writes *w = c->writes;
    w->items = arena_grow(c->arena, w->items, w->n, &w->capacity, sizeof(*w->items));
    w->items[w->n++] = (struct write){
        .informer = cache_of(c, r->id),
        .revision = revision,
        .deleted = deleted ? object_ref(deleted) : NULL,
    };
}

static struct object_key draft_key(const struct draft *d)
{
    return (struct object_key){ json_str(d->doc, "metadata.namespace", ""),
                                json_str(d->doc, "metadata.name", "") };
}

/* The common end of writes: remembers the result and hands it out or releases it. */
static void conclude(struct controller *c, struct object *result, struct object **out)
{
    remember(c, result->resource, result->resource_version, NULL);
    if (out)
        *out = result;
    else
        object_unref(result);
}

int create_object(struct controller *c, const struct draft *d, struct object **out,
                  struct error *err)
{
    struct object *result = NULL;
    const char *ns = json_str(d->doc, "metadata.namespace", "");
    if (client_create(c->client, d->resource, ns, d->doc, &result, err) < 0)
        return -1;
    conclude(c, result, out);
    return 0;
}

static int update(struct controller *c, const struct draft *d, const char *subresource,
                  struct object **out, struct error *err)
{
    struct object *result = NULL;
    struct object_key key = draft_key(d);
    if (c->client->ops->update(c->client, d->resource, &key, subresource, d->doc, &result, err) < 0)
        return -1;
    conclude(c, result, out);
    return 0;
}

int update_object(struct controller *c, const struct draft *d, struct object **out,
                  struct error *err)
{
    return update(c, d, NULL, out, err);
}

int update_object_status(struct controller *c, const struct draft *d, struct object **out,
                         struct error *err)
{
    return update(c, d, "status", out, err);
}

int patch_object(struct controller *c, const struct object *o, const char *subresource,
                 enum patch_type type, const struct json *patch, struct error *err)
{
    struct object *result = NULL;
    scoped(buffer) struct buffer body = { 0 };
    json_print(patch, &body);
    if (client_patch(c->client, o->resource, &o->key, subresource, type, buffer_bytes(&body),
                     &result, err) < 0)
        return -1;
    conclude(c, result, NULL);
    return 0;
}

static int delete_with(struct controller *c, const struct object *o,
                       const struct client_delete_options *options, struct error *err)
{
    struct error failure = { 0 };
    if (client_delete(c->client, o->resource, &o->key, options, &failure) < 0 &&
        failure.code != ERR_NOT_FOUND)
        return error_set(err, failure.code, "%s", failure.message);
    remember(c, o->resource, 0, o);
    return 0;
}

int delete_object(struct controller *c, const struct object *o, enum propagation propagation,
                  struct error *err)
{
    struct client_delete_options options = {
        .grace_period_s = -1,
        .propagation = propagation,
        .uid = o->uid,
    };
    return delete_with(c, o, &options, err);
}

int delete_object_now(struct controller *c, const struct object *o, struct error *err)
{
    struct client_delete_options options = { .grace_period_s = 0, .uid = o->uid };
    return delete_with(c, o, &options, err);
}

int get_live(struct controller *c, const struct object *o, struct object **out, struct error *err)
{
    return client_get(c->client, o->resource, &o->key, out, err);
}

/* ---- time, randomness ---- */

int64_t wall_ns(const struct controller *c)
{
    return clock_wall_ns(c->clock);
}

const char *time_text(struct controller *c, int64_t ns)
{
    char text[TIME_TEXT_BYTES];
    time_format(ns, text);
    return arena_strdup(c->arena, text);
}
