/* SPDX-License-Identifier: Apache-2.0 */
/* rest_delete.c - DELETE: grace periods, finalizers, preconditions; of one object and of a
 * collection. */
#include "apiserver/admission.h"
#include "apiserver/rest.h"
#include "apiserver/rest_storage.h"
#include "apiserver/server.h"
#include "apiserver/store_access.h"

#define FINALIZER_ORPHAN     "orphan"
#define FINALIZER_FOREGROUND "foregroundDeletion"

/* ---- options ---- */

static int take_propagation(const char *text, struct delete_options *out, struct error *err)
{
    if (str_empty(text))
        return 0;
    if (strcmp(text, "Background") == 0)
        out->propagation = PROPAGATION_BACKGROUND;
    else if (strcmp(text, "Foreground") == 0)
        out->propagation = PROPAGATION_FOREGROUND;
    else if (strcmp(text, "Orphan") == 0)
        out->propagation = PROPAGATION_ORPHAN;
    else
        return error_set(
            err, ERR_INVALID,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported "
            "value: \"%s\": supported values: \"Foreground\", \"Background\", \"Orphan\", "
            "\"nil\"",
            text);
    return 0;
}

static int take_dry_run(const struct json *doc, struct delete_options *out, struct error *err)
{
    json_each_item (json_get(doc, "dryRun"), it) {
        if (!str_equal(json_text(it), "All"))
            return error_set(
                err, ERR_INVALID,
                "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: "
                "[\"%s\"]: supported values: \"All\"",
                json_text(it) ? json_text(it) : "");
        out->is_dry_run = true;
    }
    return 0;
}

static int take_document(const struct json *doc, struct delete_options *out, struct error *err)
{
    out->grace_s = json_int(doc, "gracePeriodSeconds", -1);
    out->uid = json_str(doc, "preconditions.uid", NULL);
    out->resource_version = json_str(doc, "preconditions.resourceVersion", NULL);
    const struct json *orphan = json_get(doc, "orphanDependents");
    if (orphan)
        out->propagation =
            json_bool(doc, "orphanDependents", false) ? PROPAGATION_ORPHAN : PROPAGATION_BACKGROUND;
    if (take_propagation(json_str(doc, "propagationPolicy", NULL), out, err) < 0)
        return -1;
    return take_dry_run(doc, out, err);
}

static int take_query(struct request *r, struct delete_options *out, struct error *err)
{
    struct write_options common;
    if (query_int(r->query, "gracePeriodSeconds", r->arena, &out->grace_s, err) < 0 ||
        write_options_parse(r, &common, err) < 0)
        return -1;
    out->is_dry_run = common.is_dry_run;
    const char *orphan = query_get(r->query, "orphanDependents", 0, r->arena);
    if (!str_empty(orphan))
        out->propagation = str_equal(orphan, "true") ? PROPAGATION_ORPHAN : PROPAGATION_BACKGROUND;
    return take_propagation(query_get(r->query, "propagationPolicy", 0, r->arena), out, err);
}

int delete_options_parse(struct request *r, const struct body *body, struct delete_options *out,
                         struct error *err)
{
    *out = (struct delete_options){ .grace_s = -1 };
    if (!body->doc && body->text.len == 0)
        return take_query(r, out, err);
    struct json *doc;
    if (body_decode_options(r, body, &doc, err) < 0)
        return error_wrap(err, "decode DeleteOptions");
    const char *kind = json_str(doc, "kind", "");
    if (*kind && strcmp(kind, "DeleteOptions") != 0)
        return error_set(err, ERR_BAD_REQUEST,
                         "decoded object cannot be converted to DeleteOptions");
    return take_document(doc, out, err);
}

/* ---- one object ---- */

static int check_preconditions(const struct request *r, const struct object *o,
                               const struct delete_options *options, struct error *err)
{
    char qualified[256], version[32];
    resource_qualified(r->info.resource, qualified, sizeof(qualified));
    if (!str_empty(options->uid) && !str_equal(options->uid, o->uid))
        return error_set(err, ERR_CONFLICT,
                         "Operation cannot be fulfilled on %s \"%s\": Precondition failed: UID in "
                         "precondition: %s, UID in object meta: %s",
                         qualified, o->key.name, options->uid, o->uid ? o->uid : "");
    snprintf(version, sizeof(version), "%lld", (long long)o->resource_version);
    if (!str_empty(options->resource_version) && strcmp(options->resource_version, version) != 0)
        return error_set(err, ERR_CONFLICT,
                         "Operation cannot be fulfilled on %s \"%s\": Precondition failed: "
                         "ResourceVersion in precondition: %s, ResourceVersion in object meta: %s",
                         qualified, o->key.name, options->resource_version, version);
    return 0;
}

/* Whether the deletion shall leave finalizer F on the object for the garbage collector. */
static bool wants_finalizer(const struct object *o, const struct delete_options *options,
                            enum propagation means, const char *f)
{
    if (options->propagation != PROPAGATION_DEFAULT)
        return options->propagation == means;
    if (object_has_finalizer(o, FINALIZER_ORPHAN) || object_has_finalizer(o, FINALIZER_FOREGROUND))
        return object_has_finalizer(o, f);
    return rest_storage_of(o->resource)->propagation == means;
}

static void append_finalizer(struct draft *d, const char *f)
{
    struct json *list = json_make_array(d->arena, d->doc, "metadata.finalizers");
    json_append(d->arena, list, json_string_value(d->arena, f));
}

static void drop_finalizer(struct draft *d, const char *f)
{
    struct json *list = json_find(d->doc, "metadata.finalizers");
    for (size_t i = list ? list->len : 0; i-- > 0;)
        if (str_equal(json_text(&list->items[i]), f))
            json_remove_item(list, i);
    if (list && list->len == 0)
        json_drop(d->doc, "metadata.finalizers");
}

/* Events have no dependents: the garbage collector does not look at them. */
static bool update_finalizers(const struct object *o, const struct delete_options *options,
                              struct draft *d)
{
    static const struct {
        const char *name;
        enum propagation means;
    } known[] = { { FINALIZER_ORPHAN, PROPAGATION_ORPHAN },
                  { FINALIZER_FOREGROUND, PROPAGATION_FOREGROUND } };
    bool changed = false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        bool has = object_has_finalizer(o, known[i].name);
        bool wants = o->resource->id != RESOURCE_EVENTS &&
                     wants_finalizer(o, options, known[i].means, known[i].name);
        if (has == wants)
            continue;
        changed = true;
        if (wants)
            append_finalizer(d, known[i].name);
        else
            drop_finalizer(d, known[i].name);
    }
    return changed;
}

static void set_deletion(struct draft *d, int64_t at_ns, int64_t grace_s)
{
    char text[TIME_TEXT_BYTES];
    time_format(at_ns, text);
    json_put_str(d->arena, d->doc, "metadata.deletionTimestamp", text);
    json_put_int(d->arena, d->doc, "metadata.deletionGracePeriodSeconds", grace_s);
}

static void begin_deletion(struct draft *d, int64_t now_ns, int64_t grace_s)
{
    set_deletion(d, now_ns + grace_s * NS_PER_S, grace_s);
    int64_t generation = json_int(d->doc, "metadata.generation", 0);
    if (generation > 0)
        json_put_int(d->arena, d->doc, "metadata.generation", generation + 1);
}

/* A deletion that is under way may only be shortened. */
static bool shorten_deletion(const struct object *o, const struct delete_options *options,
                             struct draft *d)
{
    int64_t had = json_int(object_metadata(o), "deletionGracePeriodSeconds", 0);
    int64_t at_ns = 0;
    if (options->grace_s < 0 || options->grace_s >= had ||
        time_parse(json_str(object_metadata(o), "deletionTimestamp", ""), &at_ns) < 0)
        return false;
    set_deletion(d, at_ns + (options->grace_s - had) * NS_PER_S, options->grace_s);
    return true;
}

enum plan { PLAN_NOTHING, PLAN_UPDATE, PLAN_REMOVE };

/* What a delete of O comes to: D is changed into what is stored for an update. */
static enum plan plan_deletion(struct strategy_call *call, const struct object *o,
                               const struct delete_options *options, struct draft *d)
{
    const struct strategy *s = rest_storage_of(o->resource)->strategy;
    bool is_deleting = object_is_deleting(o);
    int64_t pending_s = json_int(object_metadata(o), "deletionGracePeriodSeconds", 0);
    int64_t grace_s = 0;
    bool is_graceful = false;

    if (is_deleting && pending_s > 0) {
        is_graceful = shorten_deletion(o, options, d);
        if (!is_graceful)
            return PLAN_NOTHING;
        grace_s = options->grace_s;
    } else if (!is_deleting && s && s->delete_grace_s) {
        grace_s = s->delete_grace_s(o, options->grace_s);
        is_graceful = grace_s > 0;
        if (is_graceful)
            begin_deletion(d, call->now_ns, grace_s);
    }
    bool changed = update_finalizers(o, options, d) || is_graceful;
    bool is_held = json_len(d->doc, "metadata.finalizers") > 0 ||
                   (s && s->has_more_finalizers && s->has_more_finalizers(d->doc));
    if (grace_s == 0 && !is_held)
        return PLAN_REMOVE;
    if (!is_deleting && !is_graceful) {
        begin_deletion(d, call->now_ns, 0);
        /* A namespace is not deleted by grace but by its finalizers. */
        if (s && s->has_more_finalizers)
            json_drop(d->doc, "metadata.deletionGracePeriodSeconds");
        changed = true;
    }
    if (changed && s && s->mark_deleted)
        s->mark_deleted(call, d);
    return changed ? PLAN_UPDATE : PLAN_NOTHING;
}

static void answer_removed(struct request *r, const struct object *last, struct outcome *out)
{
    out->http_status = 200;
    if (rest_storage_of(last->resource)->returns_deleted) {
        out->object = object_ref(last);
        return;
    }
    struct json *status = json_new(r->arena, JSON_OBJECT);
    json_put_str(r->arena, status, "kind", "Status");
    json_put_str(r->arena, status, "apiVersion", "v1");
    json_set_static(r->arena, status, "metadata", *json_new(r->arena, JSON_OBJECT));
    json_put_str(r->arena, status, "status", "Success");
    json_put_str(r->arena, status, "details.name", last->key.name);
    if (*r->info.resource->group)
        json_put_str(r->arena, status, "details.group", r->info.resource->group);
    json_put_str(r->arena, status, "details.kind", r->info.resource->plural);
    if (last->uid)
        json_put_str(r->arena, status, "details.uid", last->uid);
    out->doc = status;
}

static int remove_object(struct strategy_call *call, const struct object *o, struct outcome *out,
                         struct error *err)
{
    const struct strategy *s = rest_storage_of(o->resource)->strategy;
    if (!call->is_dry_run) {
        int64_t revision;
        enum store_result rc = store_delete(call->server, o, &revision, err);
        if (rc != STORE_DONE)
            return rc;
        if (s && s->after_delete)
            s->after_delete(call, o);
    }
    answer_removed(call->request, o, out);
    return 0;
}

/* 0: done; 1: O has changed meanwhile; -1. */
static int delete_once(struct request *r, const struct object *o,
                       const struct delete_options *options, struct outcome *out, struct error *err)
{
    struct strategy_call call = { .request = r,
                                  .server = r->server,
                                  .arena = r->arena,
                                  .is_dry_run = options->is_dry_run,
                                  .now_ns = clock_wall_ns(r->server->clock) };
    struct admission_attributes at = { .resource = o->resource,
                                       .subresource = "",
                                       .verb = REQUEST_DELETE,
                                       .old = o,
                                       .ns = o->key.ns,
                                       .name = o->key.name };
    if (check_preconditions(r, o, options, err) < 0 || admission_admit(&call, &at, NULL, err) < 0)
        return -1;
    scoped(draft) struct draft *d = object_edit(o);
    out->http_status = 200;
    switch (plan_deletion(&call, o, options, d)) {
    case PLAN_REMOVE:
        return remove_object(&call, o, out, err);
    case PLAN_NOTHING:
        out->object = object_ref(o);
        return 0;
    case PLAN_UPDATE:
        break;
    }
    if (options->is_dry_run) {
        out->object = draft_publish(take_ptr(&d), 0);
        return 0;
    }
    return store_put(r->server, &o->key, take_ptr(&d), o->resource_version, 0, &out->object, err);
}

static int delete_key(struct request *r, const struct object_key *key,
                      const struct delete_options *options, struct outcome *out, struct error *err)
{
    const struct resource *resource = r->info.resource;
    for (int attempt = 1; attempt <= WRITE_ATTEMPTS_MAX; attempt++) {
        scoped(object) struct object *o = rest_find(r, resource, key, err);
        if (!o)
            return -1;
        int rc = delete_once(r, o, options, out, err);
        if (rc <= 0)
            return rc;
    }
    return status_conflict(err, resource, key->name);
}

int rest_delete(struct request *r, const struct delete_options *o, struct outcome *out,
                struct error *err)
{
    struct object_key key = request_key(r);
    outcome_about(out, r);
    return delete_key(r, &key, o, out, err);
}

int rest_delete_collection(struct request *r, const struct list_options *list,
                           const struct delete_options *o, struct list_result *deleted,
                           struct outcome *out, struct error *err)
{
    if (rest_list(r, list, true, deleted, out, err) == LIST_FAILED)
        return -1;
    outcome_about(out, r);
    for (size_t i = 0; i < deleted->objects.n; i++) {
        struct error one = { 0 };
        scoped(outcome) struct outcome gone = { 0 };
        struct object_key key = deleted->objects.items[i]->key;
        if (delete_key(r, &key, o, &gone, &one) < 0 && one.code != ERR_NOT_FOUND) {
            *err = one;
            return -1;
        }
        if (gone.object) {
            object_unref(deleted->objects.items[i]);
            deleted->objects.items[i] = take_ptr(&gone.object);
        }
    }
    out->http_status = 200;
    return 0;
}
