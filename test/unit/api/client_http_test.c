/* SPDX-License-Identifier: Apache-2.0 */
/* client_http_test - the calls as they go over a socket, against a server that plays back answers.
 */
#include "api/client_http.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/http_server.h"

#define SEEN_MAX 8

struct fixture {
    struct http_server *server;
    struct client *client;
    char dir[64], config[96];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct {
        char method[16], target[512], body[512], authorization[64], content_type[64];
    } seen[SEEN_MAX]; /* requests */
    int seen_n;
    const char *answers[SEEN_MAX]; /* their bodies, in turn; a status may come first: "404 {...}" */
    int events, ended;
    char names[128]; /* of watch events: "+a *a -a" */
    struct error end;
};

static void copy(char *to, size_t n, struct bytes from)
{
    snprintf(to, n, "%.*s", (int)from.len, from.data ? from.data : "");
}

static void answer(struct http_request *req, void *arg)
{
    struct fixture *t = arg;
    pthread_mutex_lock(&t->lock);
    ensure(t->seen_n < SEEN_MAX);
    int i = t->seen_n++;
    struct bytes query = http_request_query(req), path = http_request_path(req);
    copy(t->seen[i].method, sizeof(t->seen[i].method), http_request_method(req));
    snprintf(t->seen[i].target, sizeof(t->seen[i].target), "%.*s?%.*s", (int)path.len, path.data,
             (int)query.len, query.data ? query.data : "");
    copy(t->seen[i].body, sizeof(t->seen[i].body), http_request_body(req));
    copy(t->seen[i].authorization, sizeof(t->seen[i].authorization),
         http_request_header(req, "authorization"));
    copy(t->seen[i].content_type, sizeof(t->seen[i].content_type),
         http_request_header(req, "content-type"));
    const char *text = t->answers[i] ? t->answers[i] : "{}";
    pthread_mutex_unlock(&t->lock);

    int status = 200;
    if (*text >= '0' && *text <= '9')
        status = (int)strtol(text, (char **)&text, 10);
    struct bytes part = bytes_of(text);
    struct http_response response = { .status = status, .parts = &part, .parts_n = 1 };
    http_respond(req, &response);
}

static void write_file(const char *path, const char *text)
{
    scoped(file) FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
}

static int setup(void **state)
{
    struct error err = { 0 };
    struct fixture *t = calloc(1, sizeof(*t));
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    snprintf(t->dir, sizeof(t->dir), "/tmp/client_http_XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->config, sizeof(t->config), "%s/config", t->dir);
    struct http_server_config config = {
        .bind_address = "127.0.0.1",
        .loops = 1,
        .handle = answer,
        .arg = t,
    };
    t->server = http_server_start(&config, &err);
    assert_non_null(t->server);
    char text[600], token[96];
    snprintf(text, sizeof(text),
             "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
             "clusters:\n- name: k\n  cluster: {server: 'http://127.0.0.1:%d/'}\n"
             "contexts:\n- name: c\n  context: {cluster: k, user: u}\n"
             "users:\n- name: u\n  user: {tokenFile: token}\n",
             http_server_port(t->server));
    write_file(t->config, text);
    snprintf(token, sizeof(token), "%s/token", t->dir);
    write_file(token, "secret\n");
    t->client = client_http_open(t->config, &err);
    if (!t->client)
        fail_msg("%s", err.message);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *t = *state;
    char path[96];
    client_close(t->client);
    http_server_stop(t->server, 0);
    snprintf(path, sizeof(path), "%s/token", t->dir);
    unlink(path);
    unlink(t->config);
    rmdir(t->dir);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->changed);
    free(t);
    return 0;
}

static const struct resource *pods(void)
{
    return &resources[RESOURCE_PODS];
}

static const struct object_key web = { "shop", "web" };

#define POD(name, version)                                                                         \
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"namespace\":\"shop\",\"name\":"       \
    "\"" name "\",\"uid\":\"u\",\"resourceVersion\":\"" version "\"}}"

static void get_gives_the_object(void **state)
{
    struct fixture *t = *state;
    struct error err = { 0 };
    scoped(object) struct object *o = NULL;
    t->answers[0] = POD("web", "7");
    assert_int_equal(client_get(t->client, pods(), &web, &o, &err), 0);
    assert_string_equal(t->seen[0].method, "GET");
    assert_string_equal(t->seen[0].target, "/api/v1/namespaces/shop/pods/web?");
    assert_string_equal(t->seen[0].authorization, "Bearer secret");
    assert_int_equal(o->resource_version, 7);
    assert_string_equal(o->key.name, "web");
}

static void a_failure_carries_the_servers_words(void **state)
{
    struct fixture *t = *state;
    struct error err = { 0 };
    struct object *o = NULL;
    t->answers[0] = "404 {\"kind\":\"Status\",\"reason\":\"NotFound\",\"code\":404,\"message\":"
                    "\"pods \\\"web\\\" not found\"}";
    assert_int_equal(client_get(t->client, pods(), &web, &o, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_string_equal(err.message, "pods \"web\" not found");
}

static void a_list_fetches_every_page(void **state)
{
    struct fixture *t = *state;
    struct error err = { 0 };
    scoped(object_list) struct object_list list = { 0 };
    int64_t revision = 0;
    struct client_list_options options = { .ns = "shop", .label_selector = "a=b,c", .limit = 500 };
    t->answers[0] = "{\"metadata\":{\"resourceVersion\":\"9\",\"continue\":\"x/y\"},\"items\":["
                    "{\"metadata\":{\"namespace\":\"shop\",\"name\":\"a\"}}]}";
    t->answers[1] = "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":["
                    "{\"metadata\":{\"namespace\":\"shop\",\"name\":\"b\"}}]}";
    assert_int_equal(client_list(t->client, pods(), &options, &list, &revision, &err), 0);
    assert_int_equal(list.n, 2);
    assert_int_equal(revision, 9);
    assert_string_equal(json_str(list.items[1]->doc, "kind", ""), "Pod");
    assert_string_equal(t->seen[0].target,
                        "/api/v1/namespaces/shop/pods?labelSelector=a%3Db%2Cc&limit=500");
    assert_string_equal(
        t->seen[1].target,
        "/api/v1/namespaces/shop/pods?labelSelector=a%3Db%2Cc&limit=500&continue=x%2Fy");
}

static void pages_that_expire_are_asked_for_at_once(void **state)
{
    struct fixture *t = *state;
    struct error err = { 0 };
    scoped(object_list) struct object_list list = { 0 };
    int64_t revision = 0;
    t->answers[0] = "{\"metadata\":{\"resourceVersion\":\"9\",\"continue\":\"x\"},\"items\":["
                    "{\"metadata\":{\"namespace\":\"shop\",\"name\":\"a\"}}]}";
    t->answers[1] = "410 {\"kind\":\"Status\",\"reason\":\"Expired\",\"code\":410}";
    t->answers[2] = "{\"metadata\":{\"resourceVersion\":\"12\"},\"items\":["
                    "{\"metadata\":{\"namespace\":\"shop\",\"name\":\"b\"}}]}";
    struct client_list_options options = { .ns = "shop", .limit = 500 };
    assert_int_equal(client_list(t->client, pods(), &options, &list, &revision, &err), 0);
    assert_string_equal(t->seen[2].target, "/api/v1/namespaces/shop/pods?");
    assert_int_equal(list.n, 1);
    assert_string_equal(list.items[0]->key.name, "b");
    assert_int_equal(revision, 12);
}

static void answers_that_are_none_harm_nobody(void **state)
{
    static const char *const answers[] = {
        "[]",
        "1",
        "null",
        "{\"items\":1}",
        "{\"items\":[1,null,[],\"a\"]}",
        "{\"items\":[{\"metadata\":[]},{\"metadata\":{\"name\":{},\"namespace\":3}}]}",
        "{\"metadata\":{\"resourceVersion\":{},\"continue\":7},\"items\":{}}",
        "500 nonsense",
    };
    struct fixture *t = *state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct error err = { 0 };
        int64_t revision = 0;
        scoped(object_list) struct object_list list = { 0 };
        t->answers[i] = answers[i];
        int rc = client_list(t->client, pods(), NULL, &list, &revision, &err);
        assert_true(rc == 0 || err.code != ERR_NONE);
        assert_int_equal(revision, 0);
    }
}

static void writes_go_to_where_they_belong(void **state)
{
    struct fixture *t = *state;
    struct error err = { 0 };
    scoped(arena) struct arena *a = arena_new();
    const struct resource *sets = &resources[RESOURCE_DEPLOYMENTS];
    struct json *doc = json_new(a, JSON_OBJECT);
    struct client_delete_options options = {
        .grace_period_s = 0,
        .propagation = PROPAGATION_ORPHAN,
        .uid = "u",
        .resource_version = 5,
    };
    const struct json *result;
    assert_int_equal(client_create(t->client, sets, "shop", doc, NULL, &err), 0);
    assert_int_equal(client_update_status(t->client, sets, &web, doc, NULL, &err), 0);
    assert_int_equal(
        client_patch(t->client, sets, &web, NULL, PATCH_MERGE, BYTES("{}"), NULL, &err), 0);
    assert_int_equal(client_delete(t->client, pods(), &web, &options, &err), 0);
    assert_int_equal(client_post(t->client, pods(), &web, "binding", doc, a, &result, &err), 0);

    assert_string_equal(t->seen[0].method, "POST");
    assert_string_equal(t->seen[0].target, "/apis/apps/v1/namespaces/shop/deployments?");
    assert_string_equal(t->seen[0].content_type, "application/json");
    assert_string_equal(t->seen[1].method, "PUT");
    assert_string_equal(t->seen[1].target, "/apis/apps/v1/namespaces/shop/deployments/web/status?");
    assert_string_equal(t->seen[2].method, "PATCH");
    assert_string_equal(t->seen[2].content_type, "application/merge-patch+json");
    assert_string_equal(t->seen[3].method, "DELETE");
    assert_string_equal(
        t->seen[3].body,
        "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"gracePeriodSeconds\":0,"
        "\"propagationPolicy\":\"Orphan\",\"preconditions\":{\"uid\":\"u\","
        "\"resourceVersion\":\"5\"}}");
    assert_string_equal(t->seen[4].target, "/api/v1/namespaces/shop/pods/web/binding?");
}

static void on_event(const struct watch_event *e, void *arg)
{
    static const char marks[] = {
        [WATCH_ADDED] = '+', [WATCH_MODIFIED] = '*', [WATCH_DELETED] = '-', [WATCH_BOOKMARK] = '='
    };
    struct fixture *t = arg;
    size_t n = strlen(t->names);
    pthread_mutex_lock(&t->lock);
    snprintf(t->names + n, sizeof(t->names) - n, "%c%s%lld ", marks[e->type],
             e->object->key.name ? e->object->key.name : "",
             (long long)e->object->resource_version);
    t->events++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void on_ended(const struct error *err, void *arg)
{
    struct fixture *t = arg;
    pthread_mutex_lock(&t->lock);
    t->end = *err;
    t->ended++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void watch_to_the_end(struct fixture *t)
{
    struct error err = { 0 };
    struct client_watch_options options = {
        .field_selector = "spec.nodeName=n1",
        .resource_version = 4,
        .event = on_event,
        .ended = on_ended,
        .arg = t,
    };
    struct client_watch *w = client_watch(t->client, pods(), &options, &err);
    assert_non_null(w);
    pthread_mutex_lock(&t->lock);
    while (!t->ended)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
    client_watch_close(w);
}

static void a_watch_reads_an_event_per_line(void **state)
{
    struct fixture *t = *state;
    t->answers[0] = "{\"type\":\"ADDED\",\"object\":" POD(
        "a", "5") "}\n"
                  "{\"type\":\"MODIFIED\",\"object\":" POD(
                      "a", "6") "}\n"
                                "{\"type\":\"DELETED\",\"object\":" POD(
                                    "a", "7") "}\n"
                                              "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\","
                                              "\"apiVersion\":\"v1\","
                                              "\"metadata\":{\"resourceVersion\":\"8\"}}}\n";
    watch_to_the_end(t);
    assert_memory_equal(t->names, "+a5 *a6 -a7 =", 13);
    assert_int_equal(t->events, 4);
    assert_int_equal(t->end.code, ERR_UNAVAILABLE);
    assert_memory_equal(t->seen[0].target,
                        "/api/v1/pods?watch=true&allowWatchBookmarks=true&fieldSelector="
                        "spec.nodeName%3Dn1&resourceVersion=4&timeoutSeconds=",
                        115);
}

static void a_watch_that_has_expired_says_so(void **state)
{
    struct fixture *t = *state;
    t->answers[0] = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":"
                    "\"Expired\",\"message\":\"too old resource version: 4 (90)\"}}\n";
    watch_to_the_end(t);
    assert_int_equal(t->end.code, ERR_COMPACTED);
    assert_string_equal(t->end.message, "too old resource version: 4 (90)");
}

static void a_config_that_is_not_one_is_refused(void **state)
{
    struct fixture *t = *state;
    struct error err = { 0 };
    char path[128];
    snprintf(path, sizeof(path), "%s/missing", t->dir);
    assert_null(client_http_open(path, &err));
    assert_non_null(strstr(err.message, path));
    write_file(t->config, "current-context: nowhere\n");
    assert_null(client_http_open(t->config, &err));
    assert_non_null(strstr(err.message, "no context \"nowhere\""));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(get_gives_the_object),
        TEST(pages_that_expire_are_asked_for_at_once),
        TEST(answers_that_are_none_harm_nobody),
        TEST(a_failure_carries_the_servers_words),
        TEST(a_list_fetches_every_page),
        TEST(writes_go_to_where_they_belong),
        TEST(a_watch_reads_an_event_per_line),
        TEST(a_watch_that_has_expired_says_so),
        TEST(a_config_that_is_not_one_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
