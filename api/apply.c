/* SPDX-License-Identifier: Apache-2.0 */
/* apply.c - server-side apply over the fields' managers. */
#include "api/apply.h"

#include <stdlib.h>

/* kubectl's own bookkeeping of client-side apply, which is taken over from it and kept up. */
static const char last_applied[] = "kubectl.kubernetes.io/last-applied-configuration";
#define ANNOTATIONS_BYTES_MAX (256 * 1024)

/* ---- what may be applied ---- */

int apply_check(const struct json *config, const char *api_version, const char *kind,
                struct error *err)
{
    const char *version = json_str(config, "apiVersion", ""), *said = json_str(config, "kind", "");
    if (strcmp(version, api_version) != 0 || strcmp(said, kind) != 0)
        return error_set(err, ERR_BAD_REQUEST, "invalid object type: %s%s, Kind=%s",
                         strchr(version, '/') ? "" : "/", version, said);
    const struct json *managed = json_at(config, "metadata.managedFields");
    if (managed && managed->type != JSON_NULL)
        return error_set(err, ERR_BAD_REQUEST, "metadata.managedFields must be nil");
    return 0;
}

static int check_fit(const struct field_write *w, const struct json *config, struct error *err)
{
    if (field_validate(w->type, config, err) == 0)
        return 0;
    const char *version = w->api_version, *why = arena_strdup(w->arena, err->message);
    return error_set(
        err, ERR_UNKNOWN, "failed to create typed patch object (%s/%s; %s%s, Kind=%s): %s",
        json_str(config, "metadata.namespace", ""), json_str(config, "metadata.name", ""),
        strchr(version, '/') ? "" : "/", version, json_str(config, "kind", ""), why);
}

/* ---- pruning ---- */

/* A document in one version. */
struct view {
    const struct schema_type *type;
    const char *api_version;
    const struct json *doc;
};

static bool view_at(const struct field_write *w, const struct view *from, const char *api_version,
                    struct view *out)
{
    *out = *from;
    if (strcmp(from->api_version, api_version) == 0)
        return true;
    const struct field_versions *v = w->versions;
    out->api_version = api_version;
    out->doc = v ? v->convert(v, from->doc, api_version, &out->type, w->arena) : NULL;
    return out->doc;
}

static const struct json *owned_at(const struct managed_fields *m, const char *api_version,
                                   struct arena *a)
{
    const struct json *all = NULL;
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->items[i].api_version, api_version) == 0)
            all = field_set_union(all, m->items[i].fields, a);
    return all;
}

static const struct json *fields_of(const struct view *v, struct arena *a)
{
    return field_set_with_parents(v->type, field_set_of(v->type, v->doc, a), a);
}

/* Of what PRUNED has lost of MERGED, puts back what somebody owns in that version. */
static void put_back_owned(const struct field_write *w, const char *api_version,
                           const struct managed_fields *m, struct view *merged, struct view *pruned)
{
    struct arena *a = w->arena;
    struct view whole, less;
    if (!view_at(w, merged, api_version, &whole) || !view_at(w, pruned, api_version, &less))
        return;
    const struct json *owned = field_set_with_parents(whole.type, owned_at(m, api_version, a), a);
    const struct json *kept = field_set_union(fields_of(&less, a), owned, a);
    *merged = *pruned = whole;
    pruned->doc =
        field_remove(whole.type, whole.doc, field_set_difference(fields_of(&whole, a), kept, a), a);
}

static bool is_version_done(const struct managed_fields *m, size_t i, const char *first)
{
    bool done = strcmp(m->items[i].api_version, first) == 0;
    for (size_t k = 0; k < i; k++)
        done |= strcmp(m->items[k].api_version, m->items[i].api_version) == 0;
    return done;
}

/* Removes what the manager owned BEFORE and nobody owns now.  M has its new fields. */
static const struct json *prune(const struct field_write *w, const struct json *doc,
                                const struct managed_entry *before, const struct managed_fields *m)
{
    struct arena *a = w->arena;
    struct view now = { w->type, w->api_version, doc }, merged, pruned, back;
    if (!before || !before->fields || !view_at(w, &now, before->api_version, &merged))
        return doc;
    const struct view whole = merged;
    const struct json *had = field_set_with_parents(whole.type, before->fields, a);
    pruned = whole;
    pruned.doc = field_remove(whole.type, whole.doc, had, a);
    /* First in the version of the old fields: what is missing then may be needed to convert. */
    put_back_owned(w, before->api_version, m, &merged, &pruned);
    for (size_t i = 0; i < m->n; i++)
        if (!is_version_done(m, i, before->api_version))
            put_back_owned(w, m->items[i].api_version, m, &merged, &pruned);
    /* Nothing goes that was not the manager's. */
    if (!view_at(w, &pruned, before->api_version, &back))
        return doc;
    const struct json *lost = field_set_difference(fields_of(&whole, a), fields_of(&back, a), a);
    struct view out = whole;
    out.doc = field_remove(whole.type, whole.doc, field_set_intersection(lost, had, a), a);
    return view_at(w, &out, w->api_version, &back) ? back.doc : doc;
}

/* ---- conflicts ---- */

static void add_conflict(struct apply_result *r, size_t room, const struct managed_entry *with,
                         const struct json *fields, struct arena *a)
{
    if (!r->conflicts)
        r->conflicts = arena_alloc(a, room * sizeof(*r->conflicts));
    r->conflicts[r->conflicts_n++] = (struct apply_conflict){ *with, fields };
}

/* Takes what has changed from all managers but SELF, and notes where that was theirs. */
static void take_from_others(const struct field_write *w, const struct json *live,
                             const struct managed_entry *self, struct managed_fields *m,
                             struct apply_result *r)
{
    for (size_t i = 0; i < m->n; i++) {
        struct managed_entry *e = &m->items[i];
        struct field_changes c;
        if (e == self)
            continue;
        if (field_write_changes(w, e->api_version, live, r->doc, &c) < 0) {
            e->fields = NULL;
            continue;
        }
        const struct json *theirs = field_set_intersection(e->fields, c.changed, w->arena);
        if (theirs)
            add_conflict(r, m->n, e, theirs, w->arena);
        e->fields = field_set_difference(e->fields, theirs, w->arena);
        e->fields = field_set_difference(e->fields, c.removed, w->arena);
    }
}

static int by_manager(const void *a, const void *b)
{
    const struct apply_conflict *x = a, *y = b;
    return strcmp(x->with.manager, y->with.manager);
}

static void print_manager(const struct managed_entry *e, struct buffer *out)
{
    buffer_add_quoted(out, bytes_of(e->manager));
    if (*e->subresource) {
        buffer_add_str(out, " with subresource ");
        buffer_add_quoted(out, bytes_of(e->subresource));
    }
    if (!e->is_apply)
        buffer_printf(out, " using %s", e->api_version);
}

struct each {
    void (*fn)(const char *message, const char *path, void *arg);
    void *arg;
    const char *message;
};

static void tell_one(const char *path, void *arg)
{
    const struct each *e = arg;
    e->fn(e->message, path, e->arg);
}

void apply_conflicts_each(const struct apply_result *r,
                          void (*fn)(const char *message, const char *path, void *arg), void *arg)
{
    for (size_t i = 0; i < r->conflicts_n; i++) {
        scoped(buffer) struct buffer text = { 0 };
        buffer_add_str(&text, "conflict with ");
        print_manager(&r->conflicts[i].with, &text);
        struct each e = { fn, arg, text.data };
        field_set_each(r->conflicts[i].fields, tell_one, &e);
    }
}

struct paths {
    struct buffer text;
    size_t n;
    const char *before;
};

static void add_path(const char *path, void *arg)
{
    struct paths *p = arg;
    buffer_printf(&p->text, "%s%s", p->before, path);
    p->n++;
}

const char *apply_conflict_message(const struct apply_result *r, struct arena *arena)
{
    struct paths lines = { .before = "\n- " }, single = { .before = "" };
    for (size_t i = 0; i < r->conflicts_n; i++) {
        buffer_add_str(&lines.text, i ? "\nconflicts with " : "conflicts with ");
        print_manager(&r->conflicts[i].with, &lines.text);
        buffer_add_char(&lines.text, ':');
        field_set_each(r->conflicts[i].fields, add_path, &lines);
    }
    const char *message =
        arena_printf(arena, "Apply failed with %zu conflicts: %s", lines.n, lines.text.data);
    if (lines.n == 1) {
        scoped(buffer) struct buffer manager = { 0 };
        print_manager(&r->conflicts[0].with, &manager);
        field_set_each(r->conflicts[0].fields, add_path, &single);
        message = arena_printf(arena, "Apply failed with 1 conflict: conflict with %s: %s",
                               manager.data, single.text.data);
    }
    buffer_free(&lines.text);
    buffer_free(&single.text);
    return message;
}

/* ---- one attempt ---- */

static struct managed_entry self_of(const struct field_write *w)
{
    return (struct managed_entry){ .manager = w->manager,
                                   .api_version = w->api_version,
                                   .subresource = w->subresource,
                                   .is_apply = true };
}

static struct managed_fields copy_of(const struct managed_fields *m, struct arena *a)
{
    struct managed_fields c = { 0 };
    for (size_t i = 0; i < m->n; i++)
        managed_fields_add(&c, m->items[i], a);
    return c;
}

static void merge_config(const struct field_write *w, const struct json *live,
                         const struct json *config, bool force, struct managed_fields *m,
                         struct apply_result *out)
{
    struct arena *a = w->arena;
    struct managed_fields next = copy_of(m, a);
    struct managed_entry key = self_of(w), before = { 0 };
    struct managed_entry *self = managed_fields_find(&next, &key);
    if (self)
        before = *self;
    else
        self = managed_fields_add(&next, key, a);
    self->api_version = w->api_version;
    self->fields = field_set_without(field_set_of(w->type, config, a), w->ignored, a);

    *out = (struct apply_result){ .doc = field_merge(w->type, live, config, a) };
    out->doc = prune(w, out->doc, before.fields ? &before : NULL, &next);
    take_from_others(w, live, self, &next, out);
    out->is_unchanged = json_equal(live, out->doc);
    if (!out->is_unchanged)
        self->time = w->now;
    if (force)
        out->conflicts_n = 0;
    if (out->conflicts_n > 0) {
        qsort(out->conflicts, out->conflicts_n, sizeof(*out->conflicts), by_manager);
        return;
    }
    managed_fields_drop_empty(&next);
    *m = next;
}

/* ---- coming from client-side apply ---- */

static const char *last_applied_of(const struct json *doc)
{
    return json_text(json_get(json_at(doc, "metadata.annotations"), last_applied));
}

/* The fields that client-side apply has set and that are still as it set them. */
static const struct json *still_as_last_applied(const struct field_write *w,
                                                const struct json *live)
{
    struct error err;
    struct field_changes c;
    const char *text = last_applied_of(live);
    const struct json *config =
        str_empty(text) ? NULL : json_parse(bytes_of(text), w->arena, NULL, &err);
    if (!json_is(config, JSON_OBJECT) ||
        strcmp(json_str(config, "apiVersion", ""), w->api_version) != 0 ||
        field_validate(w->type, config, &err) < 0)
        return NULL;
    field_compare(w->type, config, live, w->arena, &c);
    const struct json *set = field_set_of(w->type, config, w->arena);
    set = field_set_difference(set, c.changed, w->arena);
    return field_set_difference(set, c.removed, w->arena);
}

/* kubectl does not conflict with what it has set itself by client-side apply. */
static void forgive_last_applied(const struct field_write *w, const struct json *live,
                                 struct apply_result *r)
{
    const struct json *own = still_as_last_applied(w, live);
    size_t kept = 0;
    for (size_t i = 0; i < r->conflicts_n; i++) {
        struct apply_conflict c = r->conflicts[i];
        c.fields = field_set_difference(c.fields, own, w->arena);
        if (c.fields)
            r->conflicts[kept++] = c;
    }
    r->conflicts_n = kept;
}

static int by_name(const void *a, const void *b)
{
    const struct json_member *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static void sort_members(struct json *v)
{
    if (v->type == JSON_ARRAY)
        for (size_t i = 0; i < v->len; i++)
            sort_members(&v->items[i]);
    if (v->type != JSON_OBJECT || v->len == 0)
        return;
    qsort(v->members, v->len, sizeof(*v->members), by_name);
    for (size_t i = 0; i < v->len; i++)
        sort_members(&v->members[i].value);
}

static size_t annotations_bytes(const struct json *annotations)
{
    size_t n = 0;
    json_each_member (annotations, m)
        n += strlen(m->name) + m->value.len;
    return n;
}

/* The annotation of client-side apply, where there is one, follows what kubectl applies. */
static const struct json *with_last_applied(const struct field_write *w, const struct json *doc,
                                            const struct json *config)
{
    if (str_empty(last_applied_of(doc)))
        return doc;
    struct arena *a = w->arena;
    struct json *applied = json_clone(config, a), *out = json_clone(doc, a);
    struct json *annotations = json_find(applied, "metadata.annotations");
    if (annotations)
        json_remove(annotations, last_applied);
    sort_members(applied);
    scoped(buffer) struct buffer text = { 0 };
    json_print(applied, &text);
    buffer_add_char(&text, '\n');
    annotations = json_find(out, "metadata.annotations");
    json_set(a, annotations, last_applied, json_string_value(a, text.data));
    if (annotations_bytes(annotations) > ANNOTATIONS_BYTES_MAX)
        json_remove(annotations, last_applied);
    return out;
}

/* An object that nobody has managed so far: all it has is from before. */
static void claim_for_the_past(const struct field_write *w, const struct json *empty,
                               const struct json *live, struct managed_fields *m)
{
    struct field_write past = *w;
    past.manager = "before-first-apply";
    managed_fields_update(&past, empty, live, m);
}

int apply_config(const struct field_write *w, const struct json *live, const struct json *empty,
                 const struct json *config, bool force, struct managed_fields *m,
                 struct apply_result *out, struct error *err)
{
    bool is_kubectl = strcmp(w->manager, "kubectl") == 0;
    struct managed_fields next = copy_of(m, w->arena);
    if (next.n == 0)
        claim_for_the_past(w, empty, live, &next);
    if (check_fit(w, config, err) < 0)
        return -1;
    merge_config(w, live, config, force, &next, out);
    if (out->conflicts_n > 0 && is_kubectl) {
        forgive_last_applied(w, live, out);
        if (out->conflicts_n == 0)
            merge_config(w, live, config, true, &next, out);
    }
    if (out->conflicts_n > 0)
        return 0;
    if (is_kubectl)
        out->doc = with_last_applied(w, out->doc, config);
    *m = next;
    return 0;
}
