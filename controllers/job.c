/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job - runs pods until enough of them have succeeded.
 *
 * No end of a pod may be forgotten, whoever deletes it, so each pod carries a finalizer until it is
 * counted:
 *
 *     pod ends -> its uid is written to status.uncountedTerminatedPods -> the finalizer is taken
 * off
 *              -> the uid moves into status.succeeded or .failed
 *
 * Each arrow is a write, and a crash between two of them repeats the second, which changes nothing.
 */
#include "controllers/pod_control.h"

#define FINALIZER        "batch.kubernetes.io/job-tracking"
#define ANNOTATION_INDEX "batch.kubernetes.io/job-completion-index"
#define ANNOTATION_FAILS "batch.kubernetes.io/job-index-failure-count"
#define INDEX_VARIABLE   "JOB_COMPLETION_INDEX"
#define UNCOUNTED_MAX    500
#define INDEXES_MAX      1000000
#define BURST_PODS       500
#define BACKOFF_NS       (10 * NS_PER_S)
#define BACKOFF_MAX_NS   (600 * NS_PER_S)

struct verdict { /* why the job ends; reason NULL: it does not */
    const char *reason, *message;
};

struct tries { /* of one index, where each has a limit of its own */
    int64_t failures, last_ns;
};

struct sync {
    struct controller *c;
    struct object *job; /* replaced by each status that is written */
    struct object_list pods;
    int64_t active, ready, terminating;
    int64_t succeeded, failed; /* counted, and ended but not yet counted */
    int64_t last_failure_ns;
    int64_t indexes;
    char *done; /* per index of an Indexed job: has succeeded */
    char *lost; /* has failed for good */
    int64_t lost_n;
    struct tries *tries; /* NULL: the job as a whole has a limit */
    struct verdict failure, success;
};

static void sync_scoped(struct sync *s)
{
    object_unref(s->job);
    object_list_deinit(&s->pods);
}

/* ---- reading ---- */

static bool is_indexed(const struct object *job)
{
    return str_equal(json_str(job->doc, "spec.completionMode", ""), "Indexed");
}

static bool is_suspended(const struct object *job)
{
    return json_bool(job->doc, "spec.suspend", false);
}

static bool is_finished(const struct object *job)
{
    return object_condition_is_true(job, "Complete") || object_condition_is_true(job, "Failed");
}

static bool replaces_only_failed(const struct object *job)
{
    return str_equal(json_str(job->doc, "spec.podReplacementPolicy", ""), "Failed");
}

static bool has_succeeded(const struct object *pod)
{
    return str_equal(json_str(pod->doc, "status.phase", ""), "Succeeded");
}

/* A pod that is deleted while it runs never gets to say Failed: it counts at once, unless the job
 * waits for its real end before it replaces it. */
static bool has_failed(const struct sync *s, const struct object *pod)
{
    if (str_equal(json_str(pod->doc, "status.phase", ""), "Failed"))
        return true;
    return object_is_deleting(pod) && !has_succeeded(pod) && !replaces_only_failed(s->job);
}

static const struct json *uncounted(const struct sync *s, const char *which)
{
    return json_get(json_at(s->job->doc, "status.uncountedTerminatedPods"), which);
}

static bool is_uncounted(const struct sync *s, const struct object *pod)
{
    return json_has_text(uncounted(s, "succeeded"), pod->uid) ||
           json_has_text(uncounted(s, "failed"), pod->uid);
}

static int64_t index_of(const struct object *pod)
{
    const char *text = object_annotation(pod, ANNOTATION_INDEX);
    char *end;
    long long i = text ? strtoll(text, &end, 10) : -1;
    return text && end != text && !*end ? i : -1;
}

static int64_t finish_ns(const struct object *pod)
{
    int64_t last = 0;
    json_each_item (json_at(pod->doc, "status.containerStatuses"), k) {
        int64_t at = 0;
        if (time_parse(json_str(k, "state.terminated.finishedAt", ""), &at) == 0 && at > last)
            last = at;
    }
    return last ? last : object_created_ns(pod);
}

static size_t length(const struct json *list)
{
    return json_is(list, JSON_ARRAY) ? list->len : 0;
}

/* ---- ranges of indexes: "0-2,5" ---- */

static void read_ranges(const char *text, char *done, int64_t n)
{
    while (*text) {
        char *end;
        int64_t first = strtoll(text, &end, 10), last = first;
        if (end == text)
            return;
        if (*end == '-')
            last = strtoll(end + 1, &end, 10);
        for (int64_t i = first; i <= last && i < n; i++)
            done[i] = 1;
        text = *end == ',' ? end + 1 : end;
    }
}

static const char *print_ranges(const char *done, int64_t n, struct arena *a)
{
    scoped(buffer) struct buffer out = { 0 };
    for (int64_t i = 0; i < n; i++) {
        int64_t first = i;
        if (!done[i])
            continue;
        while (i + 1 < n && done[i + 1])
            i++;
        buffer_printf(&out, "%s%lld", out.len ? "," : "", (long long)first);
        if (i > first)
            buffer_printf(&out, "%c%lld", i == first + 1 ? ',' : '-', (long long)i);
    }
    return arena_strndup(a, out.data ? out.data : "", out.len);
}

/* ---- what a failed pod means: podFailurePolicy ---- */

/* The containers that a pod's end may be blamed on. */
static const char *const container_lists[] = { "status.containerStatuses",
                                               "status.initContainerStatuses" };

static bool has_value(const struct json *values, int64_t n)
{
    json_each_item (values, v) {
        if (v->integer == n)
            return true;
    }
    return false;
}

/* The first container that has failed with a code that RULE is about; NULL: none. */
static const struct json *exit_code_match(const struct json *rule, const struct object *pod)
{
    const struct json *on = json_get(rule, "onExitCodes");
    const char *only = json_str(on, "containerName", NULL);
    bool wants_in = str_equal(json_str(on, "operator", "In"), "In");
    for (size_t i = 0; on && i < ARRAY_LEN(container_lists); i++) {
        json_each_item (json_at(pod->doc, container_lists[i]), k) {
            int64_t code = json_int(k, "state.terminated.exitCode", 0);
            if (code != 0 && (!only || str_equal(only, json_str(k, "name", ""))) &&
                has_value(json_get(on, "values"), code) == wants_in)
                return k;
        }
    }
    return NULL;
}

static const struct json *pod_condition_matches(const struct json *rule, const struct object *pod)
{
    json_each_item (json_get(rule, "onPodConditions"), wanted) {
        const struct json *k = object_condition(pod, json_str(wanted, "type", ""));
        if (k && str_equal(json_str(k, "status", ""), json_str(wanted, "status", "True")))
            return k;
    }
    return NULL;
}

/* What the job's podFailurePolicy says of a failed pod: the action of the first rule that matches,
 * and for FailJob a message. */
static const char *policy_action(struct sync *s, const struct object *pod, const char **message)
{
    int i = 0;
    json_each_item (json_at(s->job->doc, "spec.podFailurePolicy.rules"), rule) {
        const struct json *container = exit_code_match(rule, pod), *k = NULL;
        const char *action = json_str(rule, "action", "");
        if (container)
            *message = arena_printf(s->c->arena,
                                    "Container %s for pod %s/%s failed with exit code %lld "
                                    "matching %s rule at index %d",
                                    json_str(container, "name", ""), pod->key.ns, pod->key.name,
                                    (long long)json_int(container, "state.terminated.exitCode", 0),
                                    action, i);
        else if ((k = pod_condition_matches(rule, pod)))
            *message =
                arena_printf(s->c->arena, "Pod %s/%s has condition %s matching %s rule at index %d",
                             pod->key.ns, pod->key.name, json_str(k, "type", ""), action, i);
        if (container || k)
            return action;
        i++;
    }
    return "Count";
}

/* ---- counting ---- */

static bool is_ignored(struct sync *s, const struct object *pod)
{
    const char *message;
    return has_failed(s, pod) && str_equal(policy_action(s, pod, &message), "Ignore");
}

/* A new pod of an index says how often its index had failed before: so old pods may go. */
static void count_try(struct sync *s, const struct object *pod, int64_t i)
{
    const char *before = object_annotation(pod, ANNOTATION_FAILS), *message;
    struct tries *t = &s->tries[i];
    int64_t n = (before ? strtoll(before, NULL, 10) : 0) + !is_ignored(s, pod);
    if (n > t->failures)
        t->failures = n;
    if (finish_ns(pod) > t->last_ns)
        t->last_ns = finish_ns(pod);
    if (n > json_int(s->job->doc, "spec.backoffLimitPerIndex", 0) ||
        str_equal(policy_action(s, pod, &message), "FailIndex"))
        s->lost[i] = 1;
}

static void count_pod(struct sync *s, const struct object *pod)
{
    bool is_new = object_has_finalizer(pod, FINALIZER) && !is_uncounted(s, pod);
    int64_t i = index_of(pod);
    if (has_succeeded(pod)) {
        s->succeeded += is_new;
        if (i >= 0 && i < s->indexes)
            s->done[i] = 1;
    } else if (has_failed(s, pod)) {
        int64_t at = finish_ns(pod);
        s->failed += is_new && !is_ignored(s, pod);
        if (at > s->last_failure_ns)
            s->last_failure_ns = at;
        if (s->tries && i >= 0 && i < s->indexes)
            count_try(s, pod, i);
    }
    if (pod_is_active(pod)) {
        s->active++;
        s->ready += pod_is_ready(pod);
    }
    s->terminating += object_is_deleting(pod) && !pod_is_finished(pod);
}

static void count_pods(struct sync *s)
{
    const struct json *status = json_at(s->job->doc, "status");
    s->succeeded = json_int(status, "succeeded", 0) + (int64_t)length(uncounted(s, "succeeded"));
    s->failed = json_int(status, "failed", 0) + (int64_t)length(uncounted(s, "failed"));
    if (is_indexed(s->job)) {
        s->indexes = json_int(s->job->doc, "spec.completions", 0);
        if (s->indexes > INDEXES_MAX)
            s->indexes = INDEXES_MAX; /* the API allows fewer */
        s->done = arena_zalloc(s->c->arena, (size_t)s->indexes + 1);
        s->lost = arena_zalloc(s->c->arena, (size_t)s->indexes + 1);
        read_ranges(json_str(status, "completedIndexes", ""), s->done, s->indexes);
        read_ranges(json_str(status, "failedIndexes", ""), s->lost, s->indexes);
        if (json_at(s->job->doc, "spec.backoffLimitPerIndex"))
            s->tries = arena_zalloc(s->c->arena, ((size_t)s->indexes + 1) * sizeof(*s->tries));
    }
    object_list_each (&s->pods, pod)
        count_pod(s, pod);
    if (is_indexed(s->job)) {
        s->succeeded = 0;
        for (int64_t i = 0; i < s->indexes; i++) {
            s->succeeded += s->done[i];
            s->lost_n += s->lost[i] && !s->done[i];
        }
    }
}

/* ---- does the job fail or succeed? ---- */

static int64_t restarts(const struct sync *s)
{
    int64_t n = 0;
    object_list_each (&s->pods, pod) {
        const char *phase = json_str(pod->doc, "status.phase", "");
        if (!str_equal(phase, "Running") && !str_equal(phase, "Pending"))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(container_lists); i++) {
            json_each_item (json_at(pod->doc, container_lists[i]), k)
                n += json_int(k, "restartCount", 0);
        }
    }
    return n;
}

static bool is_past_backoff(const struct sync *s)
{
    int64_t limit = json_int(s->job->doc, "spec.backoffLimit", 6);
    if (s->failed > limit)
        return true;
    if (!str_equal(json_str(s->job->doc, "spec.template.spec.restartPolicy", ""), "OnFailure"))
        return false;
    int64_t n = restarts(s);
    return limit == 0 ? n > 0 : n >= limit;
}

static int64_t deadline_ns(const struct object *job)
{
    int64_t started = 0, seconds = json_int(job->doc, "spec.activeDeadlineSeconds", -1);
    if (seconds < 0 || time_parse(json_str(job->doc, "status.startTime", ""), &started) < 0)
        return INT64_MAX;
    return started + seconds * NS_PER_S;
}

static struct verdict judge_indexes(const struct sync *s)
{
    int64_t most = json_int(s->job->doc, "spec.maxFailedIndexes", INT64_MAX);
    if (s->lost_n > most)
        return (
            struct verdict){ "MaxFailedIndexesExceeded",
                             "Job has exceeded the specified maximal number of failed indexes" };
    if (s->lost_n > 0 && s->succeeded + s->lost_n >= s->indexes)
        return (struct verdict){ "FailedIndexes", "Job has failed indexes" };
    return (struct verdict){ 0 };
}

/* What an earlier reconcile has decided stays. */
static struct verdict verdict_of(const struct sync *s, const char *condition)
{
    const struct json *k = object_condition(s->job, condition);
    if (!k || !str_equal(json_str(k, "status", ""), "True"))
        return (struct verdict){ 0 };
    return (struct verdict){ json_str(k, "reason", ""), json_str(k, "message", "") };
}

static struct verdict judge_failure(struct sync *s)
{
    object_list_each (&s->pods, pod) {
        const char *message = NULL;
        if (has_failed(s, pod) && str_equal(policy_action(s, pod, &message), "FailJob"))
            return (struct verdict){ "PodFailurePolicy", message };
    }
    struct verdict indexes = judge_indexes(s);
    if (s->tries && indexes.reason)
        return indexes;
    if (is_past_backoff(s))
        return (struct verdict){ "BackoffLimitExceeded",
                                 "Job has reached the specified backoff limit" };
    int64_t deadline = deadline_ns(s->job), now = wall_ns(s->c);
    if (!is_suspended(s->job) && deadline <= now)
        return (struct verdict){ "DeadlineExceeded",
                                 "Job was active longer than specified deadline" };
    if (!is_suspended(s->job) && deadline != INT64_MAX)
        enqueue_key_after(s->c, &s->job->key, (deadline - now) / NS_PER_MS + 1);
    return (struct verdict){ 0 };
}

/* True if the indexes that have succeeded fulfil RULE of the successPolicy. */
static bool rule_holds(const struct sync *s, const struct json *rule)
{
    const char *named = json_str(rule, "succeededIndexes", NULL);
    char *counts = arena_zalloc(s->c->arena, (size_t)s->indexes + 1);
    int64_t asked = 0, n = 0;
    if (named)
        read_ranges(named, counts, s->indexes);
    for (int64_t i = 0; i < s->indexes; i++) {
        asked += !named || counts[i];
        n += s->done[i] && (!named || counts[i]);
    }
    return n >= json_int(rule, "succeededCount", asked);
}

static struct verdict judge_success(struct sync *s)
{
    const struct json *completions = json_at(s->job->doc, "spec.completions");
    int i = 0;
    if (is_indexed(s->job)) {
        json_each_item (json_at(s->job->doc, "spec.successPolicy.rules"), rule) {
            if (rule_holds(s, rule))
                return (struct verdict){
                    "SuccessPolicy", arena_printf(s->c->arena, "Matched rules at index %d", i)
                };
            i++;
        }
    }
    bool enough = json_is(completions, JSON_INT) ? s->succeeded >= completions->integer
                                                 : s->succeeded > 0 && s->active == 0;
    return enough ? (struct verdict){ "CompletionsReached",
                                      "Reached expected number of succeeded pods" }
                  : (struct verdict){ 0 };
}

/* A job that has failed and succeeded since it was last looked at has failed. */
static void judge(struct sync *s)
{
    s->success = verdict_of(s, "SuccessCriteriaMet");
    if (!s->success.reason)
        s->failure = verdict_of(s, "FailureTarget");
    if (!s->success.reason && !s->failure.reason)
        s->failure = judge_failure(s);
    if (!s->success.reason && !s->failure.reason)
        s->success = judge_success(s);
}

/* ---- more or fewer pods ---- */

static int64_t wanted_active(const struct sync *s)
{
    int64_t parallelism = json_int(s->job->doc, "spec.parallelism", 1);
    const struct json *completions = json_at(s->job->doc, "spec.completions");
    if (s->failure.reason || s->success.reason || is_suspended(s->job) ||
        object_is_deleting(s->job))
        return 0;
    if (!json_is(completions, JSON_INT)) /* a work queue: once one has succeeded, no new ones */
        return s->succeeded > 0 && s->active < parallelism ? s->active : parallelism;
    int64_t left = completions->integer - s->succeeded - s->lost_n;
    return left < parallelism ? left : parallelism;
}

static int64_t backoff_ns(int64_t failures)
{
    int64_t delay = BACKOFF_NS;
    for (int64_t i = 1; i < failures && delay < BACKOFF_MAX_NS; i++)
        delay *= 2;
    return delay < BACKOFF_MAX_NS ? delay : BACKOFF_MAX_NS;
}

/* After failures new pods wait: 10 s, 20 s, 40 s, ...; true while they do. */
static bool backs_off(struct sync *s)
{
    int64_t last_success = 0, failures = 0;
    object_list_each (&s->pods, ended) {
        if (has_succeeded(ended) && finish_ns(ended) > last_success)
            last_success = finish_ns(ended);
    }
    object_list_each (&s->pods, pod)
        failures += has_failed(s, pod) && finish_ns(pod) > last_success;
    if (failures == 0 || s->tries)
        return false;
    int64_t left = s->last_failure_ns + backoff_ns(failures) - wall_ns(s->c);
    if (left > 0)
        enqueue_key_after(s->c, &s->job->key, left / NS_PER_MS + 1);
    return left > 0;
}

static bool index_backs_off(struct sync *s, int64_t i)
{
    if (!s->tries || s->tries[i].failures == 0)
        return false;
    int64_t left = s->tries[i].last_ns + backoff_ns(s->tries[i].failures) - wall_ns(s->c);
    if (left > 0)
        enqueue_key_after(s->c, &s->job->key, left / NS_PER_MS + 1);
    return left > 0;
}

/* The next index that has no pod and has not ended, from *NEXT on; -1: none. */
static int64_t free_index(struct sync *s, const char *taken, int64_t *next)
{
    while (*next < s->indexes) {
        int64_t i = (*next)++;
        if (!taken[i] && !s->done[i] && !s->lost[i] && !index_backs_off(s, i))
            return i;
    }
    return -1;
}

static bool has_index_variable(const struct json *container)
{
    json_each_item (json_get(container, "env"), env) {
        if (str_equal(json_str(env, "name", ""), INDEX_VARIABLE))
            return true;
    }
    return false;
}

static void put_index(struct sync *s, struct draft *pod, int64_t index)
{
    struct arena *a = pod->arena;
    const char *text = arena_printf(a, "%lld", (long long)index);
    const char *name = s->job->key.name;
    json_set(a, json_make_object(a, pod->doc, "metadata.annotations"), ANNOTATION_INDEX,
             json_string_value(a, text));
    json_set(a, json_make_object(a, pod->doc, "metadata.labels"), ANNOTATION_INDEX,
             json_string_value(a, text));
    if (s->tries)
        json_set(
            a, json_find(pod->doc, "metadata.annotations"), ANNOTATION_FAILS,
            json_string_value(a, arena_printf(a, "%lld", (long long)s->tries[index].failures)));
    json_put_str(a, pod->doc, "metadata.generateName", arena_printf(a, "%s-%s-", name, text));
    json_put_str(a, pod->doc, "spec.hostname", arena_printf(a, "%s-%s", name, text));
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct json *list = json_find(pod->doc, lists[i]);
        for (size_t n = 0; list && n < list->len; n++) {
            if (has_index_variable(&list->items[n]))
                continue;
            struct json *env = json_new(a, JSON_OBJECT);
            json_put_str(a, env, "name", INDEX_VARIABLE);
            json_put_str(a, env, "valueFrom.fieldRef.fieldPath",
                         "metadata.labels['" ANNOTATION_INDEX "']");
            json_append(a, json_make_array(a, &list->items[n], "env"), *env);
        }
    }
}

static struct draft *draft_pod(struct sync *s)
{
    struct draft *pod = pod_from_template(s->job, json_at(s->job->doc, "spec.template"));
    struct arena *a = pod->arena;
    json_append(a, json_make_array(a, pod->doc, "metadata.finalizers"),
                json_string_value(a, FINALIZER));
    json_put_str(a, pod->doc, "metadata.generateName", arena_printf(a, "%s-", s->job->key.name));
    return pod;
}

static int create_pods(struct sync *s, int64_t missing, struct error *err)
{
    int64_t next = 0;
    char *taken = is_indexed(s->job) ? arena_zalloc(s->c->arena, (size_t)s->indexes + 1) : NULL;
    object_list_each (&s->pods, pod) {
        int64_t i = index_of(pod);
        if (taken && i >= 0 && i < s->indexes && !has_failed(s, pod))
            taken[i] = 1;
    }
    for (int64_t n = 0; n < missing && n < BURST_PODS; n++) {
        scoped(draft) struct draft *pod = draft_pod(s);
        int64_t index = taken ? free_index(s, taken, &next) : -1;
        if (taken && index < 0)
            return 0;
        if (taken)
            put_index(s, pod, index);
        if (create_pod(s->c, s->job, pod, err) < 0)
            return -1;
        s->active++;
    }
    if (missing > BURST_PODS)
        enqueue_key(s->c, &s->job->key);
    return 0;
}

static int take_finalizer(struct controller *c, const struct object *pod, struct error *err)
{
    struct json *left = json_new(c->arena, JSON_ARRAY);
    json_each_item (json_at(pod->doc, "metadata.finalizers"), name) {
        if (!str_equal(json_text(name), FINALIZER))
            json_append(c->arena, left, json_clone_value(name, c->arena));
    }
    struct json *patch = json_new(c->arena, JSON_OBJECT);
    json_put_str(c->arena, patch, "metadata.uid", pod->uid);
    json_put_str(c->arena, patch, "metadata.resourceVersion",
                 json_str(pod->doc, "metadata.resourceVersion", ""));
    json_put(c->arena, patch, "metadata.finalizers", *left);
    struct error failure = { 0 };
    if (patch_object(c, pod, NULL, PATCH_MERGE, patch, &failure) < 0 &&
        failure.code != ERR_NOT_FOUND)
        return error_set(err, failure.code, "%s", failure.message);
    return 0;
}

/* Active pods, those to be deleted first first. */
static void list_active(struct sync *s, struct object_list *active)
{
    object_list_each (&s->pods, pod) {
        if (pod_is_active(pod))
            object_list_add(active, pod);
    }
    sort_for_deletion(active, active, wall_ns(s->c), s->c->arena);
}

/* Moves pods to the front whose index is beyond the completions (there were more once) or is a
 * better pod's as well.  How many there are. */
static int64_t put_strays_first(struct sync *s, struct object_list *active)
{
    char *taken = arena_zalloc(s->c->arena, (size_t)s->indexes + 1);
    struct object **sorted = arena_alloc(s->c->arena, (active->n + 1) * sizeof(*sorted));
    size_t strays = 0, kept = active->n;
    for (size_t n = active->n; n-- > 0;) {
        int64_t i = index_of(active->items[n]);
        bool is_stray = i < 0 || i >= s->indexes || taken[i];
        if (is_stray) {
            sorted[strays++] = active->items[n];
        } else {
            sorted[--kept] = active->items[n];
            taken[i] = 1;
        }
    }
    for (size_t n = 0; n < active->n; n++)
        active->items[n] = sorted[n];
    return (int64_t)strays;
}

static int delete_pods(struct sync *s, const struct object_list *active, int64_t surplus,
                       struct error *err)
{
    for (int64_t i = 0; i < surplus && i < (int64_t)active->n; i++) {
        /* A pod that is only surplus is no failure: it is not to be counted. */
        if (!s->failure.reason && take_finalizer(s->c, active->items[i], err) < 0)
            return -1;
        if (delete_pod(s->c, s->job, active->items[i], err) < 0)
            return -1;
        s->ready -= pod_is_ready(active->items[i]);
        s->active--;
        s->terminating++;
    }
    return 0;
}

static int manage_pods(struct sync *s, struct error *err)
{
    scoped(object_list) struct object_list active = { 0 };
    int64_t wanted = wanted_active(s), surplus = s->active - wanted;
    if (surplus > 0 || is_indexed(s->job))
        list_active(s, &active);
    int64_t strays = is_indexed(s->job) ? put_strays_first(s, &active) : 0;
    if (surplus > 0 || strays > 0)
        return delete_pods(s, &active, surplus > strays ? surplus : strays, err);
    int64_t missing = -surplus;
    if (replaces_only_failed(s->job))
        missing -= s->terminating;
    return missing > 0 && !backs_off(s) ? create_pods(s, missing, err) : 0;
}

/* ---- status ---- */

static int write_status(struct sync *s, struct draft *d, struct error *err)
{
    struct object *result = NULL;
    if (json_equal(json_at(s->job->doc, "status"), json_at(d->doc, "status")))
        return 0;
    if (update_object_status(s->c, d, &result, err) < 0)
        return -1;
    object_unref(s->job);
    s->job = result;
    return 0;
}

static void put_number(struct draft *d, const char *path, int64_t n)
{
    if (n)
        json_put_int(d->arena, d->doc, path, n);
    else
        json_drop(d->doc, path);
}

static void set_condition(struct sync *s, struct draft *d, const char *type, const char *status,
                          const char *reason, const char *message)
{
    char now[TIME_TEXT_BYTES];
    if (!draft_set_condition(d, type, status, reason, message, wall_ns(s->c)))
        return;
    time_format(wall_ns(s->c), now);
    struct json *list = json_find(d->doc, "status.conditions");
    for (size_t i = 0; list && i < list->len; i++) {
        if (str_equal(json_str(&list->items[i], "type", ""), type))
            json_put_str(d->arena, &list->items[i], "lastProbeTime", now);
    }
}

static void put_suspension(struct sync *s, struct draft *d)
{
    bool was = object_condition_is_true(s->job, "Suspended");
    if (is_suspended(s->job) == was || s->failure.reason || s->success.reason)
        return;
    if (is_suspended(s->job)) {
        set_condition(s, d, "Suspended", "True", "JobSuspended", "Job suspended");
        json_drop(d->doc, "status.startTime");
        event_record(s->c->events, s->job, "Normal", "Suspended", "Job suspended");
        return;
    }
    set_condition(s, d, "Suspended", "False", "JobResumed", "Job resumed");
    json_put_str(d->arena, d->doc, "status.startTime", time_text(s->c, wall_ns(s->c)));
    event_record(s->c->events, s->job, "Normal", "Resumed", "Job resumed");
}

static void put_uncounted(struct sync *s, struct draft *d)
{
    struct arena *a = d->arena;
    json_make_object(a, d->doc, "status.uncountedTerminatedPods");
    size_t n = length(uncounted(s, "succeeded")) + length(uncounted(s, "failed"));
    object_list_each (&s->pods, pod) {
        bool succeeded = has_succeeded(pod);
        if ((!succeeded && !has_failed(s, pod)) || !object_has_finalizer(pod, FINALIZER) ||
            is_uncounted(s, pod) || is_ignored(s, pod))
            continue;
        if (n++ >= UNCOUNTED_MAX) {
            enqueue_key(s->c, &s->job->key);
            return;
        }
        const char *list = succeeded ? "status.uncountedTerminatedPods.succeeded"
                                     : "status.uncountedTerminatedPods.failed";
        json_append(a, json_make_array(a, d->doc, list), json_string_value(a, pod->uid));
    }
}

/* What is going on, and which pods have ended since. */
static int write_progress(struct sync *s, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(s->job);
    put_number(d, "status.active", s->active);
    json_put_int(d->arena, json_make_object(d->arena, d->doc, "status"), "ready", s->ready);
    json_put_int(d->arena, d->doc, "status.terminating", s->terminating);
    if (!is_suspended(s->job) && !json_at(s->job->doc, "status.startTime"))
        json_put_str(d->arena, d->doc, "status.startTime", time_text(s->c, wall_ns(s->c)));
    put_suspension(s, d);
    if (s->failure.reason)
        set_condition(s, d, "FailureTarget", "True", s->failure.reason, s->failure.message);
    else if (s->success.reason)
        set_condition(s, d, "SuccessCriteriaMet", "True", s->success.reason, s->success.message);
    put_uncounted(s, d);
    return write_status(s, d, err);
}

static int release_counted(struct sync *s, struct error *err)
{
    object_list_each (&s->pods, pod) {
        bool is_counted = is_uncounted(s, pod) || is_ignored(s, pod);
        if (is_counted && object_has_finalizer(pod, FINALIZER) &&
            take_finalizer(s->c, pod, err) < 0)
            return -1;
    }
    return 0;
}

static void put_end(struct sync *s, struct draft *d)
{
    bool is_quiet = s->active == 0 && s->terminating == 0;
    if (!is_quiet)
        return;
    if (s->failure.reason) {
        set_condition(s, d, "Failed", "True", s->failure.reason, s->failure.message);
        event_record(s->c->events, s->job, "Warning", s->failure.reason, "%s", s->failure.message);
    } else if (s->success.reason) {
        set_condition(s, d, "Complete", "True", s->success.reason, s->success.message);
        json_put_str(d->arena, d->doc, "status.completionTime", time_text(s->c, wall_ns(s->c)));
        event_record(s->c->events, s->job, "Normal", "Completed", "Job completed");
    }
}

/* Pods that have been released are counted; when nothing runs any more, the job has its end. */
static int write_counts(struct sync *s, struct error *err)
{
    scoped(draft) struct draft *d = object_edit(s->job);
    int64_t succeeded = json_int(s->job->doc, "status.succeeded", 0);
    int64_t failed = json_int(s->job->doc, "status.failed", 0);
    succeeded += (int64_t)length(uncounted(s, "succeeded"));
    failed += (int64_t)length(uncounted(s, "failed"));
    put_number(d, "status.succeeded", is_indexed(s->job) ? s->succeeded : succeeded);
    put_number(d, "status.failed", failed);
    if (is_indexed(s->job) && s->succeeded)
        json_put_str(d->arena, d->doc, "status.completedIndexes",
                     print_ranges(s->done, s->indexes, d->arena));
    if (s->tries)
        json_put_str(d->arena, d->doc, "status.failedIndexes",
                     print_ranges(s->lost, s->indexes, d->arena));
    json_put(d->arena, d->doc, "status.uncountedTerminatedPods", *json_new(d->arena, JSON_OBJECT));
    put_end(s, d);
    return write_status(s, d, err);
}

/* ---- the whole ---- */

/* Pods of a job that is gone: nobody will count them. */
static int release_orphans(struct controller *c, const struct object_key *key,
                           const struct object *job, struct error *err)
{
    char text[KEY_TEXT_BYTES_MAX];
    struct bytes value = object_key_text(key, text);
    scoped(object_list) struct object_list pods = { 0 };
    informer_list_by(cache_of(c, RESOURCE_PODS), "tracked", value, &pods);
    object_list_each (&pods, pod) {
        bool is_orphan = !job || !object_is_controlled_by(pod, job) || is_finished(job);
        if (is_orphan && take_finalizer(c, pod, err) < 0)
            return -1;
    }
    return 0;
}

static bool is_ours(const struct object *job)
{
    const char *manager = json_str(job->doc, "spec.managedBy", NULL);
    return !manager || str_equal(manager, "kubernetes.io/job-controller");
}

static int sync_job(struct sync *s, struct error *err)
{
    const struct selector *selector = owner_selector(s->job, s->c->arena, err);
    if (!selector || claim_objects(s->c, s->job, RESOURCE_PODS, selector, &s->pods, err) < 0)
        return -1;
    count_pods(s);
    judge(s);
    struct error failure = { 0 };
    int rc = manage_pods(s, &failure);
    if (write_progress(s, err) < 0 || release_counted(s, err) < 0 || write_counts(s, err) < 0)
        return -1;
    return rc < 0 ? error_set(err, failure.code, "%s", failure.message) : 0;
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(sync) struct sync s = { .c = c, .job = cache_get(c, RESOURCE_JOBS, key) };
    if (s.job && !is_ours(s.job))
        return 0;
    if (release_orphans(c, key, s.job, err) < 0)
        return -1;
    return s.job && !is_finished(s.job) ? sync_job(&s, err) : 0;
}

static void index_tracked(const struct object *o, void (*emit)(struct bytes value, void *ctx),
                          void *ctx)
{
    const struct json *owner = object_controller(o);
    char text[KEY_TEXT_BYTES_MAX];
    struct object_key key = { o->key.ns, json_str(owner, "name", "") };
    if (owner && str_equal(json_str(owner, "kind", ""), "Job") &&
        object_has_finalizer(o, FINALIZER))
        emit(object_key_text(&key, text), ctx);
}

const struct controller_spec job_controller = {
    .name = "job",
    .account = "job-controller",
    .source = "job-controller",
    .workers = 5,
    .watches = {
        { RESOURCE_JOBS, enqueue_self },
        { RESOURCE_PODS, enqueue_owner_or_selecting },
    },
    .indexes = {
        { RESOURCE_JOBS, "namespace", informer_index_namespace },
        { RESOURCE_PODS, "tracked",   index_tracked },
        OWNED_INDEXES(RESOURCE_PODS),
    },
    .reconcile = reconcile,
};
