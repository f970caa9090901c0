/* SPDX-License-Identifier: Apache-2.0 */
/* managed_writes.c - managedFields through creates and updates. */
#include "apiserver/managed_writes.h"

#include <pthread.h>

#include "apiserver/conversion.h"
#include "apiserver/rest_storage.h"
#include "apiserver/server.h"
#include "base/utf8.h"

/* ---- who writes ---- */

/* Nothing that Unicode has for control or as a space other than ' ': C0, C1, the wide spaces. */
static bool is_printable(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    if (n == 1)
        return u[0] >= ' ' && u[0] != 0x7f;
    if (n == 2 && u[0] == 0xc2)
        return u[1] > 0xa0 && u[1] != 0xad;
    if (n == 3 && u[0] == 0xe2 && u[1] == 0x80)
        return u[2] > 0x8f && !(u[2] >= 0xa8 && u[2] <= 0xaf);
    return n > 0;
}

static uint32_t code_of(const char *p, size_t n)
{
    static const uint8_t masks[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    uint32_t code = (uint8_t)p[0] & masks[n];
    for (size_t i = 1; i < n; i++)
        code = code << 6 | ((uint8_t)p[i] & 0x3f);
    return code;
}

int managed_manager_check(const char *manager, const char *options_kind, struct error *err)
{
    size_t len = manager ? strlen(manager) : 0, n;
    if (len > MANAGER_BYTES_MAX)
        return error_set(err, ERR_INVALID,
                         "%s.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more "
                         "than %d bytes",
                         options_kind, MANAGER_BYTES_MAX);
    for (size_t i = 0; i < len; i += n ? n : 1) {
        n = utf8_sequence(manager + i, manager + len);
        if (is_printable(manager + i, n))
            continue;
        scoped(buffer) struct buffer quoted = { 0 };
        buffer_add_quoted(&quoted, bytes_of(manager));
        return error_set(err, ERR_INVALID,
                         "%s.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: %s: invalid "
                         "character U+%04X (at position %zu)",
                         options_kind, quoted.data, n ? code_of(manager + i, n) : 0xfffd, i);
    }
    return 0;
}

const char *managed_manager(struct request *r, const struct write_options *o)
{
    if (!str_empty(o->field_manager))
        return o->field_manager;
    const char *agent = r->user_agent ? r->user_agent : "";
    const char *end = agent + strcspn(agent, "/");
    char *out = arena_alloc(r->arena, MANAGER_BYTES_MAX + 1);
    size_t len = 0;
    for (const char *p = agent; p < end;) {
        size_t n = utf8_sequence(p, end);
        if (len + n > MANAGER_BYTES_MAX)
            break;
        if (is_printable(p, n)) {
            memcpy(out + len, p, n);
            len += n;
        }
        p += n ? n : 1;
    }
    out[len] = '\0';
    return out;
}

/* ---- what a kind of write cannot set ---- */

enum {
    OF_OBJECT,
    OF_OBJECT_WITH_STATUS,
    OF_STATUS,
    WRITES = OF_STATUS + STATUS_KEEPS_METADATA + 1
};

static const char *const not_set[WRITES][4] = {
    [OF_OBJECT_WITH_STATUS] = { "status" },
    [OF_STATUS + STATUS_TAKES_METADATA] = { "spec" },
    [OF_STATUS + STATUS_KEEPS_LABELS] = { "spec", "metadata.labels" },
    [OF_STATUS +
        STATUS_KEEPS_OWNERS] = { "spec", "metadata.deletionTimestamp", "metadata.ownerReferences" },
    [OF_STATUS + STATUS_KEEPS_METADATA] = { "spec", "metadata" },
};
static const struct json *ignored[WRITES];
static pthread_once_t ignored_once = PTHREAD_ONCE_INIT;

static void make_ignored(void)
{
    static struct arena *arena; /* for as long as the process */
    arena = arena_new();
    const struct json *never = field_set_of_paths(managed_never_owned, arena);
    for (size_t i = 0; i < WRITES; i++)
        ignored[i] = field_set_union(never, field_set_of_paths(not_set[i], arena), arena);
}

static const struct json *ignored_by(const struct resource *r, const char *subresource)
{
    pthread_once(&ignored_once, make_ignored);
    if (!*subresource)
        return ignored[resource_has_status(r) ? OF_OBJECT_WITH_STATUS : OF_OBJECT];
    if (strcmp(subresource, "status") == 0)
        return ignored[OF_STATUS + rest_storage_of(r)->status_update];
    return ignored[OF_OBJECT];
}

/* ---- versions ---- */

/* The row of the same objects in that version. */
static const struct resource *row_of_version(const struct resource *r, const char *api_version)
{
    char version[128];
    for (size_t i = 0; i < RESOURCES; i++)
        if (r->storage && resources[i].storage == r->storage &&
            strcmp(resource_api_version(&resources[i], version, sizeof(version)), api_version) == 0)
            return &resources[i];
    return NULL;
}

static const struct json *as_row(const struct json *doc, const struct resource *from,
                                 const struct resource *to, struct arena *arena)
{
    if (from == to)
        return doc;
    struct draft d = { .arena = arena, .resource = from, .doc = json_clone(doc, arena) };
    conversion_draft(&d, to);
    schema_complete(to->type, d.doc, arena);
    return d.doc;
}

static const struct json *convert(const struct field_versions *v, const struct json *doc,
                                  const char *api_version, const struct schema_type **type,
                                  struct arena *arena)
{
    const struct resource *r = ((const struct managed_versions *)v)->resource;
    const struct resource *from = row_of_version(r, json_str(doc, "apiVersion", ""));
    const struct resource *to = row_of_version(r, api_version);
    if (!from || !to)
        return NULL;
    *type = to->type;
    return as_row(doc, from, to, arena);
}

/* ---- writes ---- */

/* Enough for the first manager of a pod of two containers. */
#define MANAGERS_BYTES 2048

struct arena *managed_arena(const struct json *doc, const struct object *old)
{
    const struct json *was = old ? json_get(object_metadata(old), "managedFields") : NULL;
    return arena_new_sized(json_size_bytes(doc) + (was ? json_size_bytes(was) : 0) +
                           MANAGERS_BYTES / (was ? 2 : 1));
}

struct field_write managed_write(struct request *r, const char *manager, const char *subresource,
                                 struct managed_versions *versions)
{
    const struct resource *resource = r->info.resource;
    char version[128], now[TIME_TEXT_BYTES];
    time_format(clock_wall_ns(r->server->clock), now);
    *versions =
        (struct managed_versions){ .versions = { .convert = convert }, .resource = resource };
    return (struct field_write){
        .type = resource->type,
        .api_version =
            arena_strdup(r->arena, resource_api_version(resource, version, sizeof(version))),
        .manager = manager,
        .subresource = subresource,
        /* Upstream loses the time on the way from a scale to its object. */
        .now = strcmp(subresource, "scale") == 0 ? NULL : arena_strdup(r->arena, now),
        .ignored = ignored_by(resource, subresource),
        .versions = &versions->versions,
        .arena = r->arena,
    };
}

const struct json *managed_nothing(const struct resource *r, struct arena *a)
{
    struct json *doc = json_new(a, JSON_OBJECT);
    schema_complete(r->type, doc, a);
    return doc;
}

struct json managed_take(struct draft *d)
{
    struct json *metadata = json_find(d->doc, "metadata");
    const struct json *managed = json_get(metadata, "managedFields");
    struct json taken = managed ? *managed : (struct json){ .type = JSON_NULL };
    if (managed)
        json_remove(metadata, "managedFields");
    return taken;
}

void managed_put(struct draft *d, struct json managed)
{
    struct json *metadata = json_make_object(d->arena, d->doc, "metadata");
    if (managed.type == JSON_ARRAY && managed.len > 0)
        json_set_static(d->arena, metadata, "managedFields", managed);
    else
        json_remove(metadata, "managedFields");
}

static const struct json *list_or_null(const struct json *v)
{
    return json_is(v, JSON_ARRAY) ? v : NULL;
}

void managed_track_create(struct request *r, const struct write_options *o, struct draft *d)
{
    struct managed_versions versions;
    struct managed_fields m;
    struct json sent = managed_take(d);
    struct field_write w = managed_write(r, managed_manager(r, o), r->info.subresource, &versions);
    schema_complete(d->resource->type, d->doc, d->arena);
    managed_fields_read(NULL, list_or_null(&sent), r->arena, &m);
    managed_fields_update(&w, managed_nothing(r->info.resource, r->arena), d->doc, &m);
    managed_put(d, managed_fields_json(&m, d->arena));
}

void managed_track_update(const struct update_call *c, const struct object *old,
                          const struct json *sent, struct draft *new)
{
    struct request *r = c->request;
    const struct json *was = json_get(object_metadata(old), "managedFields");
    struct managed_versions versions;
    struct managed_fields m;
    /* What a subresource is sent does not count. */
    managed_fields_read(was, *c->subresource ? NULL : list_or_null(sent), r->arena, &m);
    managed_take(new); /* some subresources begin with a copy of OLD */
    if (m.n == 0)      /* reset by a client: nobody tracks it until it is applied */
        return;
    struct field_write w =
        managed_write(r, managed_manager(r, c->options), c->subresource, &versions);
    const struct json *live = managed_fields_left_out(old->doc, r->arena), *doc = new->doc;
    live = as_row(live, old->resource, r->info.resource, r->arena);
    doc = as_row(doc, old->resource, r->info.resource, r->arena);
    managed_fields_update(&w, live, doc, &m);
    managed_put(new, managed_fields_json(&m, new->arena));
}
