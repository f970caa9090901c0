/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.c - one thread that turns changed services into one iptables-restore.
 *
 *     informers --mark dirty--> set of service keys --take all--> rules per service --diff-->
 * restore
 *
 * What a service's rules were is remembered, so the cost of a change is that of the services it
 * touches.  When a restore fails, everything is written anew.
 */

#include "proxy/proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/cond.h"
#include "base/hashmap.h"
#include "base/log.h"
#include "proxy/conntrack.h"
#include "proxy/iptables_apply.h"

#define RETRY_FIRST_S 1
#define RETRY_MAX_S   30

/* What the kernel was told for one service. */
struct applied {
    struct arena *arena; /* everything below and this struct */
    struct bytes key;    /* ns/name */
    struct service_port *ports;
    size_t ports_n;
    struct rule_set rules;
};

struct dirty { /* a service key that waits */
    struct dirty *next;
    struct bytes key;
    char text[];
};

struct proxy {
    char *node_name, *cluster_cidr;
    struct informer *services, *slices;
    pthread_t thread;
    bool is_running;
    struct hashmap applied; /* the thread's own */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct hashmap dirty_keys;
    struct dirty *dirty;
    bool is_stopping;
};

static void mark(struct proxy *p, const char *ns, const char *service)
{
    size_t len = strlen(ns) + 1 + strlen(service);
    struct dirty *d = xmalloc(sizeof(*d) + len + 1);
    snprintf(d->text, len + 1, "%s/%s", ns, service);
    d->key = (struct bytes){ d->text, len };

    pthread_mutex_lock(&p->lock);
    if (hashmap_get(&p->dirty_keys, d->key)) {
        free(d);
    } else {
        hashmap_put(&p->dirty_keys, d->key, d);
        d->next = p->dirty;
        p->dirty = d;
        pthread_cond_signal(&p->wake);
    }
    pthread_mutex_unlock(&p->lock);
}

static void on_service(const struct informer_event *e)
{
    const struct object *o = e->new ? e->new : e->old;
    mark(e->arg, o->key.ns, o->key.name);
}

static const char *slice_service(const struct object *slice)
{
    return object_label(slice, "kubernetes.io/service-name");
}

static void on_slice(const struct informer_event *e)
{
    const struct object *o = e->new ? e->new : e->old;
    const char *service = slice_service(o);
    if (service)
        mark(e->arg, o->key.ns, service);
    const char *before = e->old && e->new ? slice_service(e->old) : NULL;
    if (before && !str_equal(before, service))
        mark(e->arg, o->key.ns, before);
}

static void index_by_service(const struct object *slice,
                             void (*emit)(struct bytes value, void *ctx), void *ctx)
{
    char text[KEY_TEXT_BYTES_MAX];
    const char *service = slice_service(slice);
    struct object_key key = { slice->key.ns, service };
    if (service)
        emit(object_key_text(&key, text), ctx);
}

static struct applied *build(struct proxy *p, struct bytes key)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct object_key name = object_key_parse(key, text);
    scoped(object) struct object *service = informer_get(p->services, &name);
    scoped(object_list) struct object_list slices = { 0 };
    informer_list_by(p->slices, "service", key, &slices);

    struct arena *arena = arena_new();
    struct applied *a = arena_zalloc(arena, sizeof(*a));
    a->arena = arena;
    a->key = arena_bytes(arena, key);
    a->ports_n = service_ports(service, &slices, p->node_name, arena, &a->ports);
    rules_for_ports(a->ports, a->ports_n, p->cluster_cidr, arena, &a->rules);
    return a;
}

/* NEW (empty: forgets the service) in the place of what was there. */
static void remember(struct proxy *p, struct applied *new)
{
    if (new->ports_n > 0)
        hashmap_put(&p->applied, new->key, new);
    else
        hashmap_remove(&p->applied, new->key);
}

static int write_everything(struct proxy *p, struct error *err)
{
    scoped(rule_batch) struct rule_batch batch = { 0 };
    hashmap_each (&p->applied, e) {
        rule_batch_change(&batch, NULL, &((struct applied *)e->value)->rules);
    }
    return iptables_reset(&batch, err);
}

struct change {                /* of one service */
    struct applied *old, *new; /* OLD may be NULL */
};

/* What is no longer needed; UDP flows only now, when no packet makes them anew by the old rules. */
static void finish_changes(struct change *changes, size_t n, bool is_first)
{
    for (size_t i = 0; i < n; i++) {
        struct applied *old = changes[i].old, *new = changes[i].new;
        if (!is_first) /* flows from before this process belong to endpoints that nobody knows */
            conntrack_forget(old ? old->ports : NULL, old ? old->ports_n : 0, new->ports,
                             new->ports_n);
        if (old)
            arena_free(old->arena);
        if (new->ports_n == 0)
            arena_free(new->arena);
    }
}

enum extent { WRITE_CHANGES, WRITE_ALL, WRITE_FIRST };

/* Applies the services in KEYS, all in one restore; of an EXTENT with all others. */
static int sync_services(struct proxy *p, const struct dirty *keys, enum extent extent,
                         struct error *err)
{
    scoped(rule_batch) struct rule_batch batch = { 0 };
    scoped(arena) struct arena *a = arena_new();
    struct change *changes = NULL;
    size_t n = 0, capacity = 0;
    for (const struct dirty *d = keys; d; d = d->next) {
        struct applied *old = hashmap_get(&p->applied, d->key), *new = build(p, d->key);
        changes = arena_grow(a, changes, n, &capacity, sizeof(*changes));
        changes[n++] = (struct change){ old, new };
        rule_batch_change(&batch, old ? &old->rules : NULL, &new->rules);
        remember(p, new);
    }
    int rc = 0;
    if (extent != WRITE_CHANGES) {
        rc = write_everything(p, err);
    } else if (!rule_batch_is_empty(&batch)) {
        scoped(buffer) struct buffer input = { 0 };
        rule_batch_print(&batch, false, &input);
        rc = iptables_restore(buffer_bytes(&input), err);
    }
    finish_changes(changes, n, extent == WRITE_FIRST);
    return rc;
}

static void free_dirty(struct dirty *d)
{
    while (d) {
        struct dirty *next = d->next;
        free(d);
        d = next;
    }
}

/* Waits for changes (or, after a failure, for RETRY_S) and takes them all; false when stopping. */
static bool take_dirty(struct proxy *p, int retry_s, struct dirty **out)
{
    int64_t until_ns =
        retry_s > 0 ? clock_monotonic_ns(&system_clock) + retry_s * NS_PER_S : INT64_MAX;
    pthread_mutex_lock(&p->lock);
    while (!p->is_stopping && (retry_s > 0 || !p->dirty) &&
           cond_wait_until(&p->wake, &p->lock, until_ns))
        ;
    bool is_running = !p->is_stopping;
    *out = p->dirty;
    p->dirty = NULL;
    hashmap_deinit(&p->dirty_keys);
    p->dirty_keys = (struct hashmap){ 0 };
    pthread_mutex_unlock(&p->lock);
    return is_running;
}

static void *run(void *arg)
{
    struct proxy *p = arg;
    struct dirty *dirty;
    int retry_s = 0;
    bool is_first = true;
    while (take_dirty(p, retry_s, &dirty)) {
        struct error err = { 0 };
        enum extent extent = is_first ? WRITE_FIRST : retry_s > 0 ? WRITE_ALL : WRITE_CHANGES;
        int rc = sync_services(p, dirty, extent, &err);
        free_dirty(dirty);
        if (rc == 0) {
            is_first = false;
            retry_s = 0;
            continue;
        }
        retry_s = retry_s == 0                ? RETRY_FIRST_S
                  : retry_s * 2 > RETRY_MAX_S ? RETRY_MAX_S
                                              : retry_s * 2;
        log_warn("proxy", "write rules, again in %d s: %s", retry_s, err.message);
    }
    free_dirty(dirty);
    return NULL;
}

/* What service addresses need from the kernel; a value that is right already is not written. */
static void set_sysctl(const char *path, const char *value)
{
    char now[16] = "";
    scoped(fd) int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        log_warn("proxy", "set %s to %s: %s", path, value, strerror(errno));
        return;
    }
    if (read(fd, now, sizeof(now) - 1) > 0 && strncmp(now, value, strlen(value)) == 0)
        return;
    if (pwrite(fd, value, strlen(value), 0) < 0)
        log_warn("proxy", "set %s to %s: %s", path, value, strerror(errno));
}

static void prepare_kernel(void)
{
    set_sysctl("/proc/sys/net/ipv4/ip_forward", "1");
    set_sysctl("/proc/sys/net/ipv4/conf/all/route_localnet", "1"); /* node ports on 127.0.0.1 */
    /* Pods on one bridge that meet through a service: the answer must pass the rules on its way
     * back. */
    if (access("/proc/sys/net/bridge", F_OK) == 0)
        set_sysctl("/proc/sys/net/bridge/bridge-nf-call-iptables", "1");
}

struct proxy *proxy_new(const struct proxy_config *config, struct error *err)
{
    (void)err;
    struct proxy *p = xcalloc(1, sizeof(*p));
    cond_init(&p->wake);
    pthread_mutex_init(&p->lock, NULL);
    p->node_name = xstrdup(config->node_name);
    p->cluster_cidr = xstrdup(config->cluster_cidr);
    p->services = informer_set_get(config->informers, &resources[RESOURCE_SERVICES], NULL);
    p->slices = informer_set_get(config->informers, &resources[RESOURCE_ENDPOINTSLICES], NULL);
    informer_add_index(p->slices, "service", index_by_service);
    informer_add_handler(p->services, on_service, p);
    informer_add_handler(p->slices, on_slice, p);
    return p;
}

int proxy_run(struct proxy *p, struct error *err)
{
    prepare_kernel();
    errno = pthread_create(&p->thread, NULL, run, p);
    if (errno)
        return error_errno(err, "start the proxy's thread");
    p->is_running = true;
    return 0;
}

void proxy_stop(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    p->is_stopping = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    if (p->is_running)
        pthread_join(p->thread, NULL);
    hashmap_each (&p->applied, e) {
        arena_free(((struct applied *)e->value)->arena);
    }
    hashmap_deinit(&p->applied);
    hashmap_deinit(&p->dirty_keys);
    free_dirty(p->dirty);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p->node_name);
    free(p->cluster_cidr);
    free(p);
}

int proxy_cleanup(struct error *err)
{
    return iptables_cleanup(err);
}
