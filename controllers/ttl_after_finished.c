/* SPDX-License-Identifier: Apache-2.0 */
/* ttl_after_finished - deletes Jobs some time after they have ended: spec.ttlSecondsAfterFinished.
 */
#include "controllers/pod_control.h"

static int64_t finished_ns(const struct object *job)
{
    static const char *const ends[] = { "Complete", "Failed" };
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        int64_t at;
        const struct json *k = object_condition(job, ends[i]);
        if (object_condition_is_true(job, ends[i]) &&
            time_parse(json_str(k, "lastTransitionTime", ""), &at) == 0)
            return at;
    }
    return 0;
}

/* 0: never. */
static int64_t expiry_ns(const struct object *job)
{
    int64_t ttl = json_int(job->doc, "spec.ttlSecondsAfterFinished", -1);
    int64_t at = finished_ns(job);
    return ttl < 0 || at == 0 ? 0 : at + ttl * NS_PER_S;
}

static int reconcile(struct controller *c, const struct object_key *key, struct error *err)
{
    scoped(object) struct object *job = cache_get(c, RESOURCE_JOBS, key);
    int64_t at = job && !object_is_deleting(job) ? expiry_ns(job) : 0, now = wall_ns(c);
    if (at == 0)
        return 0;
    if (at > now) {
        enqueue_key_after(c, key, (at - now) / NS_PER_MS + 1);
        return 0;
    }
    /* The time to live may have been raised a moment ago. */
    scoped(object) struct object *live = NULL;
    struct error failure = { 0 };
    if (get_live(c, job, &live, &failure) < 0)
        return failure.code == ERR_NOT_FOUND ? 0
                                             : error_set(err, failure.code, "%s", failure.message);
    if (!str_equal(live->uid, job->uid) || expiry_ns(live) != at)
        return 0; /* its event brings the key back */
    return delete_object(c, live, PROPAGATION_FOREGROUND, err);
}

static void enqueue_finished(struct controller *c, const struct informer_event *e)
{
    if (e->new && !object_is_deleting(e->new) && expiry_ns(e->new))
        enqueue_key(c, &e->new->key);
}

const struct controller_spec ttl_after_finished_controller = {
    .name = "ttl-after-finished-controller",
    .account = "ttl-after-finished-controller",
    .source = "ttl-after-finished-controller",
    .workers = 2,
    .watches = {
        { RESOURCE_JOBS, enqueue_finished },
    },
    .reconcile = reconcile,
};
