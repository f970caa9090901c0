/* SPDX-License-Identifier: Apache-2.0 */
/* store_access.c - keys of objects, and writes that are parsed and printed once. */
#include "apiserver/store_access.h"

#include "apiserver/encryption.h"
#include "apiserver/server.h"
#include "base/limits.h"
#include "base/log.h"

#define LEASE_SHARED_S 60

char *store_prefix(const struct resource *r, struct arena *a)
{
    const struct resource *stored = r->storage ? r->storage : r;
    return arena_printf(a, STORE_ROOT "%s/%s/", *stored->group ? stored->group : "core",
                        stored->plural);
}

struct bytes store_key(const struct resource *r, const struct object_key *key, struct arena *a)
{
    const char *prefix = store_prefix(r, a);
    if (str_empty(key->ns))
        return bytes_of(arena_printf(a, "%s%s", prefix, key->name));
    return bytes_of(arena_printf(a, "%s%s/%s", prefix, key->ns, key->name));
}

struct bytes store_prefix_end(struct bytes prefix, struct arena *a)
{
    char *end = arena_strndup(a, prefix.data, prefix.len);
    end[prefix.len - 1]++; /* a prefix ends in '/' */
    return (struct bytes){ end, prefix.len };
}

/* ---- the attachment of a write ---- */

struct store_write {
    atomic_uint refs;
    struct draft *draft;   /* until it is printed */
    struct object *object; /* sealed; the first who learns its revision publishes it */
    bool is_published;
    struct buffer text;   /* without its resourceVersion */
    size_t splice_at;     /* where metadata's first member begins in it */
    struct buffer sealed; /* what is stored instead of TEXT, unless it is empty */
    uint64_t sealed_by;
};

static void write_unref(void *attachment)
{
    struct store_write *w = attachment;
    if (!w || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1)
        return;
    draft_free(w->draft);
    object_unref(w->object);
    buffer_free(&w->text);
    buffer_free(&w->sealed);
    free(w);
}

static void print_member(struct buffer *out, const char *name, const struct json *v)
{
    if (out->len > 1)
        buffer_add_char(out, ',');
    json_print_string(bytes_of(name), out);
    buffer_add_char(out, ':');
    json_print(v, out);
}

/* Prints kind, apiVersion, metadata and the rest, and notes where metadata's first member is. */
static void print_draft(struct store_write *w)
{
    static const char *const head[] = { "kind", "apiVersion", "metadata" };
    const struct json *doc = w->draft->doc;
    buffer_reserve(&w->text, 1024);
    buffer_add_char(&w->text, '{');
    for (size_t i = 0; i < ARRAY_LEN(head); i++) {
        w->splice_at = w->text.len + strlen(",\"metadata\":{");
        print_member(&w->text, head[i], json_get(doc, head[i]));
    }
    json_each_member (doc, m) {
        if (strcmp(m->name, head[0]) != 0 && strcmp(m->name, head[1]) != 0 &&
            strcmp(m->name, head[2]) != 0)
            print_member(&w->text, m->name, &m->value);
    }
    buffer_add_char(&w->text, '}');
    buffer_fit(&w->text); /* it waits for the disk beside many others */
}

/* The stored text with the revision as metadata's first member. */
static struct shared_bytes *text_at_revision(const struct store_write *w, int64_t revision)
{
    char member[64];
    int n = snprintf(member, sizeof(member), "\"resourceVersion\":\"%lld\",", (long long)revision);
    struct shared_bytes *s = xmalloc(sizeof(*s) + w->text.len + (size_t)n);
    atomic_init(&s->refs, 1);
    s->len = w->text.len + (size_t)n;
    memcpy(s->data, w->text.data, w->splice_at);
    memcpy(s->data + w->splice_at, member, (size_t)n);
    memcpy(s->data + w->splice_at + n, w->text.data + w->splice_at, w->text.len - w->splice_at);
    return s;
}

static void publish_write(struct store_write *w, int64_t revision)
{
    w->object->sealed_by = w->sealed_by;
    object_stamp(w->object, revision);
    object_keep_json_take(w->object, text_at_revision(w, revision));
    w->is_published = true;
}

struct object *store_write_object(void *attachment, int64_t revision)
{
    struct store_write *w = attachment;
    if (!w)
        return NULL;
    if (!w->is_published)
        publish_write(w, revision);
    return object_ref(w->object);
}

/* ---- writes ---- */

static int check_size(const struct store_write *w, struct error *err)
{
    if (w->text.len <= OBJECT_BYTES_MAX)
        return 0;
    return error_set(err, ERR_TOO_LARGE, "etcdserver: request is too large");
}

/* A write is in the cache before it is acknowledged; after a conflict the next attempt begins with
 * what is there.  A cache that cannot follow now does not undo the write. */
static void follow(struct apiserver *a, const struct storage_txn_result *result)
{
    struct error late = { 0 };
    if (watch_caches_catch_up(a->caches, result->revision, &late) < 0)
        log_warn("apiserver", "after a write: %s", late.message);
}

/* Its last change is the last allocation on any server. */
#define ALLOCATIONS_KEY STORE_ROOT "coracle/allocations"

/* What a write comes with besides its object. */
struct put_options {
    int64_t lease;         /* 0: none */
    int64_t seen_revision; /* fails if there were allocations after it; 0: whatever there was */
    bool *is_contended;    /* set by that failure */
};

static enum store_result put(struct apiserver *a, const struct object_key *key,
                             struct store_write *w, int64_t expected_revision,
                             const struct put_options *options, struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    const struct resource *r = w->object->resource;
    struct bytes k = store_key(r, key, arena);
    if (encryption_seal(a->encryption, r, k, buffer_bytes(&w->text), &w->sealed, &w->sealed_by,
                        err) < 0)
        return STORE_FAILED;
    bool is_guarded = options->seen_revision > 0;
    struct storage_compare compares[] = {
        { .key = k,
          .target = STORAGE_COMPARE_MOD_REVISION,
          .result = STORAGE_EQUAL,
          .number = expected_revision },
        { .key = BYTES(ALLOCATIONS_KEY),
          .target = STORAGE_COMPARE_MOD_REVISION,
          .result = STORAGE_LESS,
          .number = options->seen_revision + 1 },
    };
    atomic_fetch_add(&w->refs, 1); /* the store's, from submission on */
    struct storage_op puts[] = {
        { .type = STORAGE_PUT,
          .key = k,
          .value = buffer_bytes(w->sealed_by ? &w->sealed : &w->text),
          .lease = options->lease,
          .attachment = w },
        { .type = STORAGE_PUT, .key = BYTES(ALLOCATIONS_KEY) },
    };
    struct storage_range last = { .key = BYTES(ALLOCATIONS_KEY) };
    struct storage_op look = { .type = STORAGE_RANGE, .range = &last };
    struct storage_txn txn = { .compares = compares,
                               .compares_n = is_guarded ? 2 : 1,
                               .success = puts,
                               .success_n = is_guarded ? 2 : 1,
                               .failure = &look,
                               .failure_n = is_guarded ? 1 : 0,
                               .attachment_unref = write_unref };
    struct storage_txn_result result;
    if (storage_txn(a->storage, &txn, arena, &result, err) < 0)
        return STORE_FAILED;
    follow(a, &result);
    if (!result.succeeded && is_guarded && result.results[0].range.n > 0 &&
        result.results[0].range.kvs[0].mod_revision > options->seen_revision) {
        *options->is_contended = true;
        error_set(err, ERR_CONFLICT, "another server has allocated addresses or ports");
        return STORE_FAILED;
    }
    if (!result.succeeded)
        return STORE_CONFLICT;
    if (!w->is_published)
        publish_write(w, result.revision); /* a remote store hands no attachments to watchers */
    return STORE_DONE;
}

/* A lease of its own for each event would be a second write for each: those of a minute share one,
 * which ends that much later. */
static int lease_for(struct apiserver *a, int64_t ttl_s, int64_t *id, struct error *err)
{
    if (ttl_s == 0)
        return 0;
    struct shared_lease *l = &a->lease;
    int64_t now_ns = clock_monotonic_ns(a->clock);
    int rc = 0;
    pthread_mutex_lock(&l->lock);
    if (l->id == 0 || l->ttl_s != ttl_s || now_ns >= l->until_ns) {
        rc = storage_lease_grant(a->storage, 0, ttl_s + LEASE_SHARED_S, &l->id, err);
        l->ttl_s = ttl_s;
        l->until_ns = now_ns + LEASE_SHARED_S * NS_PER_S;
    }
    *id = l->id;
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* It is not in the store any more: etcd was restored from a backup, or ours slept for too long. */
static void forget_lease(struct apiserver *a, int64_t id)
{
    pthread_mutex_lock(&a->lease.lock);
    if (a->lease.id == id)
        a->lease.id = 0;
    pthread_mutex_unlock(&a->lease.lock);
}

static enum store_result put_draft_take(struct apiserver *a, const struct object_key *key,
                                        struct draft *new, int64_t expected_revision,
                                        const struct put_options *options, struct object **out,
                                        struct error *err)
{
    struct store_write *w = xcalloc(1, sizeof(*w));
    atomic_init(&w->refs, 1);
    w->draft = new;
    json_drop(w->draft->doc, "metadata.resourceVersion");
    print_draft(w);
    if (w->text.len > OBJECT_BYTES_MAX) { /* perhaps it fits without its managers: upstream's way */
        json_drop(w->draft->doc, "metadata.managedFields");
        buffer_clear(&w->text);
        print_draft(w);
    }

    w->object = draft_seal(take_ptr(&w->draft));

    enum store_result rc = STORE_FAILED;
    if (check_size(w, err) == 0)
        rc = put(a, key, w, expected_revision, options, err);
    if (rc == STORE_DONE)
        *out = object_ref(w->object);
    write_unref(w);
    return rc;
}

enum store_result store_put(struct apiserver *a, const struct object_key *key,
                            struct draft *new_take, int64_t expected_revision, int64_t ttl_s,
                            struct object **out, struct error *err)
{
    struct put_options options = { 0 };
    if (lease_for(a, ttl_s, &options.lease, err) < 0) {
        draft_free(new_take);
        return STORE_FAILED;
    }
    enum store_result rc = put_draft_take(a, key, new_take, expected_revision, &options, out, err);
    if (rc == STORE_FAILED && options.lease && err->code == ERR_NOT_FOUND) {
        forget_lease(a, options.lease);
        err->code = ERR_UNAVAILABLE; /* the next attempt gets another one */
    }
    return rc;
}

enum store_result store_put_allocated(struct request *r, const struct object_key *key,
                                      struct draft *new_take, int64_t expected_revision,
                                      struct object **out, struct error *err)
{
    struct put_options options = { .seen_revision = r->seen_revision,
                                   .is_contended = &r->is_contended };
    return put_draft_take(r->server, key, new_take, expected_revision, &options, out, err);
}

int store_seal(const struct apiserver *a, const struct resource *r, struct bytes key,
               struct bytes text, struct arena *arena, struct bytes *out, struct error *err)
{
    scoped(buffer) struct buffer sealed = { 0 };
    uint64_t sealed_by;
    int rc = encryption_seal(a->encryption, r, key, text, &sealed, &sealed_by, err);
    if (rc >= 0)
        *out = arena_bytes(arena, rc ? buffer_bytes(&sealed) : text);
    return rc < 0 ? -1 : 0;
}

/* ---- reads ---- */

struct object *store_parse(const struct apiserver *a, const struct resource *r,
                           const struct storage_kv *kv, struct error *err)
{
    struct buffer opened = { 0 };
    uint64_t sealed_by;
    struct object *o = NULL;
    int rc = encryption_open(a->encryption, r, kv->key, kv->value, &opened, &sealed_by, err);
    if (rc >= 0)
        o = object_parse(r, rc ? buffer_bytes(&opened) : kv->value, kv->mod_revision, err);
    if (!o) {
        error_wrap(err, "unable to %s key \"%.*s\"", rc < 0 ? "transform" : "decode",
                   (int)kv->key.len, kv->key.data);
        err->code = ERR_INTERNAL; /* not the reader's fault */
    }
    buffer_free(&opened);
    if (o)
        o->sealed_by = sealed_by;
    return o;
}

bool store_is_stale(const struct apiserver *a, const struct object *o)
{
    return encryption_is_stale(a->encryption, o->resource, o->sealed_by);
}

enum store_result store_delete(struct apiserver *a, const struct object *o, int64_t *revision,
                               struct error *err)
{
    scoped(arena) struct arena *arena = arena_new();
    struct bytes k = store_key(o->resource, &o->key, arena);
    struct storage_compare unchanged = { .key = k,
                                         .target = STORAGE_COMPARE_MOD_REVISION,
                                         .result = STORAGE_EQUAL,
                                         .number = o->resource_version };
    struct storage_op op = { .type = STORAGE_DELETE, .key = k };
    struct storage_txn txn = {
        .compares = &unchanged, .compares_n = 1, .success = &op, .success_n = 1
    };
    struct storage_txn_result result;
    if (storage_txn(a->storage, &txn, arena, &result, err) < 0)
        return STORE_FAILED;
    follow(a, &result);
    *revision = result.revision;
    return result.succeeded ? STORE_DONE : STORE_CONFLICT;
}
