/* SPDX-License-Identifier: Apache-2.0 */
/* strategy_job.c - a job's pods are told apart by its uid, unless its author says otherwise. */

#include "apiserver/strategies.h"
#include "apiserver/validate_kinds.h"

static void set_absent(struct draft *d, struct json *map, const char *key, const char *value)
{
    if (!json_get(map, key))
        json_set(d->arena, map, key, json_string_value(d->arena, value));
}

static int prepare_create(struct strategy_call *c, struct draft *new, struct error *err)
{
    (void)c;
    (void)err;
    if (json_bool(new->doc, "spec.manualSelector", false))
        return 0;
    const char *uid = json_str(new->doc, "metadata.uid", "");
    const char *name = json_str(new->doc, "metadata.name", "");
    struct json *labels = json_make(new->arena, new->doc, "spec.template.metadata.labels");
    set_absent(new, labels, "batch.kubernetes.io/controller-uid", uid);
    set_absent(new, labels, "batch.kubernetes.io/job-name", name);
    set_absent(new, labels, "controller-uid", uid);
    set_absent(new, labels, "job-name", name);
    struct json *selector = json_make(new->arena, new->doc, "spec.selector.matchLabels");
    set_absent(new, selector, "batch.kubernetes.io/controller-uid", uid);
    return 0;
}

const struct strategy job_strategy = {
    .prepare_create = prepare_create,
    .validate = validate_job,
    .validate_update = validate_job_update,
};
