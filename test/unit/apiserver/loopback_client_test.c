/* SPDX-License-Identifier: Apache-2.0 */
/* loopback_client_test.c - the client interface inside the process, against a whole server. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "apiserver/apiserver.h"

struct world {
    char dir[64], store[80];
    struct storage *storage;
    struct apiserver *server;
    struct client *admin;
};

static int start(void **state)
{
    static const char *const masters[] = { "system:masters", NULL };
    struct world *w = xcalloc(1, sizeof(*w));
    struct error err = { 0 };
    snprintf(w->dir, sizeof(w->dir), "/tmp/coracle-loopback.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->store, sizeof(w->store), "%s/db", w->dir);
    mkdir(w->store, 0700);
    w->storage = storage_open_embedded(&(struct storage_embedded_config){ .dir = w->store }, &err);
    assert_non_null(w->storage);
    w->server = apiserver_start(&(struct apiserver_config){ .storage = w->storage,
                                                            .data_dir = w->dir,
                                                            .bind_address = "127.0.0.1",
                                                            .advertise_address = "192.0.2.1",
                                                            .loops = 1 },
                                &err);
    assert_non_null(w->server);
    w->admin = apiserver_loopback(w->server, "admin", masters);
    *state = w;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;
    char command[128];
    client_close(w->admin);
    apiserver_stop(w->server);
    storage_close(w->storage);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    int rc = system(command);
    free(w);
    return rc;
}

static const struct resource *configmaps(void)
{
    return &resources[RESOURCE_CONFIGMAPS];
}

static struct object *make(struct world *w, const char *name, const char *value)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct object *o = NULL;
    struct json *doc = json_new(a, JSON_OBJECT);
    json_put_str(a, doc, "metadata.name", name);
    json_put_str(a, doc, "data.x", value);
    assert_int_equal(client_create(w->admin, configmaps(), "default", doc, &o, &err), 0);
    return o;
}

static void remove_named(struct world *w, const char *name)
{
    struct error err = { 0 };
    struct object_key key = { "default", name };
    assert_int_equal(client_delete(w->admin, configmaps(), &key, NULL, &err), 0);
}

static void what_was_written_is_read_at_once_and_shared(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    scoped(object) struct object *made = make(w, "a", "1");
    scoped(object) struct object *got = NULL;
    struct object_key key = { "default", "a" };

    assert_int_equal(client_get(w->admin, configmaps(), &key, &got, &err), 0);

    assert_ptr_equal(got, made);
    assert_true(got->resource_version > 0);
    scoped(shared_bytes) struct shared_bytes *text = object_json(got);
    assert_non_null(memmem(text->data, text->len, "\"x\":\"1\"", 7));
    remove_named(w, "a");
}

/* The printed text and the tree are made apart: they must say the same. */
static void text_and_tree_agree(void **state)
{
    struct world *w = *state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    scoped(object) struct object *made = make(w, "a", "1");
    scoped(shared_bytes) struct shared_bytes *text = object_json(made);
    assert_true(json_equal(json_parse(shared_bytes_view(text), a, NULL, &err), made->doc));
    remove_named(w, "a");
}

static void a_stale_update_conflicts(void **state)
{
    struct world *w = *state;
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    scoped(object) struct object *made = make(w, "a", "1");
    struct object_key key = { "default", "a" };
    struct json *doc = json_clone(made->doc, a);
    json_put_str(a, doc, "data.x", "2");
    assert_int_equal(client_update(w->admin, configmaps(), &key, doc, NULL, &err), 0);

    json_put_str(a, doc, "data.x", "3");
    assert_int_equal(client_update(w->admin, configmaps(), &key, doc, NULL, &err), -1);

    assert_int_equal(err.code, ERR_CONFLICT);
    remove_named(w, "a");
}

static void nobody_may_do_what_roles_do_not_allow(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    struct client *nobody = apiserver_loopback(w->server, "nobody", NULL);
    scoped(object_list) struct object_list list = { 0 };
    int64_t revision;

    assert_int_equal(client_list(nobody, configmaps(), NULL, &list, &revision, &err), -1);

    assert_int_equal(err.code, ERR_FORBIDDEN);
    assert_string_equal(
        err.message, "configmaps is forbidden: User \"nobody\" cannot list resource \"configmaps\" "
                     "in API group \"\" at the cluster scope");
    client_close(nobody);
}

/* The scheduler waits for its turn so; its role names the one Lease. */
static void who_may_read_one_object_may_follow_it_by_name(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    struct client *scheduler = apiserver_loopback(w->server, "system:kube-scheduler", NULL);
    const struct resource *leases = &resources[RESOURCE_LEASES];
    struct client_list_options own = { .ns = "kube-system",
                                       .field_selector = "metadata.name=kube-scheduler" };
    struct client_watch_options watch = { .ns = "kube-system",
                                          .field_selector = "metadata.name=another" };
    scoped(object_list) struct object_list list = { 0 };
    int64_t revision;

    assert_int_equal(client_list(scheduler, leases, &own, &list, &revision, &err), 0);
    assert_null(client_watch(scheduler, leases, &watch, &err));

    assert_int_equal(err.code, ERR_FORBIDDEN);
    client_close(scheduler);
}

/* ---- watches ---- */

#define SEEN_MAX 64

struct seen {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct {
        enum watch_type type;
        char name[32];
        int64_t revision;
    } items[SEEN_MAX];
    size_t n;
    enum error_code ended;
};

static void on_event(const struct watch_event *e, void *arg)
{
    struct seen *s = arg;
    pthread_mutex_lock(&s->lock);
    assert_true(s->n < SEEN_MAX);
    s->items[s->n].type = e->type;
    s->items[s->n].revision = e->object->resource_version;
    snprintf(s->items[s->n].name, sizeof(s->items[0].name), "%s", e->object->key.name);
    s->n++;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
}

static void on_ended(const struct error *err, void *arg)
{
    struct seen *s = arg;
    pthread_mutex_lock(&s->lock);
    s->ended = err->code;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
}

static void await(struct seen *s, size_t n)
{
    pthread_mutex_lock(&s->lock);
    while (s->n < n && s->ended == ERR_NONE)
        pthread_cond_wait(&s->more, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static struct client_watch *watch_from(struct world *w, struct seen *s, int64_t revision)
{
    struct error err = { 0 };
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    struct client_watch_options o = { .ns = "default",
                                      .resource_version = revision,
                                      .event = on_event,
                                      .ended = on_ended,
                                      .arg = s };
    struct client_watch *watch = client_watch(w->admin, configmaps(), &o, &err);
    assert_non_null(watch);
    return watch;
}

static void a_watch_tells_every_change_in_order(void **state)
{
    struct world *w = *state;
    struct seen s = { 0 };
    scoped(object) struct object *first = make(w, "first", "1");
    struct client_watch *watch = watch_from(w, &s, first->resource_version);
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        object_unref(make(w, name, "1"));
    }
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        remove_named(w, name);
    }

    await(&s, 20);
    client_watch_close(watch);

    assert_int_equal(s.n, 20);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(s.items[i].type, i < 10 ? WATCH_ADDED : WATCH_DELETED);
        assert_true(i == 0 || s.items[i].revision > s.items[i - 1].revision);
    }
    remove_named(w, "first");
}

static void a_watch_from_nothing_begins_with_what_exists(void **state)
{
    struct world *w = *state;
    struct seen s = { 0 };
    object_unref(make(w, "a", "1"));
    object_unref(make(w, "b", "1"));
    struct client_watch *watch = watch_from(w, &s, 0);

    await(&s, 2);
    client_watch_close(watch);

    assert_string_equal(s.items[0].name, "a");
    assert_string_equal(s.items[1].name, "b");
    remove_named(w, "a");
    remove_named(w, "b");
}

static void a_forgotten_revision_ends_the_watch(void **state)
{
    struct world *w = *state;
    struct seen s = { 0 };
    /* The caches begin with the revision of the store when they were filled, which an empty store
     * has at 1; an older one than that they cannot know. */
    for (int i = 0; i < 2; i++)
        object_unref(make(w, i ? "b" : "a", "1"));
    apiserver_stop(w->server);
    struct error err = { 0 };
    client_close(w->admin);
    w->server = apiserver_start(
        &(struct apiserver_config){
            .storage = w->storage, .data_dir = w->dir, .bind_address = "127.0.0.1", .loops = 1 },
        &err);
    static const char *const masters[] = { "system:masters", NULL };
    w->admin = apiserver_loopback(w->server, "admin", masters);

    struct client_watch *watch = watch_from(w, &s, 2);
    await(&s, 1);
    client_watch_close(watch);

    assert_int_equal(s.ended, ERR_COMPACTED);
}

/* ---- many at once ---- */

#define WRITERS 8
#define WRITES  25

struct writer {
    struct world *world;
    int id;
};

static void *write_keys(void *arg)
{
    struct writer *writer = arg;
    struct object_key key = { "default", "shared" };
    for (int i = 0; i < WRITES; i++) {
        char patch[64];
        struct error err = { 0 };
        snprintf(patch, sizeof(patch), "{\"data\":{\"w%d-%d\":\"1\"}}", writer->id, i);
        while (client_patch(writer->world->admin, configmaps(), &key, NULL, PATCH_MERGE,
                            bytes_of(patch), NULL, &err) < 0)
            assert_int_equal(err.code, ERR_CONFLICT);
    }
    return NULL;
}

static void no_write_of_many_writers_is_lost(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    object_unref(make(w, "shared", "1"));
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ w, i };
        pthread_create(&threads[i], NULL, write_keys, &writers[i]);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);

    scoped(object) struct object *o = NULL;
    struct object_key key = { "default", "shared" };
    assert_int_equal(client_get(w->admin, configmaps(), &key, &o, &err), 0);
    assert_int_equal(json_len(o->doc, "data"), WRITERS * WRITES + 1);
    remove_named(w, "shared");
}

/* ---- several changes of one revision: what a lease that ends does to events ---- */

struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int deleted;
};

static void note_deletion(const struct watch_event *e, void *arg)
{
    struct told *t = arg;
    pthread_mutex_lock(&t->lock);
    t->deleted += e->type == WATCH_DELETED;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void note_end(const struct error *err, void *arg)
{
    (void)err, (void)arg;
}

static void every_change_of_a_revision_is_told(void **state)
{
    struct world *w = *state;
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    object_unref(make(w, "first", "1"));
    scoped(object) struct object *second = make(w, "second", "1");
    struct told t = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    struct client_watch_options options = { .ns = "default",
                                            .resource_version = second->resource_version,
                                            .event = note_deletion,
                                            .ended = note_end,
                                            .arg = &t };
    struct client_watch *watch = client_watch(w->admin, configmaps(), &options, &err);
    assert_non_null(watch);
    struct storage_op both = { .type = STORAGE_DELETE,
                               .key = BYTES("/registry/core/configmaps/default/"),
                               .end = BYTES("/registry/core/configmaps/default0") };
    struct storage_txn txn = { .success = &both, .success_n = 1 };
    struct storage_txn_result result;
    assert_int_equal(storage_txn(w->storage, &txn, a, &result, &err), 0);
    pthread_mutex_lock(&t.lock);
    while (t.deleted < result.results[0].deleted)
        pthread_cond_wait(&t.changed, &t.lock);
    pthread_mutex_unlock(&t.lock);
    assert_true(t.deleted >= 2);
    client_watch_close(watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_change_of_a_revision_is_told),
        cmocka_unit_test(what_was_written_is_read_at_once_and_shared),
        cmocka_unit_test(text_and_tree_agree),
        cmocka_unit_test(a_stale_update_conflicts),
        cmocka_unit_test(nobody_may_do_what_roles_do_not_allow),
        cmocka_unit_test(who_may_read_one_object_may_follow_it_by_name),
        cmocka_unit_test(a_watch_tells_every_change_in_order),
        cmocka_unit_test(a_watch_from_nothing_begins_with_what_exists),
        cmocka_unit_test(no_write_of_many_writers_is_lost),
        cmocka_unit_test(a_forgotten_revision_ends_the_watch),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
