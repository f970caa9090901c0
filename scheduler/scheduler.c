/* SPDX-License-Identifier: Apache-2.0 */
/* scheduler.c - one thread that owns nodes and queue, and the mailbox through which it hears. */
#include "scheduler/scheduler.h"

#include <pthread.h>

#include "api/event_recorder.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/worker_pool.h"
#include "scheduler/binder.h"
#include "scheduler/preemption.h"

#define SCHEDULER_NAME "default-scheduler"
#define WRITERS_MAX    32   /* bindings in flight: each waits for its write to be on disk */
#define WRITES_QUEUED  4096 /* more, and the scheduler itself writes until there is room */

/* Upstream runs a plugin for resource claims before preemption; it has its say for every pod. */
#define CLAIMS_MESSAGE "no new claims to deallocate"

/* ---- metrics: of the process ---- */

static struct metric *attempts_total, *attempt_seconds;
static pthread_once_t metrics_once = PTHREAD_ONCE_INIT;

static void declare_metrics(void)
{
    static const char *const labels[] = { "profile", "result", NULL };
    static const double seconds[] = { 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1 };
    attempts_total = metric_counter("scheduler_schedule_attempts_total",
                                    "Attempts to find a node for a pod.", labels);
    attempt_seconds =
        metric_histogram("scheduler_scheduling_attempt_duration_seconds",
                         "Time to find a node for a pod.", labels, seconds, ARRAY_LEN(seconds));
}

/* ---- the mailbox ---- */

enum letter_type {
    LETTER_POD,
    LETTER_POD_GONE,
    LETTER_NODE,
    LETTER_NODE_GONE,
    LETTER_KEPT, /* an object that the snapshot keeps as it is */
    LETTER_KEPT_GONE,
    LETTER_BUDGET,
    LETTER_BUDGET_GONE,
    LETTER_NOT_BOUND,
};

struct letter {
    struct letter *next;
    enum letter_type type;
    struct pod_info *pod;
    struct object *object; /* what is not a pod */
    int attempts;          /* not bound: how often it was tried */
};

struct scheduler {
    struct client *client;
    const struct clock *clock;
    struct rng *rng;
    struct event_recorder *recorder;
    struct worker_pool *writers;
    pthread_t thread;
    bool is_running;

    /* The thread's own. */
    struct snapshot snapshot;
    struct pod_queue queue;
    struct hashmap nominated; /* key -> struct pod_info: pods that preemption made room for */
    size_t next_start;
    struct arena *arena; /* of one pod */

    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t news;
    struct letter *first, **last; /* as many as there are events that the thread has not seen */
    bool is_stopping;
};

static void letter_free(struct letter *l)
{
    pod_info_unref(l->pod);
    object_unref(l->object);
    free(l);
}

/* Takes over POD and OBJECT. */
static void send_take(struct scheduler *s, enum letter_type type, struct pod_info *pod,
                      struct object *object, int attempts)
{
    struct letter *l = xmalloc(sizeof(*l));
    *l = (struct letter){ .type = type, .pod = pod, .object = object, .attempts = attempts };
    pthread_mutex_lock(&s->lock);
    *s->last = l;
    s->last = &l->next;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
}

static void on_pod(const struct informer_event *e)
{
    enum letter_type type = e->new ? LETTER_POD : LETTER_POD_GONE;
    send_take(e->arg, type, pod_info_new(e->new ? e->new : e->old), NULL, 0);
}

static bool is_same(const struct object *a, const struct object *b, const char *path)
{
    const struct json *x = json_at(a->doc, path), *y = json_at(b->doc, path);
    return x == y || (x && y && json_equal(x, y));
}

/* Nodes report that they are alive all the time; most reports change nothing here. */
static bool is_same_node(const struct object *a, const struct object *b)
{
    return is_same(a, b, "spec") && is_same(a, b, "metadata.labels") &&
           is_same(a, b, "status.allocatable") && is_same(a, b, "status.images");
}

static void on_node(const struct informer_event *e)
{
    if (e->old && e->new &&is_same_node(e->old, e->new))
        return;
    const struct object *node = e->new ? e->new : e->old;
    send_take(e->arg, e->new ? LETTER_NODE : LETTER_NODE_GONE, NULL, object_ref(node), 0);
}

/* Namespaces, claims, volumes and storage classes. */
static void on_kept(const struct informer_event *e)
{
    if (e->old && e->new &&is_same(e->old, e->new, "metadata") && is_same(e->old, e->new, "spec"))
        return;
    send_take(e->arg, e->new ? LETTER_KEPT : LETTER_KEPT_GONE, NULL,
              object_ref(e->new ? e->new : e->old), 0);
}

static void on_budget(const struct informer_event *e)
{
    send_take(e->arg, e->new ? LETTER_BUDGET : LETTER_BUDGET_GONE, NULL,
              object_ref(e->new ? e->new : e->old), 0);
}

/* ---- writes, on the pool ---- */

struct write {
    struct scheduler *s;
    struct pod_info *pod;
    char *node_name; /* binding: to this node; report: nominated for it, or NULL */
    int attempts;
    char *message;     /* report */
    bool is_hopeless;  /* report: an earlier nomination is of no use any more */
    bool *is_selected; /* claims that are to be told the node, as in the pod */
    struct pod_info **victims;
    size_t victims_n;
};

static void write_free(struct write *w)
{
    for (size_t i = 0; i < w->victims_n; i++)
        pod_info_unref(w->victims[i]);
    free(w->victims);
    pod_info_unref(w->pod);
    free(w->is_selected);
    free(w->node_name);
    free(w->message);
    free(w);
}

static struct write *write_new(struct scheduler *s, const struct pod_info *pod,
                               const char *node_name)
{
    struct write *w = xcalloc(1, sizeof(*w));
    w->s = s;
    w->pod = pod_info_ref(pod);
    w->node_name = node_name ? xstrdup(node_name) : NULL;
    return w;
}

static void submit_take(struct scheduler *s, void (*fn)(void *arg), struct write *w)
{
    struct error full = { 0 };
    if (worker_pool_submit(s->writers, fn, w, &full) < 0)
        fn(w); /* the queue is full: the scheduler must not run further ahead */
}

static void bind_pod(void *arg)
{
    struct write *w = arg;
    struct error err = { 0 };
    const struct object *pod = w->pod->pod;
    if (binder_bind(w->s->client, w->pod, w->node_name, &err) == 0) {
        event_record(w->s->recorder, pod, "Normal", "Scheduled",
                     "Successfully assigned %s/%s to %s", pod->key.ns, pod->key.name, w->node_name);
    } else {
        log_warn("scheduler", "bind pod %s to %s: %s", w->pod->key.data, w->node_name, err.message);
        if (err.code != ERR_NOT_FOUND)
            event_record(w->s->recorder, pod, "Warning", "FailedScheduling", "%s", err.message);
        send_take(w->s, LETTER_NOT_BOUND, pod_info_ref(w->pod), NULL, w->attempts);
    }
    write_free(w);
}

static void evict_victims(struct write *w)
{
    for (size_t i = 0; i < w->victims_n; i++) {
        struct error err = { 0 };
        const struct pod_info *victim = w->victims[i];
        if (binder_preempt(w->s->client, victim, w->s->clock, &err) < 0)
            log_warn("scheduler", "%s", err.message);
        else
            event_record(w->s->recorder, victim->pod, "Normal", "Preempted",
                         "Preempted by pod %s on node %s", w->pod->pod->uid, w->node_name);
    }
}

static void report_pod(void *arg)
{
    struct write *w = arg;
    struct error err = { 0 };
    struct pod_report report = { "Unschedulable", w->message, w->node_name };
    if (w->is_hopeless)
        report.nominated = "";
    event_record(w->s->recorder, w->pod->pod, "Warning", "FailedScheduling", "%s", w->message);
    if (binder_report(w->s->client, w->pod, &report, w->s->clock, &err) < 0 &&
        err.code != ERR_NOT_FOUND)
        log_warn("scheduler", "report about pod %s: %s", w->pod->key.data, err.message);
    evict_victims(w);
    write_free(w);
}

/* ---- one pod ---- */

static void forget_nomination(struct scheduler *s, struct bytes key)
{
    pod_info_unref(hashmap_remove(&s->nominated, key));
}

static void remember_nomination(struct scheduler *s, struct pod_info *pod)
{
    forget_nomination(s, pod->key);
    if (!str_empty(pod->nominated_node))
        hashmap_put(&s->nominated, pod->key, pod_info_ref(pod));
}

static const struct pod_info **nominated_pods(struct scheduler *s, size_t *n)
{
    *n = 0;
    if (!s->nominated.n)
        return NULL;
    const struct pod_info **list = arena_alloc(s->arena, s->nominated.n * sizeof(list[0]));
    hashmap_each (&s->nominated, e)
        list[(*n)++] = e->value;
    return list;
}

static void assume(struct scheduler *s, struct queued_pod *p, const char *node_name)
{
    struct write *w = write_new(s, p->info, node_name);
    w->attempts = p->attempts;
    snapshot_place(&s->snapshot, p->info, node_name, true);
    forget_nomination(s, p->info->key);
    pod_queue_remove(&s->queue, w->pod->key);
    submit_take(s, bind_pod, w);
}

/* It fits nowhere: makes room if it may, tells why it waits, and lets it wait. */
static void give_up(struct scheduler *s, struct queued_pod *p, struct schedule_result *r)
{
    struct preemption preemption = { 0 };
    if (s->snapshot.nodes_n) {
        preemption_find(&s->snapshot, p->info, r->verdicts, s->arena, &preemption);
        if (!preemption.node)
            buffer_printf(&r->message, " %s, preemption: %s", CLAIMS_MESSAGE,
                          preemption.message.data);
    }
    struct write *w = write_new(s, p->info, preemption.node ? preemption.node->name : NULL);
    w->is_hopeless = preemption.is_hopeless;
    if (w->is_hopeless)
        forget_nomination(s, p->info->key);
    w->message = buffer_take(&r->message);
    w->victims = xcalloc(preemption.victims_n + 1, sizeof(w->victims[0]));
    for (size_t i = 0; i < preemption.victims_n; i++)
        w->victims[w->victims_n++] = pod_info_ref(preemption.victims[i]);
    buffer_free(&preemption.message);
    pod_queue_park(&s->queue, p, r->events);
    submit_take(s, report_pod, w);
}

static bool has_waiting_claims(struct scheduler *s, const struct pod_info *pod)
{
    for (size_t i = 0; i < pod->claims_n; i++)
        if (claim_waits_for_node(&s->snapshot, &pod->claims[i]))
            return true;
    return false;
}

static void select_nodes(void *arg)
{
    struct write *w = arg;
    for (size_t i = 0; i < w->pod->claims_n; i++) {
        struct error err = { 0 };
        const struct pod_claim *claim = &w->pod->claims[i];
        if (w->is_selected[i] &&
            binder_select_node(w->s->client, w->pod, claim, w->node_name, &err) < 0)
            log_warn("scheduler", "select a node for claim %s: %s", claim->key.data, err.message);
    }
    write_free(w);
}

/* Its volumes are made for the node that it would get.  When they are there, it is scheduled again,
 * and the volumes lead it to that node. */
static void provision(struct scheduler *s, struct queued_pod *p, const char *node_name)
{
    struct write *w = write_new(s, p->info, node_name);
    w->is_selected = xcalloc(p->info->claims_n, sizeof(w->is_selected[0]));
    for (size_t i = 0; i < p->info->claims_n; i++) {
        const struct object *claim = snapshot_object(&s->snapshot.claims, p->info->claims[i].key);
        w->is_selected[i] =
            claim_waits_for_node(&s->snapshot, &p->info->claims[i]) &&
            !str_equal(object_annotation(claim, ANNOTATION_SELECTED_NODE), node_name);
    }
    pod_queue_park(&s->queue, p, EVENT_VOLUMES);
    submit_take(s, select_nodes, w);
}

static void count_attempt(struct scheduler *s, const char *result, int64_t began_ns)
{
    const char *labels[] = { SCHEDULER_NAME, result };
    metric_add(attempts_total, 1, labels);
    metric_observe(attempt_seconds,
                   (double)(clock_monotonic_ns(s->clock) - began_ns) / (double)NS_PER_S, labels);
}

static void schedule(struct scheduler *s, struct queued_pod *p)
{
    int64_t began_ns = clock_monotonic_ns(s->clock);
    struct schedule_result r;
    struct schedule_options options = { .rng = s->rng, .next_start = &s->next_start };
    options.nominated = nominated_pods(s, &options.nominated_n);
    schedule_one(&s->snapshot, p->info, &options, s->arena, &r);
    count_attempt(s, r.node ? "scheduled" : "unschedulable", began_ns);
    if (r.node && has_waiting_claims(s, p->info))
        provision(s, p, r.node->name);
    else if (r.node)
        assume(s, p, r.node->name);
    else
        give_up(s, p, &r);
    buffer_free(&r.message);
    arena_reset(s->arena);
}

/* ---- letters ---- */

static void pod_left_its_node(struct scheduler *s, struct bytes key)
{
    if (!snapshot_pod(&s->snapshot, key))
        return;
    snapshot_remove_pod(&s->snapshot, key);
    pod_queue_wake(&s->queue, EVENT_POD_GONE);
}

static void read_placed_pod(struct scheduler *s, struct pod_info *pod)
{
    struct placed_pod *old = snapshot_pod(&s->snapshot, pod->key);
    bool is_news =
        !old || !str_equal(old->node->name, pod->node_name) ||
        (old->info->labels != pod->labels && !is_same(old->info->pod, pod->pod, "metadata.labels"));
    pod_queue_remove(&s->queue, pod->key);
    snapshot_place(&s->snapshot, pod, pod->node_name, false);
    if (is_news)
        pod_queue_wake(&s->queue, EVENT_POD_PLACED);
}

static void read_waiting_pod(struct scheduler *s, struct pod_info *pod)
{
    bool is_ours = str_equal(json_str(pod->spec, "schedulerName", SCHEDULER_NAME), SCHEDULER_NAME);
    if (!is_ours || object_is_deleting(pod->pod)) {
        pod_queue_remove(&s->queue, pod->key);
        return;
    }
    struct placed_pod *placed = snapshot_pod(&s->snapshot, pod->key);
    if (placed && str_equal(placed->info->pod->uid, pod->pod->uid))
        return;                     /* its binding is on the way */
    pod_left_its_node(s, pod->key); /* another pod of that name */
    remember_nomination(s, pod);
    struct queued_pod *queued = pod_queue_get(&s->queue, pod->key);
    if (queued && is_same(queued->info->pod, pod->pod, "spec") &&
        is_same(queued->info->pod, pod->pod, "metadata.labels"))
        pod_queue_refresh(&s->queue, queued, pod);
    else
        pod_queue_set(&s->queue, pod);
}

static void read_pod(struct scheduler *s, struct pod_info *pod)
{
    if (pod->is_finished || !str_empty(pod->node_name))
        forget_nomination(s, pod->key);
    if (pod->is_finished) {
        pod_queue_remove(&s->queue, pod->key);
        pod_left_its_node(s, pod->key);
    } else if (!str_empty(pod->node_name)) {
        read_placed_pod(s, pod);
    } else {
        read_waiting_pod(s, pod);
    }
}

static void read_pod_gone(struct scheduler *s, const struct pod_info *pod)
{
    pod_queue_remove(&s->queue, pod->key);
    if (hashmap_get(&s->nominated, pod->key)) {
        forget_nomination(s, pod->key);
        pod_queue_wake(&s->queue, EVENT_POD_GONE);
    }
    pod_left_its_node(s, pod->key);
}

static unsigned node_events(const struct object *old, const struct object *new)
{
    if (!old)
        return EVENT_NODE_ADDED;
    return (is_same(old, new, "status.allocatable") ? 0 : EVENT_NODE_GREW) |
           (is_same(old, new, "metadata.labels") ? 0 : EVENT_NODE_LABELS) |
           (is_same(old, new, "spec.taints") && is_same(old, new, "spec.unschedulable")
                ? 0
                : EVENT_NODE_TAINTS);
}

static void read_node(struct scheduler *s, const struct object *node)
{
    struct node_info *n = snapshot_node(&s->snapshot, node->key.name);
    unsigned events = node_events(n ? n->node : NULL, node);
    snapshot_set_node(&s->snapshot, node);
    if (events)
        pod_queue_wake(&s->queue, events);
}

static void read_not_bound(struct scheduler *s, struct pod_info *pod, int attempts)
{
    struct placed_pod *placed = snapshot_pod(&s->snapshot, pod->key);
    if (!placed || !placed->is_assumed || !str_equal(placed->info->pod->uid, pod->pod->uid))
        return; /* it is gone, or has a node after all */
    pod_left_its_node(s, pod->key);
    pod_queue_set(&s->queue, pod);
    struct queued_pod *queued = pod_queue_get(&s->queue, pod->key);
    queued->attempts = attempts;
    pod_queue_retry(&s->queue, queued);
}

static void read_kept(struct scheduler *s, const struct object *o, bool is_gone)
{
    const struct {
        int resource_id;
        struct hashmap *map;
        unsigned events;
    } kept[] = {
        { RESOURCE_NAMESPACES, &s->snapshot.namespaces, EVENT_POD_PLACED },
        { RESOURCE_PERSISTENTVOLUMECLAIMS, &s->snapshot.claims, EVENT_VOLUMES },
        { RESOURCE_PERSISTENTVOLUMES, &s->snapshot.volumes, EVENT_VOLUMES },
        { RESOURCE_STORAGECLASSES, &s->snapshot.storage_classes, EVENT_VOLUMES },
    };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        if (o->resource->id != kept[i].resource_id)
            continue;
        snapshot_set_object(kept[i].map, o, is_gone);
        pod_queue_wake(&s->queue, kept[i].events);
    }
}

static void read_letter(struct scheduler *s, struct letter *l)
{
    switch (l->type) {
    case LETTER_POD:
        read_pod(s, l->pod);
        break;
    case LETTER_POD_GONE:
        read_pod_gone(s, l->pod);
        break;
    case LETTER_NODE:
        read_node(s, l->object);
        break;
    case LETTER_NODE_GONE:
        snapshot_remove_node(&s->snapshot, l->object->key.name);
        pod_queue_wake(&s->queue, EVENT_NODE_GONE);
        break;
    case LETTER_KEPT:
    case LETTER_KEPT_GONE:
        read_kept(s, l->object, l->type == LETTER_KEPT_GONE);
        break;
    case LETTER_BUDGET:
    case LETTER_BUDGET_GONE:
        snapshot_set_budget(&s->snapshot, l->object, l->type == LETTER_BUDGET_GONE);
        break;
    case LETTER_NOT_BOUND:
        read_not_bound(s, l->pod, l->attempts);
        break;
    }
    letter_free(l);
}

/* ---- the thread ---- */

static struct letter *take_letters(struct scheduler *s)
{
    struct letter *all = s->first;
    s->first = NULL;
    s->last = &s->first;
    return all;
}

/* Until a letter comes, or a pod's backoff is over.  With the lock. */
static void wait_for_news(struct scheduler *s)
{
    int64_t due_ns = pod_queue_due_ns(&s->queue);
    cond_wait_clock(&s->news, &s->lock, s->clock, due_ns ? due_ns : INT64_MAX);
}

static void *scheduler_main(void *arg)
{
    struct scheduler *s = arg;
    pthread_setname_np(pthread_self(), "scheduler");
    pthread_mutex_lock(&s->lock);
    while (!s->is_stopping) {
        struct letter *letters = take_letters(s);
        pthread_mutex_unlock(&s->lock);

        for (struct letter *next; letters; letters = next) {
            next = letters->next;
            read_letter(s, letters);
        }
        struct queued_pod *p = pod_queue_pop(&s->queue);
        if (p)
            schedule(s, p);

        pthread_mutex_lock(&s->lock);
        if (!p && !s->first && !s->is_stopping)
            wait_for_news(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- starting and stopping ---- */

static void scheduler_free(struct scheduler *s)
{
    worker_pool_free(s->writers);
    event_recorder_free(s->recorder);
    for (struct letter *l = s->first, *next; l; l = next) {
        next = l->next;
        letter_free(l);
    }
    hashmap_each (&s->nominated, e)
        pod_info_unref(e->value);
    hashmap_deinit(&s->nominated);
    pod_queue_deinit(&s->queue);
    snapshot_deinit(&s->snapshot);
    arena_free(s->arena);
    pthread_cond_destroy(&s->news);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void init_news(struct scheduler *s)
{
    cond_init(&s->news);
    pthread_mutex_init(&s->lock, NULL);
    s->last = &s->first;
}

struct scheduler *scheduler_new(const struct scheduler_config *config, struct error *err)
{
    struct worker_pool *writers = worker_pool_new("scheduler", WRITERS_MAX, WRITES_QUEUED, err);
    if (!writers)
        return NULL;
    struct scheduler *s = xcalloc(1, sizeof(*s));
    s->writers = writers;
    s->client = config->client;
    s->clock = config->clock ? config->clock : &system_clock;
    s->rng = config->rng ? config->rng : system_rng;
    s->arena = arena_new();
    s->recorder = event_recorder_new(config->client, SCHEDULER_NAME, NULL);
    pod_queue_init(&s->queue, s->clock);
    init_news(s);
    pthread_once(&metrics_once, declare_metrics);
    static const struct {
        int resource_id;
        void (*handler)(const struct informer_event *e);
    } watched[] = {
        { RESOURCE_NODES, on_node },
        { RESOURCE_PODS, on_pod },
        { RESOURCE_NAMESPACES, on_kept },
        { RESOURCE_PERSISTENTVOLUMECLAIMS, on_kept },
        { RESOURCE_PERSISTENTVOLUMES, on_kept },
        { RESOURCE_STORAGECLASSES, on_kept },
        { RESOURCE_PODDISRUPTIONBUDGETS, on_budget },
    };
    for (size_t i = 0; i < ARRAY_LEN(watched); i++)
        informer_add_handler(
            informer_set_get(config->informers, &resources[watched[i].resource_id], NULL),
            watched[i].handler, s);
    return s;
}

int scheduler_run(struct scheduler *s, struct error *err)
{
    int rc = pthread_create(&s->thread, NULL, scheduler_main, s);
    if (rc)
        return error_set(err, ERR_INTERNAL, "start the scheduler: %s", strerror(rc));
    s->is_running = true;
    return 0;
}

void scheduler_stop(struct scheduler *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
    if (s->is_running)
        pthread_join(s->thread, NULL);
    scheduler_free(s);
}
