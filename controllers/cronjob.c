/* SPDX-License-Identifier: Apache-2.0 */
/* cronjob - makes a Job whenever a CronJob's schedule says so. */
#include "base/cron_schedule.h"
#include "controllers/pod_control.h"

#define ANNOTATION_TIME "batch.kubernetes.io/cronjob-scheduled-timestamp"
#define MISSED_MAX      100 /* more missed times than this are worth a warning */
#define SLACK_MS        100 /* wake a little late rather than a little early */

struct sync {
    struct controller *c;
    struct object *cron;
    struct object_list jobs; /* its own, oldest first */
    struct draft *d;         /* the status in the making */
};

static void sync_scoped(struct sync *s)
{
    object_unref(s->cron);
    object_list_deinit(&s->jobs);
    draft_free(s->d);
}

/* ---- Jobs ---- */

/* "Complete", "Failed" or NULL: it has not ended. */
static const char *end_of(const struct object *job)
{
    if (object_condition_is_true(job, "Complete"))
        return "Complete";
    return object_condition_is_true(job, "Failed") ? "Failed" : NULL;
}

static int by_age(const void *a, const void *b)
{
    const struct object *x = *(struct object *const *)a, *y = *(struct object *const *)b;
    int64_t at = object_created_ns(x), other = object_created_ns(y);
    return at != other ? (at > other) - (at < other) : strcmp(x->key.name, y->key.name);
}

static struct json *active_list(const struct sync *s)
{
    return json_make_array(s->d->arena, s->d->doc, "status.active");
}

static int active_index(const struct sync *s, const char *uid)
{
    const struct json *list = active_list(s);
    for (size_t i = 0; i < list->len; i++) {
        if (str_equal(json_str(&list->items[i], "uid", ""), uid))
            return (int)i;
    }
    return -1;
}

static void drop_active(struct sync *s, const char *uid)
{
    int i = active_index(s, uid);
    if (i >= 0)
        json_remove_item(active_list(s), (size_t)i);
}

static void add_active(struct sync *s, const struct object *job)
{
    struct arena *a = s->d->arena;
    struct json *ref = json_new(a, JSON_OBJECT);
    json_put_str(a, ref, "kind", "Job");
    json_put_str(a, ref, "namespace", job->key.ns);
    json_put_str(a, ref, "name", job->key.name);
    json_put_str(a, ref, "uid", job->uid);
    json_put_str(a, ref, "apiVersion", "batch/v1");
    json_put_str(a, ref, "resourceVersion", json_str(job->doc, "metadata.resourceVersion", ""));
    json_append(a, active_list(s), *ref);
}

/* An RFC 3339 time of the status moves forward only. */
static void raise_time(struct sync *s, const char *path, const char *to)
{
    int64_t was = 0, is = 0;
    if (time_parse(to, &is) < 0)
        return;
    time_parse(json_str(s->d->doc, path, ""), &was);
    if (is > was)
        json_put_str(s->d->arena, s->d->doc, path, to);
}

static void note_job(struct sync *s, const struct object *job)
{
    const char *end = end_of(job);
    bool is_active = active_index(s, job->uid) >= 0;
    if (end && is_active) {
        drop_active(s, job->uid);
        event_record(s->c->events, s->cron, "Normal", "SawCompletedJob",
                     "Saw completed job: %s, condition: %s", job->key.name, end);
    } else if (!end && !is_active && object_annotation(job, ANNOTATION_TIME)) {
        /* Made here; only the status that was to say so has not been written. */
        add_active(s, job);
        raise_time(s, "status.lastScheduleTime", object_annotation(job, ANNOTATION_TIME));
    } else if (!end && !is_active) {
        event_record(s->c->events, s->cron, "Warning", "UnexpectedJob",
                     "Saw a job that the controller did not create or forgot: %s", job->key.name);
    }
    if (str_equal(end, "Complete"))
        raise_time(s, "status.lastSuccessfulTime", json_str(job->doc, "status.completionTime", ""));
}

static const struct object *find_job(const struct sync *s, const char *uid)
{
    object_list_each (&s->jobs, job) {
        if (str_equal(job->uid, uid))
            return job;
    }
    return NULL;
}

static void forget_missing(struct sync *s)
{
    struct json *list = active_list(s);
    for (size_t i = list->len; i-- > 0;) {
        if (find_job(s, json_str(&list->items[i], "uid", "")))
            continue;
        event_record(s->c->events, s->cron, "Normal", "MissingJob", "Active job went missing: %s",
                     json_str(&list->items[i], "name", ""));
        json_remove_item(list, i);
    }
}

static int delete_job(struct sync *s, const struct object *job, struct error *err)
{
    struct error failure = { 0 };
    if (delete_object(s->c, job, PROPAGATION_BACKGROUND, &failure) < 0) {
        event_record(s->c->events, s->cron, "Warning", "FailedDelete", "Deleted job: %s",
                     failure.message);
        return error_set(err, failure.code, "%s", failure.message);
    }
    drop_active(s, job->uid);
    event_record(s->c->events, s->cron, "Normal", "SuccessfulDelete", "Deleted job %s",
                 job->key.name);
    return 0;
}

/* Keeps the newest LIMIT Jobs with that end; a CronJob without a limit keeps all. */
static int clean_up(struct sync *s, const char *end, const char *limit_path, struct error *err)
{
    int64_t limit = json_int(s->cron->doc, limit_path, -1), n = 0;
    object_list_each (&s->jobs, counted)
        n += str_equal(end_of(counted), end);
    object_list_each (&s->jobs, job) {
        if (limit < 0 || n <= limit)
            return 0;
        if (!str_equal(end_of(job), end) || object_is_deleting(job))
            continue;
        if (delete_job(s, job, err) < 0)
            return -1;
        n--;
    }
    return 0;
}

/* ---- times ---- */

static int64_t starting_deadline_ns(const struct sync *s)
{
    return json_int(s->cron->doc, "spec.startingDeadlineSeconds", -1) * NS_PER_S;
}

static int64_t last_schedule_ns(const struct sync *s)
{
    int64_t at = 0;
    time_parse(json_str(s->d->doc, "status.lastScheduleTime", ""), &at);
    return at;
}

/* The latest time that has come since the last Job; 0: none. */
static int64_t due_ns(struct sync *s, const struct cron_schedule *schedule, int64_t now)
{
    int64_t from = last_schedule_ns(s), deadline = starting_deadline_ns(s);
    if (from == 0)
        from = object_created_ns(s->cron);
    if (deadline >= 0 && now - deadline > from)
        from = now - deadline;
    int64_t due = 0;
    int missed = 0;
    for (int64_t at = cron_schedule_next(schedule, from); at && at <= now;
         at = cron_schedule_next(schedule, at)) {
        due = at;
        if (++missed > MISSED_MAX) {
            /* After a long pause only the newest counts: look for it from shortly before now. */
            event_record(s->c->events, s->cron, "Warning", "TooManyMissedTimes",
                         "too many missed start times. Set or decrease "
                         ".spec.startingDeadlineSeconds or check clock skew");
            int64_t span = at - from > 0 ? at - from : NS_PER_S;
            int64_t recent = cron_schedule_next(schedule, now - span);
            for (; recent && recent <= now; recent = cron_schedule_next(schedule, recent))
                due = recent;
            return due;
        }
    }
    return due;
}

static void await_next(struct sync *s, const struct cron_schedule *schedule, int64_t now)
{
    int64_t next = cron_schedule_next(schedule, now);
    if (next)
        enqueue_key_after(s->c, &s->cron->key, (next - now) / NS_PER_MS + SLACK_MS);
}

/* ---- starting ---- */

static struct draft *draft_job(struct sync *s, int64_t due)
{
    struct draft *d = draft_new(&resources[RESOURCE_JOBS]);
    struct arena *a = d->arena;
    const struct json *template = json_at(s->cron->doc, "spec.jobTemplate");
    static const char *const copied[] = { "metadata.labels", "metadata.annotations", "spec" };
    json_put_str(a, d->doc, "metadata.namespace", s->cron->key.ns);
    json_put_str(a, d->doc, "metadata.name",
                 arena_printf(a, "%s-%lld", s->cron->key.name, (long long)(due / NS_PER_S / 60)));
    for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
        const struct json *v = json_at(template, copied[i]);
        if (v)
            json_put(a, d->doc, copied[i], json_clone_value(v, a));
    }
    char text[TIME_TEXT_BYTES];
    time_format(due, text);
    json_set(a, json_make_object(a, d->doc, "metadata.annotations"), ANNOTATION_TIME,
             json_string_value(a, text));
    draft_add_controller(d, s->cron);
    return d;
}

/* The Job may have been made just before a crash: then it only has to be noted. */
static int find_made_before(struct sync *s, const struct draft *d, struct object **out,
                            const struct error *failure, struct error *err)
{
    struct object_key key = { s->cron->key.ns, json_str(d->doc, "metadata.name", "") };
    if (failure->code != ERR_ALREADY_EXISTS)
        return error_set(err, failure->code, "%s", failure->message);
    if (client_get(s->c->client, d->resource, &key, out, err) < 0)
        return -1;
    if (object_is_controlled_by(*out, s->cron))
        return 0;
    object_unref(*out);
    *out = NULL;
    return error_set(err, failure->code, "%s", failure->message);
}

static int start_job(struct sync *s, int64_t due, struct error *err)
{
    scoped(draft) struct draft *d = draft_job(s, due);
    scoped(object) struct object *job = NULL;
    struct error failure = { 0 };
    bool is_new = create_object(s->c, d, &job, &failure) == 0;
    if (!is_new && is_namespace_terminating(&failure))
        return 0;
    if (!is_new && find_made_before(s, d, &job, &failure, err) < 0) {
        event_record(s->c->events, s->cron, "Warning", "FailedCreate", "Error creating job: %s",
                     failure.message);
        return -1;
    }
    if (is_new)
        event_record(s->c->events, s->cron, "Normal", "SuccessfulCreate", "Created job %s",
                     job->key.name);
    if (active_index(s, job->uid) < 0 && !end_of(job))
        add_active(s, job);
    json_put_str(s->d->arena, s->d->doc, "status.lastScheduleTime", time_text(s->c, due));
    return 0;
}

static int replace_active(struct sync *s, struct error *err)
{
    object_list_each (&s->jobs, job) {
        if (active_index(s, job->uid) >= 0 && delete_job(s, job, err) < 0)
            return -1;
    }
    return 0;
}

static int start_if_due(struct sync *s, const struct cron_schedule *schedule, struct error *err)
{
    int64_t now = wall_ns(s->c), due = due_ns(s, schedule, now);
    int64_t deadline = starting_deadline_ns(s);
    const char *policy = json_str(s->cron->doc, "spec.concurrencyPolicy", "Allow");
    await_next(s, schedule, now);
    if (due == 0 || due == last_schedule_ns(s))
        return 0;
    if (deadline >= 0 && due + deadline < now) {
        event_record(s->c->events, s->cron, "Warning", "MissSchedule",
                     "Missed scheduled time to start a job: %s", time_text(s->c, due));
        return 0;
    }
    if (str_equal(policy, "Forbid") && active_list(s)->len > 0) {
        event_record(s->c->events, s->cron, "Normal", "JobAlreadyActive",
                     "Not starting job because prior execution is running and concurrency policy "
                     "is Forbid");
        return 0;
    }
    if (str_equal(policy, "Replace") && replace_active(s, err) < 0)
        return -1;
    return start_job(s, due, err);
}

static int follow_schedule(struct sync *s, struct error *err)
{
    const char *text = json_str(s->cron->doc, "spec.schedule", "");
    const char *zone = json_str(s->cron->doc, "spec.timeZone", NULL);
    struct error failure = { 0 };
    const struct cron_schedule *schedule = cron_schedule_parse(text, zone, s->c->arena, &failure);
    if (schedule)
        return start_if_due(s, schedule, err);
    if (failure.code == ERR_NOT_FOUND)
        event_record(s->c->events, s->cron, "Warning", "UnknownTimeZone",
                     "invalid timeZone: \"%s\": %s", zone, failure.message);
    else
        event_record(s->c->events, s->cron, "Warning", "UnparseableSchedule",
                     "unparseable schedule: \"%s\" : %s", text, failure.message);
    return 0; /* until somebody changes it */
}

/* ---- the whole ---- */

static int write_status(struct sync *s, struct error *err)
{
    if (active_list(s)->len == 0)
        json_drop(s->d->doc, "status.active");
    if (json_len(s->d->doc, "status") == 0 && json_len(s->cron->doc, "status") == 0)
        return 0;
    if (json_equal(json_at(s->cron->doc, "status"), json_at(s->d->doc, "status")))
        return 0;
    return update_object_status(s->c, s->d, NULL, err);
}

static int sync_cron(struct sync *s, struct error *err)
{
    cache_list_by(s->c, RESOURCE_JOBS, "controller", s->cron->uid, &s->jobs);
    if (s->jobs.n > 1)
        qsort(s->jobs.items, s->jobs.n, sizeof(*s->jobs.items), by_age);
    s->d = object_edit(s->cron);
    object_list_each (&s->jobs, job)
        note_job(s, job);
    forget_missing(s);

    struct error failure = { 0 };
    bool is_off = object_is_deleting(s->cron) || json_bool(s->cron->doc, "spec.suspend", false);
    int rc = is_off ? 0 : follow_schedule(s, &failure);
    if (write_status(s, err) < 0)
        return -1;
    if (rc < 0)
        return error_set(err, failure.code, "%s", failure.message);
    if (clean_up(s, "Complete", "spec.successfulJobsHistoryLimit", err) < 0)
        return -1;
    return clean_up(s, "Failed", "spec.failedJobsHistoryLimit", err);
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(sync) struct sync s = { .c = c, .cron = cache_get(c, RESOURCE_CRONJOBS, key) };
    return s.cron ? sync_cron(&s, err) : 0;
}

const struct controller_spec cronjob_controller = {
    .name = "cronjob",
    .account = "cronjob-controller",
    .source = "cronjob-controller",
    .workers = 5,
    .watches = {
        { RESOURCE_CRONJOBS, enqueue_self },
        { RESOURCE_JOBS,     enqueue_owner },
    },
    .indexes = {
        { RESOURCE_JOBS, "controller", informer_index_controller },
    },
    .reconcile = reconcile,
};
