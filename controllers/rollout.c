/* SPDX-License-Identifier: Apache-2.0 */
/* rollout - reading a deployment and its ReplicaSets. */
#include "controllers/rollout.h"

int64_t rollout_replicas(const struct object *o)
{
    return json_int(o->doc, "spec.replicas", 1);
}

int64_t rollout_status_count(const struct object *o, const char *field)
{
    const struct json *v = json_get(json_at(o->doc, "status"), field);
    return json_is(v, JSON_INT) ? v->integer : 0;
}

bool rollout_is_rolling(const struct object *d)
{
    return str_equal(json_str(d->doc, "spec.strategy.type", "RollingUpdate"), "RollingUpdate");
}

/* How many pods a rolling update may have too many, and how many too few.  Both zero would be a
 * standstill, so then one may be missing. */
static void fenceposts(const struct object *d, int64_t *surge, int64_t *unavailable)
{
    int64_t total = rollout_replicas(d);
    *surge = *unavailable = 0;
    if (!rollout_is_rolling(d))
        return;
    const struct json *rolling = json_at(d->doc, "spec.strategy.rollingUpdate");
    if (int_or_percent(json_get(rolling, "maxSurge"), total, true, surge) < 0)
        *surge = 0;
    if (int_or_percent(json_get(rolling, "maxUnavailable"), total, false, unavailable) < 0)
        *unavailable = 0;
    if (*surge == 0 && *unavailable == 0)
        *unavailable = 1;
    if (*unavailable > total)
        *unavailable = total;
}

int64_t rollout_max_surge(const struct object *d)
{
    int64_t surge, unavailable;
    fenceposts(d, &surge, &unavailable);
    return surge;
}

int64_t rollout_max_unavailable(const struct object *d)
{
    int64_t surge, unavailable;
    fenceposts(d, &surge, &unavailable);
    return unavailable;
}

struct object *rollout_current(const struct rollout *r)
{
    return r->current < 0 ? NULL : r->sets.items[r->current];
}

int64_t rollout_sum_replicas(const struct rollout *r, enum which which)
{
    int64_t sum = 0;
    for (size_t i = 0; i < r->sets.n; i++)
        sum += which == OLD_SETS && (int)i == r->current ? 0 : rollout_replicas(r->sets.items[i]);
    return sum;
}

int64_t rollout_sum_status(const struct rollout *r, enum which which, const char *field)
{
    int64_t sum = 0;
    for (size_t i = 0; i < r->sets.n; i++)
        sum += which == OLD_SETS && (int)i == r->current
                   ? 0
                   : rollout_status_count(r->sets.items[i], field);
    return sum;
}
