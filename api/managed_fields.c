/* SPDX-License-Identifier: Apache-2.0 */
/* managed_fields.c - the entries of metadata.managedFields, and how updates change them. */
#include "api/managed_fields.h"

#include <stdlib.h>

static const char ancient[] = "ancient-changes";

/* metadata.clusterName and selfLink are of old clients: they are no fields any more. */
const char *const managed_never_owned[] = { "apiVersion",
                                            "kind",
                                            "metadata.name",
                                            "metadata.namespace",
                                            "metadata.creationTimestamp",
                                            "metadata.selfLink",
                                            "metadata.uid",
                                            "metadata.generation",
                                            "metadata.managedFields",
                                            "metadata.resourceVersion",
                                            NULL };

/* ---- entries ---- */

static bool is_same_manager(const struct managed_entry *a, const struct managed_entry *b)
{
    /* Whoever applies is one manager in whatever version. */
    return a->is_apply == b->is_apply && strcmp(a->manager, b->manager) == 0 &&
           strcmp(a->subresource, b->subresource) == 0 &&
           (a->is_apply || strcmp(a->api_version, b->api_version) == 0);
}

struct managed_entry *managed_fields_find(const struct managed_fields *m,
                                          const struct managed_entry *like)
{
    for (size_t i = 0; i < m->n; i++)
        if (is_same_manager(&m->items[i], like))
            return &m->items[i];
    return NULL;
}

struct managed_entry *managed_fields_add(struct managed_fields *m, struct managed_entry entry,
                                         struct arena *arena)
{
    m->items = arena_grow(arena, m->items, m->n, &m->capacity, sizeof(*m->items));
    m->items[m->n] = entry;
    return &m->items[m->n++];
}

void managed_fields_drop_empty(struct managed_fields *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->n; i++)
        if (m->items[i].fields)
            m->items[kept++] = m->items[i];
    m->n = kept;
}

/* ---- reading ---- */

static int read_entry(const struct json *v, bool is_ours, struct arena *arena,
                      struct managed_entry *out, struct error *err)
{
    const char *operation = json_str(v, "operation", "");
    const struct json *fields = json_get(v, "fieldsV1");
    *out = (struct managed_entry){ .manager = json_str(v, "manager", ""),
                                   .api_version = json_str(v, "apiVersion", ""),
                                   .subresource = json_str(v, "subresource", ""),
                                   .time = json_str(v, "time", NULL),
                                   .is_apply = strcmp(operation, "Apply") == 0 };
    if (is_ours) {
        out->fields = fields;
        return 0;
    }
    if (!out->is_apply && strcmp(operation, "Update") != 0)
        return error_set(err, ERR_BAD_REQUEST, "operation must be `Apply` or `Update`");
    if (!*out->api_version)
        return error_set(err, ERR_BAD_REQUEST, "apiVersion must not be empty");
    if (strcmp(json_str(v, "fieldsType", ""), "FieldsV1") != 0)
        return error_set(err, ERR_BAD_REQUEST, "fieldsType must be FieldsV1");
    return field_set_read(fields, arena, &out->fields, err);
}

static int read_entries(const struct json *list, bool is_ours, struct arena *arena,
                        struct managed_fields *out)
{
    *out = (struct managed_fields){ 0 };
    if (!is_ours && list->len > MANAGED_SENT_MAX)
        return -1;
    json_each_item (list, v) {
        struct error err;
        struct managed_entry entry;
        if (read_entry(v, is_ours, arena, &entry, &err) < 0)
            return -1;
        struct managed_entry *same = is_ours ? NULL : managed_fields_find(out, &entry);
        if (same)
            *same = entry;
        else
            managed_fields_add(out, entry, arena);
    }
    if (!is_ours)
        managed_fields_drop_empty(out);
    return 0;
}

static bool is_reset(const struct json *list)
{
    return json_is(list, JSON_ARRAY) &&
           (list->len == 0 ||
            (list->len == 1 && list->items[0].type == JSON_OBJECT && list->items[0].len == 0));
}

void managed_fields_read(const struct json *live, const struct json *new, struct arena *arena,
                         struct managed_fields *out)
{
    *out = (struct managed_fields){ 0 };
    if (is_reset(new))
        return;
    /* Clients send back what they read, mostly: it need not be checked again. */
    bool is_foreign = new && !(live && json_equal(live, new));
    if (!is_foreign || read_entries(new, false, arena, out) < 0 || out->n == 0)
        read_entries(live, true, arena, out);
}

/* ---- writing ---- */

static int by_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "");
}

static int in_list_order(const void *a, const void *b)
{
    const struct managed_entry *x = a, *y = b;
    if (x->is_apply != y->is_apply)
        return x->is_apply ? -1 : 1;
    int rc = by_text(x->time, y->time); /* all in UTC, to the second */
    if (!rc)
        rc = strcmp(x->manager, y->manager);
    if (!rc)
        rc = strcmp(x->api_version, y->api_version);
    return rc ? rc : strcmp(x->subresource, y->subresource);
}

static void put_text(struct arena *arena, struct json *entry, const char *name, const char *text)
{
    if (!str_empty(text))
        json_add(arena, entry, name, json_string_value(arena, text));
}

static void put_constant(struct arena *arena, struct json *entry, const char *name,
                         const char *text)
{
    json_add(arena, entry, name,
             (struct json){ .type = JSON_STRING, .len = (uint32_t)strlen(text), .string = text });
}

struct json managed_fields_json(const struct managed_fields *m, struct arena *arena)
{
    struct json list = { .type = JSON_ARRAY };
    if (m->n > 1)
        qsort(m->items, m->n, sizeof(*m->items), in_list_order);
    for (size_t i = 0; i < m->n; i++) {
        const struct managed_entry *e = &m->items[i];
        struct json *entry = json_append(arena, &list, (struct json){ .type = JSON_OBJECT });
        put_text(arena, entry, "manager", e->manager);
        put_constant(arena, entry, "operation", e->is_apply ? "Apply" : "Update");
        put_text(arena, entry, "apiVersion", e->api_version);
        put_text(arena, entry, "time", e->time);
        put_constant(arena, entry, "fieldsType", "FieldsV1");
        json_add(arena, entry, "fieldsV1", json_clone_value(e->fields, arena));
        put_text(arena, entry, "subresource", e->subresource);
    }
    return list;
}

static bool entries_equal(const struct json *a, const struct json *b)
{
    static const char *const parts[] = { "manager",    "operation", "apiVersion",
                                         "fieldsType", "fieldsV1",  "subresource" };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (!json_equal(json_get(a, parts[i]), json_get(b, parts[i])))
            return false;
    return true;
}

bool managed_fields_equal(const struct json *a, const struct json *b)
{
    size_t n = a ? a->len : 0, m = b ? b->len : 0;
    for (size_t i = 0; i < n && n == m; i++)
        if (!entries_equal(&a->items[i], &b->items[i]))
            return false;
    return n == m;
}

/* ---- what differs ---- */

/* V without the member NAME; its other members are shared. */
static struct json without_member(const struct json *v, const char *name, struct arena *arena)
{
    struct json out = { .type = JSON_OBJECT };
    out.members = arena_alloc(arena, (v->len + 1) * sizeof(*out.members));
    json_each_member (v, m) {
        if (strcmp(m->name, name) != 0)
            out.members[out.len++] = *m;
    }
    return out;
}

const struct json *managed_fields_left_out(const struct json *doc, struct arena *arena)
{
    const struct json *metadata = json_get(doc, "metadata");
    if (!json_get(metadata, "managedFields"))
        return doc;
    struct json *out = arena_alloc(arena, sizeof(*out));
    *out = without_member(doc, "metadata", arena);
    out->members[out->len++] =
        (struct json_member){ "metadata", without_member(metadata, "managedFields", arena) };
    return out;
}

int field_write_changes(const struct field_write *w, const char *api_version,
                        const struct json *live, const struct json *new, struct field_changes *out)
{
    const struct schema_type *type = w->type;
    if (strcmp(api_version, w->api_version) != 0) {
        const struct field_versions *v = w->versions;
        live = v ? v->convert(v, live, api_version, &type, w->arena) : NULL;
        new = v ? v->convert(v, new, api_version, &type, w->arena) : NULL;
        if (!live || !new)
            return -1;
    }
    field_compare(type, live, new, w->arena, out);
    out->changed = field_set_without(out->changed, w->ignored, w->arena);
    out->removed = field_set_without(out->removed, w->ignored, w->arena);
    return 0;
}

/* ---- updates ---- */

/* Takes from every entry what somebody else has changed, or what is gone. */
static void take_from_all(const struct field_write *w, const struct json *live,
                          const struct json *new, const struct field_changes *changes,
                          struct managed_fields *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct managed_entry *e = &m->items[i];
        struct field_changes other, *seen = &other;
        if (strcmp(e->api_version, w->api_version) == 0)
            other = *changes;
        else if (field_write_changes(w, e->api_version, live, new, &other) < 0)
            seen = NULL; /* nobody can say any more what it owns */
        e->fields = seen ? field_set_difference(e->fields, seen->changed, w->arena) : NULL;
        if (seen)
            e->fields = field_set_difference(e->fields, seen->removed, w->arena);
    }
}

static int oldest_first(const void *a, const void *b)
{
    const struct managed_entry *x = *(struct managed_entry *const *)a,
                               *y = *(struct managed_entry *const *)b;
    int rc = by_text(x->time, y->time);
    return rc ? rc : in_list_order(x, y);
}

/* The entry of ANCIENT's changes in that version: the one that is there, or FIRST renamed. */
static struct managed_entry *bucket_of(struct managed_fields *m, struct managed_entry *first)
{
    struct managed_entry bucket = { .manager = ancient,
                                    .api_version = first->api_version,
                                    .subresource = "" };
    struct managed_entry *there = managed_fields_find(m, &bucket);
    if (there)
        return there;
    bucket.fields = first->fields;
    *first = bucket;
    return first;
}

/* Of every version the oldest entries become one, until few enough are left. */
static void cap_updaters(struct managed_fields *m, struct arena *arena)
{
    size_t n = 0, left;
    struct managed_entry **updaters =
        arena_alloc(arena, (m->n + 1) * sizeof(struct managed_entry *));
    for (size_t i = 0; i < m->n; i++)
        if (!m->items[i].is_apply)
            updaters[n++] = &m->items[i];
    if (n <= MANAGED_UPDATERS_MAX)
        return;
    qsort(updaters, n, sizeof(struct managed_entry *), oldest_first);
    left = n;
    for (size_t i = 1; i < n && left > MANAGED_UPDATERS_MAX; i++) {
        struct managed_entry *first = NULL, *e = updaters[i];
        for (size_t k = 0; k < i && !first; k++)
            if (updaters[k]->fields && strcmp(updaters[k]->api_version, e->api_version) == 0)
                first = updaters[k];
        if (!first)
            continue;
        struct managed_entry *bucket = bucket_of(m, first);
        if (bucket == e)
            continue;
        bucket->fields = field_set_union(bucket->fields, e->fields, arena);
        bucket->time = e->time; /* the younger one's */
        e->fields = NULL;
        left--;
    }
    managed_fields_drop_empty(m);
}

void managed_fields_update(const struct field_write *w, const struct json *live,
                           const struct json *new, struct managed_fields *m)
{
    struct managed_entry self = { .manager = str_empty(w->manager) ? "unknown" : w->manager,
                                  .api_version = w->api_version,
                                  .subresource = w->subresource };
    struct field_changes changes = { 0 };
    field_write_changes(w, w->api_version, live, new, &changes);
    if (changes.changed || changes.removed)
        take_from_all(w, live, new, &changes, m);
    if (changes.changed) {
        struct managed_entry *mine = managed_fields_find(m, &self);
        if (!mine)
            mine = managed_fields_add(m, self, w->arena);
        mine->fields = field_set_union(mine->fields, changes.changed, w->arena);
        mine->time = w->now;
    }
    managed_fields_drop_empty(m);
    cap_updaters(m, w->arena);
}
