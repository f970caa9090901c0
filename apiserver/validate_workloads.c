/* SPDX-License-Identifier: Apache-2.0 */
/* validate_workloads.c - pods and the kinds that make them. */

#include "apiserver/formats.h"
#include "apiserver/validate_kinds.h"
#include "base/cron_schedule.h"
#include "base/time_zone.h"

static const struct json empty_text = { .type = JSON_STRING, .string = "" };
static const struct json empty_object = { .type = JSON_OBJECT };

static const struct place at_spec = { .name = "spec" };
static const struct place at_template = { .parent = &at_spec, .name = "template" };
static const struct place at_template_spec = { .parent = &at_template, .name = "spec" };
static const struct place at_template_labels = {
    .parent = &(const struct place){ .parent = &at_template, .name = "metadata" }, .name = "labels"
};
static const struct place at_selector = { .parent = &at_spec, .name = "selector" };

/* ---- Pod ---- */

void validate_pod(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    const struct json *spec = json_get(doc, "spec");
    (void)c;
    validate_pod_spec(v, &at_spec, spec, POD_ITSELF, NULL);
    if (!str_empty(json_str(spec, "nodeName", "")) && json_len(spec, "schedulingGates") > 0)
        fail_field(v, &at_spec, "nodeName", FIELD_FORBIDDEN, NULL,
                   "cannot be set until all schedulingGates have been cleared");
}

static void copy_images(struct arena *a, struct json *to, const struct json *from, const char *list)
{
    struct json *containers = json_find(to, list);
    size_t i = 0;
    json_each_item (json_get(from, list), container) {
        const struct json *image = json_get(container, "image");
        if (!containers || i >= containers->len)
            break;
        if (image)
            json_set(a, &containers->items[i], "image", *image);
        i++;
    }
}

/* Every old toleration is still there, perhaps with another time. */
static bool only_adds_tolerations(const struct json *old, const struct json *new, struct arena *a)
{
    json_each_item (old, t) {
        bool found = false;
        struct json *wanted = json_clone(t, a);
        json_remove(wanted, "tolerationSeconds");
        json_each_item (new, other) {
            struct json *has = json_clone(other, a);
            json_remove(has, "tolerationSeconds");
            found |= json_equal(wanted, has);
        }
        if (!found)
            return false;
    }
    return true;
}

static bool same_length(const struct json *a, const struct json *b, const char *list)
{
    return json_len(a, list) == json_len(b, list);
}

static void copy_field(struct arena *a, struct json *to, const struct json *from, const char *name)
{
    const struct json *value = json_get(from, name);
    if (value)
        json_set(a, to, name, *value);
    else
        json_remove(to, name);
}

static void check_gates_removed(struct field_errors *v, const struct json *old,
                                const struct json *new)
{
    struct place gates = place_in(&at_spec, "schedulingGates");
    size_t i = 0;
    json_each_item (json_get(new, "schedulingGates"), gate) {
        struct place p = place_item(&gates, i++);
        const char *name = json_str(gate, "name", "");
        bool had = false;
        json_each_item (json_get(old, "schedulingGates"), before) {
            had |= str_equal(name, json_str(before, "name", ""));
        }
        if (!had)
            fail_field(v, &p, "name", FIELD_FORBIDDEN, NULL,
                       arena_printf(v->arena,
                                    "only deletion is allowed, but found new scheduling gate '%s'",
                                    name));
    }
}

void validate_pod_update(struct strategy_call *c, const struct object *old, const struct json *doc,
                         struct field_errors *v)
{
    static const char forbidden[] =
        "pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
        "additions to "
        "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it "
        "was "
        "previously negative)";
    const struct json *had = json_get(old->doc, "spec"), *has = json_get(doc, "spec");
    const struct place containers = place_in(&at_spec, "containers");
    if (!same_length(had, has, "containers")) {
        fail(v, &containers, FIELD_FORBIDDEN, NULL, "pod updates may not add or remove containers");
        return;
    }
    if (!same_length(had, has, "initContainers")) {
        fail_field(v, &at_spec, "initContainers", FIELD_FORBIDDEN, NULL,
                   "pod updates may not add or remove containers");
        return;
    }
    const struct json *deadline = json_get(has, "activeDeadlineSeconds");
    const struct json *old_deadline = json_get(had, "activeDeadlineSeconds");
    if (old_deadline && (!deadline || deadline->integer > old_deadline->integer))
        fail_field(v, &at_spec, "activeDeadlineSeconds", FIELD_INVALID,
                   deadline ? deadline : &empty_text,
                   deadline ? "must be less than or equal to previous value"
                            : "must not update from a positive integer to nil value");
    if (!only_adds_tolerations(json_get(had, "tolerations"), json_get(has, "tolerations"),
                               c->arena))
        fail_field(v, &at_spec, "tolerations", FIELD_FORBIDDEN, NULL,
                   "existing toleration can not be modified except its tolerationSeconds");
    check_gates_removed(v, had, has);

    /* The old spec with everything taken over that may change must be the new one. */
    struct json *allowed = json_clone(had, c->arena);
    copy_images(c->arena, allowed, has, "containers");
    copy_images(c->arena, allowed, has, "initContainers");
    copy_field(c->arena, allowed, has, "activeDeadlineSeconds");
    copy_field(c->arena, allowed, has, "tolerations");
    copy_field(c->arena, allowed, has, "schedulingGates");
    if (json_int(had, "terminationGracePeriodSeconds", 0) < 0 &&
        json_int(has, "terminationGracePeriodSeconds", 0) == 1)
        copy_field(c->arena, allowed, has, "terminationGracePeriodSeconds");
    if (json_len(had, "schedulingGates") > 0) {
        copy_field(c->arena, allowed, has, "nodeSelector");
        copy_field(c->arena, allowed, has, "affinity");
    }
    if (!json_equal(allowed, has))
        fail(v, &at_spec, FIELD_FORBIDDEN, NULL, forbidden);
}

/* ---- parts of a pod that are updated on their own ---- */

static void check_not_mirror(struct field_errors *v, const struct json *pod, const char *detail)
{
    if (json_get(json_at(pod, "metadata.annotations"), "kubernetes.io/config.mirror"))
        fail(v, NULL, FIELD_FORBIDDEN, NULL, detail);
}

static const struct json *named(const struct json *list, const char *name)
{
    json_each_item (list, item) {
        if (str_equal(json_str(item, "name", ""), name))
            return item;
    }
    return NULL;
}

void validate_pod_ephemeral_update(struct strategy_call *c, const struct object *old,
                                   const struct json *doc, struct field_errors *v)
{
    const struct json *new_list = json_at(doc, "spec.ephemeralContainers");
    (void)c;
    check_not_mirror(v, doc, "static pods do not support ephemeral containers");
    json_each_item (json_at(old->doc, "spec.ephemeralContainers"), before) {
        const char *name = json_str(before, "name", "");
        const struct json *after = named(new_list, name);
        if (!after || !json_equal(before, after))
            fail_field(
                v, &at_spec, "ephemeralContainers", FIELD_FORBIDDEN, NULL,
                arena_printf(v->arena,
                             after ? "existing ephemeral containers \"%s\" may not be changed\n"
                                   : "existing ephemeral containers \"%s\" may not be removed\n",
                             name));
    }
}

/* What was asked for may change, but not cease to be asked for. */
static void check_amounts_kept(struct field_errors *v, const struct place *at,
                               const struct json *old, const struct json *new)
{
    static const char *const maps[] = { "requests", "limits" };
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        const struct json *has = json_get(json_get(new, "resources"), maps[i]);
        json_each_member (json_get(json_get(old, "resources"), maps[i]), m) {
            struct place wanted = place_in(at, "resources");
            if (!json_get(has, m->name))
                fail_field(v, &wanted, maps[i], FIELD_FORBIDDEN, NULL,
                           arena_printf(v->arena, "resource %s cannot be removed", maps[i]));
        }
    }
}

void validate_pod_resize(struct strategy_call *c, const struct object *old, const struct json *doc,
                         struct field_errors *v)
{
    const struct place list = place_in(&at_spec, "containers");
    const struct json *new_list = json_at(doc, "spec.containers");
    size_t i = 0;
    (void)c;
    check_not_mirror(v, doc, "static pods cannot be resized");
    json_each_item (json_at(old->doc, "spec.containers"), before) {
        struct place p = place_item(&list, i++);
        check_amounts_kept(v, &p, before, named(new_list, json_str(before, "name", "")));
    }
}

static void refuse_ephemeral(struct field_errors *v, const struct place *at,
                             const struct json *containers)
{
    if (json_len(containers, "") > 0)
        fail(v, at, FIELD_FORBIDDEN, NULL, "cannot be set on create");
}

const struct rule pod_rules[] = {
    CREATE("spec.ephemeralContainers", refuse_ephemeral),
    RULES_END,
};

/* ---- what the controllers' kinds share ---- */

/* spec.selector and spec.template, for kinds whose pods run for ever.  KIND: as messages say it. */
static void validate_owner_of_pods(struct field_errors *v, const struct json *spec,
                                   const char *kind, const struct json *claims)
{
    static const char *const always[] = { "Always", NULL };
    const struct json *selector = json_get(spec, "selector"),
                      *template = json_get(spec, "template");
    bool is_daemonset = str_equal(kind, "DaemonSet");
    if (!json_is(selector, JSON_OBJECT)) {
        if (!is_daemonset)
            fail(v, &at_selector, FIELD_REQUIRED, NULL, "");
    } else {
        validate_label_selector(v, &at_selector, selector);
        if (json_len(selector, "matchLabels") + json_len(selector, "matchExpressions") == 0)
            fail(v, &at_selector, FIELD_INVALID, selector,
                 is_daemonset                     ? "empty selector is invalid for daemonset"
                 : str_equal(kind, "StatefulSet") ? "empty selector is invalid for statefulset"
                                                  : "empty selector is invalid for deployment");
    }
    if (!json_is(template, JSON_OBJECT)) {
        fail(v, &at_template, FIELD_REQUIRED, NULL, "");
        return;
    }
    if ((json_is(selector, JSON_OBJECT) || is_daemonset) && !selects_template(selector, template)) {
        const struct json *labels = json_at(template, "metadata.labels");
        fail(v, &at_template_labels, FIELD_INVALID, labels ? labels : &empty_object,
             "`selector` does not match template `labels`");
    }
    validate_pod_template_with(v, &at_template, template, claims);
    check_one_of(v, &at_template_spec, json_get(template, "spec"), "restartPolicy", always, false);
    if (json_at(template, "spec.activeDeadlineSeconds"))
        fail_field(v, &at_template_spec, "activeDeadlineSeconds", FIELD_FORBIDDEN, NULL,
                   arena_printf(v->arena, "activeDeadlineSeconds in %s is not Supported", kind));
}

void validate_selector_kept(struct strategy_call *c, const struct object *old,
                            const struct json *doc, struct field_errors *v)
{
    (void)c;
    check_immutable(v, &at_spec, json_get(old->doc, "spec"), json_get(doc, "spec"), "selector");
}

static bool is_zero(const struct json *value)
{
    return (json_is(value, JSON_INT) && value->integer == 0) ||
           (json_is(value, JSON_STRING) && str_equal(value->string, "0%"));
}

static void check_at_most_all(struct field_errors *v, const struct place *at,
                              const struct json *value)
{
    if (json_is(value, JSON_STRING) && !percent_fault(value->string) && atoi(value->string) > 100)
        fail(v, at, FIELD_INVALID, value, "must not be greater than 100%");
}

/* Upstream reports an unknown type at the struct that has it. */
static void check_type(struct field_errors *v, const struct place *at, const struct json *strategy,
                       const char *const *types)
{
    const char *type = json_str(strategy, "type", "");
    for (size_t i = 0; types[i]; i++) {
        if (str_equal(type, types[i]))
            return;
    }
    fail_not_supported(v, at, strategy, types);
}

/* ---- Deployment ---- */

void validate_deployment(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    static const char *const types[] = { "Recreate", "RollingUpdate", NULL };
    const struct json *spec = json_get(doc, "spec"), *strategy = json_get(spec, "strategy");
    const struct json *rolling = json_get(strategy, "rollingUpdate");
    const struct place at_strategy = place_in(&at_spec, "strategy"),
                       at_rolling = place_in(&at_strategy, "rollingUpdate"),
                       unavailable = place_in(&at_rolling, "maxUnavailable"),
                       surge = place_in(&at_rolling, "maxSurge");
    (void)c;
    check_not_negative(v, &at_spec, spec, "replicas");
    validate_owner_of_pods(v, spec, "ReplicaSet", NULL);
    check_type(v, &at_strategy, strategy, types);
    if (str_equal(json_str(strategy, "type", ""), "Recreate") && rolling) {
        fail(v, &at_rolling, FIELD_FORBIDDEN, NULL,
             "may not be specified when strategy `type` is 'Recreate'");
    } else if (rolling) {
        const struct json *down = json_get(rolling, "maxUnavailable"),
                          *up = json_get(rolling, "maxSurge");
        validate_int_or_percent(v, &unavailable, down);
        validate_int_or_percent(v, &surge, up);
        check_at_most_all(v, &unavailable, down);
        if (is_zero(down) && is_zero(up))
            fail(v, &unavailable, FIELD_INVALID, down, "may not be 0 when `maxSurge` is 0");
    }
    check_not_negative(v, &at_spec, spec, "minReadySeconds");
    check_not_negative(v, &at_spec, spec, "revisionHistoryLimit");
    check_not_negative(v, &at_spec, spec, "progressDeadlineSeconds");
    const struct json *deadline = json_get(spec, "progressDeadlineSeconds");
    if (json_is(deadline, JSON_INT) && deadline->integer >= 0 &&
        deadline->integer <= json_int(spec, "minReadySeconds", 0))
        fail_field(v, &at_spec, "progressDeadlineSeconds", FIELD_INVALID, deadline,
                   "must be greater than minReadySeconds");
}

/* ---- ReplicaSet, ReplicationController ---- */

void validate_replicaset(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    const struct json *spec = json_get(doc, "spec");
    (void)c;
    check_not_negative(v, &at_spec, spec, "replicas");
    check_not_negative(v, &at_spec, spec, "minReadySeconds");
    validate_owner_of_pods(v, spec, "ReplicaSet", NULL);
}

void validate_replication_controller(struct strategy_call *c, const struct json *doc,
                                     struct field_errors *v)
{
    static const char *const always[] = { "Always", NULL };
    const struct json *spec = json_get(doc, "spec"), *selector = json_get(spec, "selector");
    const struct json *template = json_get(spec, "template");
    check_not_negative(v, &at_spec, spec, "minReadySeconds");
    if (json_len(selector, "") == 0)
        fail(v, &at_selector, FIELD_REQUIRED, NULL, "");
    check_not_negative(v, &at_spec, spec, "replicas");
    if (!json_is(template, JSON_OBJECT)) {
        fail(v, &at_template, FIELD_REQUIRED, NULL, "");
        return;
    }
    json_each_member (selector, m) {
        const struct json *label = json_get(json_at(template, "metadata.labels"), m->name);
        if (!label || !json_equal(label, &m->value)) {
            const struct json *labels = json_at(template, "metadata.labels");
            fail(v, &at_template_labels, FIELD_INVALID, labels ? labels : &empty_object,
                 "`selector` does not match template `labels`");
            break;
        }
    }
    (void)c;
    validate_pod_template(v, &at_template, template);
    check_one_of(v, &at_template_spec, json_get(template, "spec"), "restartPolicy", always, false);
}

/* ---- StatefulSet ---- */

static void check_service_name(struct field_errors *v, const struct place *at,
                               const struct json *name)
{
    if (json_text(name) && *name->string && dns_label_fault(name->string))
        fail(v, at, FIELD_INVALID, name, dns_label_fault(name->string));
}

/* Claims are fixed at the create: an old set keeps what was fine then. */
static void check_claims(struct field_errors *v, const struct place *at, const struct json *claims)
{
    size_t i = 0;
    json_each_item (claims, claim) {
        struct place p = place_item(at, i++), spec = place_in(&p, "spec");
        check_rules(v, &spec, NULL, json_get(claim, "spec"), claim_spec_rules);
    }
}

const struct rule statefulset_rules[] = {
    ONE_OF("spec.persistentVolumeClaimRetentionPolicy.whenDeleted", "Delete", "Retain"),
    ONE_OF("spec.persistentVolumeClaimRetentionPolicy.whenScaled", "Delete", "Retain"),
    CREATE("spec.volumeClaimTemplates", check_claims),
    CREATE("spec.serviceName", check_service_name),
    RULES_END,
};

void validate_statefulset(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    const struct json *spec = json_get(doc, "spec"),
                      *policy = json_get(spec, "podManagementPolicy");
    const struct json *update = json_get(spec, "updateStrategy");
    const char *type = json_str(update, "type", "");
    const struct place at_update = place_in(&at_spec, "updateStrategy"),
                       at_rolling = place_in(&at_update, "rollingUpdate"),
                       at_ordinals = place_in(&at_spec, "ordinals");
    (void)c;
    if (str_empty(json_text(policy)))
        fail_field(v, &at_spec, "podManagementPolicy", FIELD_REQUIRED, NULL, "");
    else if (!str_equal(policy->string, "OrderedReady") && !str_equal(policy->string, "Parallel"))
        fail_field(v, &at_spec, "podManagementPolicy", FIELD_INVALID, policy,
                   "must be 'OrderedReady' or 'Parallel'");
    if (!*type)
        fail(v, &at_update, FIELD_REQUIRED, NULL, "");
    else if (!str_equal(type, "RollingUpdate") && !str_equal(type, "OnDelete"))
        fail(v, &at_update, FIELD_INVALID, update, "must be 'RollingUpdate' or 'OnDelete'");
    else if (str_equal(type, "OnDelete") && json_get(update, "rollingUpdate"))
        fail(v, &at_rolling, FIELD_INVALID, json_get(update, "rollingUpdate"),
             "only allowed for updateStrategy 'RollingUpdate'");
    check_not_negative(v, &at_rolling, json_get(update, "rollingUpdate"), "partition");
    check_not_negative(v, &at_spec, spec, "replicas");
    check_not_negative(v, &at_spec, spec, "minReadySeconds");
    check_not_negative(v, &at_ordinals, json_get(spec, "ordinals"), "start");
    validate_owner_of_pods(v, spec, "StatefulSet", json_get(spec, "volumeClaimTemplates"));
}

void validate_statefulset_update(struct strategy_call *c, const struct object *old,
                                 const struct json *doc, struct field_errors *v)
{
    static const char *const may_change[] = { "replicas",
                                              "ordinals",
                                              "template",
                                              "updateStrategy",
                                              "revisionHistoryLimit",
                                              "persistentVolumeClaimRetentionPolicy",
                                              "minReadySeconds" };
    const struct json *has = json_get(doc, "spec");
    struct json *allowed = json_clone(json_get(old->doc, "spec"), c->arena);
    for (size_t i = 0; i < ARRAY_LEN(may_change); i++)
        copy_field(c->arena, allowed, has, may_change[i]);
    if (!json_equal(allowed, has))
        fail(
            v, &at_spec, FIELD_FORBIDDEN, NULL,
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
            "'minReadySeconds' are forbidden");
}

/* ---- DaemonSet ---- */

void validate_daemonset(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    static const char *const types[] = { "RollingUpdate", "OnDelete", NULL };
    const struct json *spec = json_get(doc, "spec"), *update = json_get(spec, "updateStrategy");
    const struct json *rolling = json_get(update, "rollingUpdate");
    const struct place at_update = place_in(&at_spec, "updateStrategy"),
                       at_rolling = place_in(&at_update, "rollingUpdate"),
                       unavailable = place_in(&at_rolling, "maxUnavailable"),
                       surge = place_in(&at_rolling, "maxSurge");
    (void)c;
    validate_owner_of_pods(v, spec, "DaemonSet", NULL);
    check_not_negative(v, &at_spec, spec, "minReadySeconds");
    check_not_negative(v, &at_spec, spec, "revisionHistoryLimit");
    check_type(v, &at_update, update, types);
    if (!str_equal(json_str(update, "type", ""), "RollingUpdate"))
        return;
    if (!rolling) {
        fail(v, &at_rolling, FIELD_REQUIRED, NULL, "");
        return;
    }
    const struct json *down = json_get(rolling, "maxUnavailable"),
                      *up = json_get(rolling, "maxSurge");
    validate_int_or_percent(v, &unavailable, down);
    validate_int_or_percent(v, &surge, up);
    check_at_most_all(v, &unavailable, down);
    check_at_most_all(v, &surge, up);
    if (is_zero(down) && is_zero(up))
        fail(v, &unavailable, FIELD_REQUIRED, NULL, "cannot be 0 when maxSurge is 0");
    else if (!is_zero(down) && up && !is_zero(up))
        fail(v, &surge, FIELD_INVALID, up, "may not be set when maxUnavailable is non-zero");
}

/* ---- Job, CronJob ---- */

static void check_indexed_only(struct field_errors *v, const struct place *at,
                               const struct json *spec)
{
    static const struct {
        const char *field, *detail;
    } fields[] = {
        { "backoffLimitPerIndex", "requires indexed completion mode" },
        { "maxFailedIndexes", "requires indexed completion mode" },
        { "successPolicy", "requires indexed completion mode" },
    };
    bool is_indexed = str_equal(json_str(spec, "completionMode", ""), "Indexed");
    for (size_t i = 0; !is_indexed && i < ARRAY_LEN(fields); i++) {
        if (json_get(spec, fields[i].field))
            fail_field(v, at, fields[i].field, FIELD_INVALID, json_get(spec, fields[i].field),
                       fields[i].detail);
    }
    if (json_get(spec, "maxFailedIndexes") && !json_get(spec, "backoffLimitPerIndex"))
        fail_field(v, at, "backoffLimitPerIndex", FIELD_REQUIRED, NULL,
                   "when maxFailedIndexes is specified");
}

static void check_failure_rule(struct field_errors *v, const struct place *at,
                               const struct json *rule)
{
    bool has_codes = json_get(rule, "onExitCodes"),
         has_conditions = json_len(rule, "onPodConditions");
    if (has_codes && has_conditions)
        fail(v, at, FIELD_INVALID, &empty_object,
             "specifying both OnExitCodes and OnPodConditions is not supported");
    else if (!has_codes && !has_conditions)
        fail(v, at, FIELD_INVALID, &empty_object,
             "specifying one of OnExitCodes and OnPodConditions is required");
}

static const struct rule failure_rule_rules[] = {
    REQUIRED_ONE_OF("action", "Count", "FailIndex", "FailJob", "Ignore"),
    BLOCK("", check_failure_rule),
    REQUIRED_ONE_OF("onExitCodes?.operator", "In", "NotIn"),
    ITEMS_MAX("onExitCodes?.values", 255),
    UNIQUE("onExitCodes?.values", ""),
    ITEMS_MAX("onPodConditions", 20),
    FORMAT("onPodConditions[*].type", label_key_fault),
    ONE_OF("onPodConditions[*].status", "False", "True", "Unknown"),
    RULES_END,
};

static const struct rule job_spec_rules[] = {
    NOT_NEGATIVE("backoffLimitPerIndex"),
    BLOCK("", check_indexed_only),
    BYTES_MAX("managedBy", 63),
    FORMAT("managedBy", domain_prefixed_path_fault),
    ITEMS_MAX("podFailurePolicy?.rules", 20),
    RULES("podFailurePolicy?.rules[*]", failure_rule_rules),
    REQUIRED_BECAUSE("successPolicy?.rules", "at least one rules must be specified when the "
                                             "successPolicy is specified"),
    ITEMS_MAX("successPolicy?.rules", 20),
    ONE_OF("podReplacementPolicy", "Failed", "TerminatingOrFailed"),
    RULES_END,
};

static void validate_job_spec(struct field_errors *v, const struct place *at,
                              const struct json *spec, bool is_selector_generated)
{
    static const char *const restarts[] = { "OnFailure", "Never", NULL };
    static const char *const modes[] = { "NonIndexed", "Indexed", NULL };
    static const char *const counts[] = { "parallelism",
                                          "completions",
                                          "activeDeadlineSeconds",
                                          "backoffLimit",
                                          "ttlSecondsAfterFinished",
                                          "maxFailedIndexes" };
    const struct json *template = json_get(spec, "template"),
                      *selector = json_get(spec, "selector");
    const struct place p = place_in(at, "template"), template_spec = place_in(&p, "spec"),
                       selector_at = place_in(at, "selector"), metadata = place_in(&p, "metadata"),
                       labels_at = place_in(&metadata, "labels");
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        check_not_negative(v, at, spec, counts[i]);
    check_one_of(v, at, spec, "completionMode", modes, false);
    if (str_equal(json_str(spec, "completionMode", ""), "Indexed") &&
        !json_get(spec, "completions"))
        fail_field(v, at, "completions", FIELD_REQUIRED, NULL,
                   "when completion mode is Indexed, must be specified");
    if (is_selector_generated) {
        if (!selector)
            fail(v, &selector_at, FIELD_REQUIRED, NULL, "");
        else
            validate_label_selector(v, &selector_at, selector);
        if (selector && template && !selects_template(selector, template)) {
            const struct json *labels = json_at(template, "metadata.labels");
            fail(v, &labels_at, FIELD_INVALID, labels ? labels : &empty_object,
                 "`selector` does not match template `labels`");
        }
    }
    if (!template) {
        fail(v, &p, FIELD_REQUIRED, NULL, "");
        return;
    }
    validate_pod_template(v, &p, template);
    const struct json *restart = json_at(template, "spec.restartPolicy");
    if (str_empty(json_text(restart)) || str_equal(json_text(restart), "Always"))
        fail_field(v, &template_spec, "restartPolicy", FIELD_REQUIRED, NULL,
                   "valid values: \"OnFailure\", \"Never\"");
    else
        check_one_of(v, &template_spec, json_get(template, "spec"), "restartPolicy", restarts,
                     true);
    if (json_get(spec, "podFailurePolicy") && str_equal(json_text(restart), "OnFailure"))
        fail_field(v, &template_spec, "restartPolicy", FIELD_INVALID, restart,
                   "only \"Never\" is supported when podFailurePolicy is specified");
    check_rules(v, at, NULL, spec, job_spec_rules);
}

void validate_job(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    (void)c;
    validate_job_spec(v, &at_spec, json_get(doc, "spec"), true);
}

void validate_job_update(struct strategy_call *c, const struct object *old, const struct json *doc,
                         struct field_errors *v)
{
    static const char *const kept[] = {
        "selector",  "template",     "completionMode", "podFailurePolicy", "backoffLimitPerIndex",
        "managedBy", "successPolicy"
    };
    const struct json *had = json_get(old->doc, "spec"), *has = json_get(doc, "spec");
    bool is_waiting = json_bool(had, "suspend", false) && !json_at(old->doc, "status.startTime");
    (void)c;
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        /* A job that has not started may still be told where and how to run. */
        if (is_waiting && str_equal(kept[i], "template"))
            continue;
        check_immutable(v, &at_spec, had, has, kept[i]);
    }
    if (!str_equal(json_str(has, "completionMode", ""), "Indexed"))
        check_immutable(v, &at_spec, had, has, "completions");
}

static void check_schedule(struct field_errors *v, const struct json *schedule)
{
    struct error err = { 0 };
    if (str_empty(json_text(schedule)))
        fail_field(v, &at_spec, "schedule", FIELD_REQUIRED, NULL, "");
    else if (strstr(schedule->string, "TZ="))
        fail_field(v, &at_spec, "schedule", FIELD_INVALID, schedule,
                   "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    else if (!cron_schedule_parse(schedule->string, "UTC", v->arena, &err))
        fail_field(v, &at_spec, "schedule", FIELD_INVALID, schedule, err.message);
}

static void check_time_zone(struct field_errors *v, const struct json *zone)
{
    struct error err = { 0 };
    if (!json_is(zone, JSON_STRING))
        return;
    if (zone->len == 0)
        fail_field(v, &at_spec, "timeZone", FIELD_INVALID, zone,
                   "timeZone must be nil or non-empty string");
    else if (strcasecmp(zone->string, "Local") == 0)
        fail_field(v, &at_spec, "timeZone", FIELD_INVALID, zone,
                   "timeZone must be an explicit time zone as defined in "
                   "https://www.iana.org/time-zones");
    else if (!time_zone_open(zone->string, v->arena, &err))
        fail_field(v, &at_spec, "timeZone", FIELD_INVALID, zone, err.message);
}

void validate_cronjob(struct strategy_call *c, const struct json *doc, struct field_errors *v)
{
    static const char *const policies[] = { "Allow", "Forbid", "Replace", NULL };
    const struct json *spec = json_get(doc, "spec");
    const struct place job = place_in(&at_spec, "jobTemplate"), job_spec = place_in(&job, "spec");
    (void)c;
    check_schedule(v, json_get(spec, "schedule"));
    check_time_zone(v, json_get(spec, "timeZone"));
    check_not_negative(v, &at_spec, spec, "startingDeadlineSeconds");
    check_one_of(v, &at_spec, spec, "concurrencyPolicy", policies, true);
    check_not_negative(v, &at_spec, spec, "successfulJobsHistoryLimit");
    check_not_negative(v, &at_spec, spec, "failedJobsHistoryLimit");
    const char *name = json_str(doc, "metadata.name", "");
    if (strlen(name) > 52)
        fail_field(v, &(const struct place){ .name = "metadata" }, "name", FIELD_INVALID,
                   json_at(doc, "metadata.name"), "must be no more than 52 characters");
    validate_job_spec(v, &job_spec, json_at(spec, "jobTemplate.spec"), false);
}
