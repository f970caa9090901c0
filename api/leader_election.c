/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leader_election.c - a thread that takes and renews the lease, and one that begins and ends.
 *
 *     elector:  get, update, sleep ...      sets LEADS_UNTIL after each success; while another one
 *               leads, a watch tells of each renewal, and at once of a lease that is given up
 *     runner:   began() once LEADS_UNTIL lies ahead, ended() once it has passed: also while the
 *               elector waits for an answer that does not come
 */
#include "api/leader_election.h"

#include <pthread.h>

#include "api/event_recorder.h"
#include "base/cond.h"
#include "base/log.h"

#define JITTER_FACTOR 1.2 /* candidates wait for up to 2.2 periods */
/* A holder writes every period.  When no word of it came for that and a little more, it has gone or
 * our watch hangs: a look tells, and what it finds counts from then. */
#define SILENCE_NS (250 * NS_PER_MS)
/* Between attempts to get a lease that is free: the store elects a leader, or another candidate was
 * faster.  Who still fails after so many has another trouble. */
#define AGAIN_NS      (100 * NS_PER_MS)
#define AGAIN_MAX     50
#define BEGIN_AGAIN_S 5

struct leader_elector {
    struct leader_election_config config;
    char *ns, *name, *identity;
    struct event_recorder *recorder;
    pthread_t elector, runner;

    /* the elector's */
    struct object *lease; /* as last seen; NULL: none */
    int64_t seen_ns;      /* when it last changed, by our clock */
    bool is_holder;
    unsigned failures;          /* in a row */
    struct client_watch *watch; /* NULL: not open */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct object *news; /* the lease as the watch told last; NULL: nothing new */
    int64_t news_ns;
    bool is_watch_over;
    int64_t leads_until_ns; /* monotonic; 0: does not lead */
    bool is_stopping;
};

/* ---- the record ---- */

static const struct resource *leases(void)
{
    return &resources[RESOURCE_LEASES];
}

static const char *holder_of(const struct object *lease)
{
    return json_str(lease->doc, "spec.holderIdentity", "");
}

static void keep_lease_take(struct leader_elector *e, struct object *lease, int64_t now_ns)
{
    if (!e->lease || e->lease->resource_version != lease->resource_version)
        e->seen_ns = now_ns;
    object_unref(e->lease);
    e->lease = lease;
}

static void fill_spec(struct leader_elector *e, struct draft *d, const char *holder,
                      int64_t duration_ns)
{
    char now[TIME_TEXT_BYTES];
    time_format_micro(clock_wall_ns(e->config.clock), now);
    bool is_new_holder = !str_equal(json_str(d->doc, "spec.holderIdentity", ""), holder);
    json_put_str(d->arena, d->doc, "spec.holderIdentity", holder);
    json_put_int(d->arena, d->doc, "spec.leaseDurationSeconds", duration_ns / NS_PER_S);
    json_put_str(d->arena, d->doc, "spec.renewTime", now);
    if (is_new_holder)
        json_put_str(d->arena, d->doc, "spec.acquireTime", now);
    int64_t transitions = json_int(d->doc, "spec.leaseTransitions", 0);
    json_put_int(d->arena, d->doc, "spec.leaseTransitions",
                 transitions + (is_new_holder && *holder && e->lease));
}

static int create_lease(struct leader_elector *e, struct error *err)
{
    scoped(draft) struct draft *d = draft_new(leases());
    struct object *lease = NULL;
    int64_t now_ns = clock_monotonic_ns(e->config.clock);
    json_put_str(d->arena, d->doc, "metadata.name", e->name);
    json_put_str(d->arena, d->doc, "metadata.namespace", e->ns);
    fill_spec(e, d, e->identity, e->config.lease_duration_ns);
    if (client_create(e->config.client, leases(), e->ns, d->doc, &lease, err) < 0)
        return -1;
    keep_lease_take(e, lease, now_ns);
    return 0;
}

static int write_lease(struct leader_elector *e, const char *holder, int64_t duration_ns,
                       struct error *err)
{
    scoped(draft) struct draft *d = object_edit(e->lease);
    struct object_key key = { e->ns, e->name };
    struct object *lease = NULL;
    int64_t now_ns = clock_monotonic_ns(e->config.clock);
    fill_spec(e, d, holder, duration_ns);
    if (client_update(e->config.client, leases(), &key, d->doc, &lease, err) < 0)
        return -1;
    keep_lease_take(e, lease, now_ns);
    return 0;
}

static int look(struct leader_elector *e, struct error *err)
{
    struct object_key key = { e->ns, e->name };
    struct object *lease = NULL;
    if (client_get(e->config.client, leases(), &key, &lease, err) < 0)
        return -1;
    keep_lease_take(e, lease, clock_monotonic_ns(e->config.clock));
    return 0;
}

static int64_t out_at_ns(const struct leader_elector *e)
{
    int64_t duration_s = json_int(e->lease->doc, "spec.leaseDurationSeconds", 0);
    return e->seen_ns + duration_s * NS_PER_S;
}

/* Somebody else's, and not out yet as far as we can tell. */
static bool is_taken(const struct leader_elector *e)
{
    const char *holder = holder_of(e->lease);
    return *holder && !str_equal(holder, e->identity) &&
           clock_monotonic_ns(e->config.clock) < out_at_ns(e);
}

static bool failed(struct leader_elector *e, const struct error *err)
{
    bool is_race = err->code == ERR_CONFLICT || err->code == ERR_ALREADY_EXISTS;
    if (e->failures++ == 0 && !is_race)
        log_warn("leader-election", "%s/%s: %s", e->ns, e->name, err->message);
    return false;
}

/* Whether the lease is ours, renewed just now. */
static bool take_or_renew(struct leader_elector *e)
{
    struct error err = { 0 };
    int64_t duration_ns = e->config.lease_duration_ns;
    /* Who holds it writes over what it wrote last, without a look: a conflict tells. */
    if (e->is_holder && write_lease(e, e->identity, duration_ns, &err) == 0)
        return true;
    err = (struct error){ 0 };
    if (look(e, &err) < 0) {
        if (err.code != ERR_NOT_FOUND)
            return failed(e, &err);
        err = (struct error){ 0 };
        object_unref(e->lease);
        e->lease = NULL;
        return create_lease(e, &err) == 0 || failed(e, &err);
    }
    if (is_taken(e)) {
        e->failures = 0;
        return false;
    }
    return write_lease(e, e->identity, duration_ns, &err) == 0 || failed(e, &err);
}

/* ---- the elector ---- */

static void wait_until(struct leader_elector *e, int64_t due_ns)
{
    cond_wait_clock(&e->changed, &e->lock, e->config.clock, due_ns);
}

/* When to try next after an attempt that ended at ENDED_NS, in monotonic time; SHARE is random,
 * from 0 to 1, so that not all candidates come at once. */
static int64_t next_attempt_ns(const struct leader_elector *e, int64_t ended_ns, double share)
{
    int64_t period_ns = e->config.retry_period_ns;
    if (e->leads_until_ns)
        return ended_ns + period_ns;
    int64_t usual_ns = ended_ns + period_ns + (int64_t)(share * JITTER_FACTOR * (double)period_ns);
    if (!e->lease || !is_taken(e))
        return e->failures < AGAIN_MAX ? ended_ns + AGAIN_NS + (int64_t)(share * AGAIN_NS)
                                       : usual_ns;
    int64_t silent_ns = e->seen_ns + period_ns + SILENCE_NS, out_ns = out_at_ns(e);
    int64_t at_ns = silent_ns > ended_ns ? silent_ns : usual_ns;
    return at_ns < out_ns ? at_ns : out_ns;
}

/* ---- what the watch tells ---- */

static void on_event(const struct watch_event *event, void *arg)
{
    struct leader_elector *e = arg;
    if (event->type != WATCH_ADDED && event->type != WATCH_MODIFIED)
        return;
    pthread_mutex_lock(&e->lock);
    object_unref(e->news);
    e->news = object_ref(event->object);
    e->news_ns = clock_monotonic_ns(e->config.clock);
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

static void on_ended(const struct error *err, void *arg)
{
    struct leader_elector *e = arg;
    (void)err;
    pthread_mutex_lock(&e->lock);
    e->is_watch_over = true;
    pthread_mutex_unlock(&e->lock);
}

static void close_watch(struct leader_elector *e)
{
    client_watch_close(e->watch);
    e->watch = NULL;
    e->is_watch_over = false;
    object_unref(e->news);
    e->news = NULL;
}

/* Who cannot watch asks now and then: that is enough, only slower. */
static void keep_watch(struct leader_elector *e, bool is_wanted, bool is_over)
{
    if (e->watch && (is_over || !is_wanted))
        close_watch(e);
    if (e->watch || !is_wanted || !e->lease)
        return;
    scoped(str) char *selector = xasprintf("metadata.name=%s", e->name);
    struct client_watch_options options = { .ns = e->ns,
                                            .field_selector = selector,
                                            .resource_version = e->lease->resource_version,
                                            .event = on_event,
                                            .ended = on_ended,
                                            .arg = e };
    struct error err = { 0 };
    e->watch = client_watch(e->config.client, leases(), &options, &err);
    if (!e->watch)
        log_debug("leader-election", "%s/%s: %s", e->ns, e->name, err.message);
}

/* Under the lock.  True: the lease can be had now. */
static bool take_news(struct leader_elector *e)
{
    struct object *news = take_ptr(&e->news);
    if (!news)
        return false;
    if (!e->lease || news->resource_version > e->lease->resource_version) {
        keep_lease_take(e, news, e->news_ns);
    } else {
        /* A look that found the same may have taken longer than the watch. */
        if (news->resource_version == e->lease->resource_version && e->news_ns < e->seen_ns)
            e->seen_ns = e->news_ns;
        object_unref(news);
    }
    return !e->leads_until_ns && e->lease && !is_taken(e);
}

static bool is_lost(const struct leader_elector *e, int64_t now_ns)
{
    return now_ns >= e->leads_until_ns ||
           (e->lease && !str_equal(holder_of(e->lease), e->identity));
}

/* Under the lock. */
static void wait_for_turn(struct leader_elector *e)
{
    int64_t ended_ns = clock_monotonic_ns(e->config.clock);
    double share = (double)rng_below(system_rng, 1001) / 1000;
    while (!e->is_stopping && !take_news(e)) {
        int64_t due_ns = next_attempt_ns(e, ended_ns, share);
        if (due_ns <= clock_monotonic_ns(e->config.clock))
            return;
        wait_until(e, due_ns);
    }
}

static void *run_elector(void *arg)
{
    struct leader_elector *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->is_stopping) {
        bool is_watch_over = e->is_watch_over;
        pthread_mutex_unlock(&e->lock);
        int64_t begin_ns = clock_monotonic_ns(e->config.clock);
        bool is_ours = take_or_renew(e);
        if (is_ours)
            e->failures = 0;
        keep_watch(e, !is_ours, is_watch_over);
        pthread_mutex_lock(&e->lock);
        e->is_holder = is_ours;
        if (is_ours)
            e->leads_until_ns = begin_ns + e->config.renew_deadline_ns;
        else if (is_lost(e, clock_monotonic_ns(e->config.clock)))
            e->leads_until_ns = 0;
        else
            e->is_holder = true; /* until the deadline: the server may answer again before it */
        pthread_cond_broadcast(&e->changed);
        wait_for_turn(e);
    }
    pthread_mutex_unlock(&e->lock);
    close_watch(e);
    return NULL;
}

/* ---- the runner ---- */

static bool leads(const struct leader_elector *e)
{
    return !e->is_stopping && clock_monotonic_ns(e->config.clock) < e->leads_until_ns;
}

/* Under the lock. */
static void sleep_while_leading(struct leader_elector *e)
{
    while (leads(e))
        wait_until(e, e->leads_until_ns);
}

/* Under the lock, which is given up for the callbacks. */
static void lead_once(struct leader_elector *e)
{
    struct error err = { 0 };
    pthread_mutex_unlock(&e->lock);
    log_info("leader-election", "%s/%s: %s leads now", e->ns, e->name, e->identity);
    int rc = e->config.began(e, e->config.arg, &err);
    if (rc < 0)
        log_error("leader-election", "%s/%s: begin to lead: %s", e->ns, e->name, err.message);
    pthread_mutex_lock(&e->lock);
    if (rc == 0) {
        sleep_while_leading(e);
        pthread_mutex_unlock(&e->lock);
        log_info("leader-election", "%s/%s: %s leads no more", e->ns, e->name, e->identity);
        e->config.ended(e->config.arg);
        pthread_mutex_lock(&e->lock);
        return;
    }
    int64_t until_ns = clock_monotonic_ns(e->config.clock) + BEGIN_AGAIN_S * NS_PER_S;
    while (!e->is_stopping && clock_monotonic_ns(e->config.clock) < until_ns)
        wait_until(e, until_ns);
}

static void record_event(struct leader_elector *e, const char *what)
{
    scoped(draft) struct draft *d = draft_new(leases());
    json_put_str(d->arena, d->doc, "metadata.name", e->name);
    json_put_str(d->arena, d->doc, "metadata.namespace", e->ns);
    scoped(object) struct object *about = draft_publish(take_ptr(&d), 0);
    event_record(e->recorder, about, "Normal", "LeaderElection", "%s %s", e->identity, what);
}

static void *run_runner(void *arg)
{
    struct leader_elector *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->is_stopping) {
        if (!leads(e)) {
            pthread_cond_wait(&e->changed, &e->lock);
            continue;
        }
        record_event(e, "became leader");
        lead_once(e);
        record_event(e, "stopped leading");
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

bool leader_elector_leads(struct leader_elector *e)
{
    pthread_mutex_lock(&e->lock);
    bool is_before = clock_monotonic_ns(e->config.clock) < e->leads_until_ns;
    pthread_mutex_unlock(&e->lock);
    return is_before;
}

/* ---- start and stop ---- */

struct leader_elector *leader_elector_start(const struct leader_election_config *config,
                                            struct error *err)
{
    if (config->lease_duration_ns < NS_PER_S) {
        error_set(err, ERR_BAD_REQUEST, "the lease of a leader lasts a second at least");
        return NULL;
    }
    struct leader_elector *e = xcalloc(1, sizeof(*e));
    e->config = *config;
    if (!e->config.clock)
        e->config.clock = &system_clock;
    e->ns = xstrdup(config->ns);
    e->name = xstrdup(config->name);
    e->identity = xstrdup(config->identity);
    e->recorder = event_recorder_new(config->client, config->component, NULL);
    pthread_mutex_init(&e->lock, NULL);
    cond_init(&e->changed);
    ensure(pthread_create(&e->elector, NULL, run_elector, e) == 0 &&
           pthread_create(&e->runner, NULL, run_runner, e) == 0);
    return e;
}

static void give_up(struct leader_elector *e)
{
    struct error err = { 0 };
    if (!e->is_holder || !e->lease)
        return;
    if (write_lease(e, "", NS_PER_S, &err) < 0)
        log_warn("leader-election", "%s/%s: give it up: %s", e->ns, e->name, err.message);
}

void leader_elector_stop(struct leader_elector *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->is_stopping = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->runner, NULL);
    pthread_join(e->elector, NULL);
    give_up(e);
    event_recorder_free(e->recorder);
    object_unref(e->lease);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e->ns);
    free(e->name);
    free(e->identity);
    free(e);
}
