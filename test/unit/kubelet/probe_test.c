/* SPDX-License-Identifier: Apache-2.0 */
/* probe_test.c - what the results of probes add up to, against a server that answers as it is told.
 */
#include "kubelet/probe.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/http_client.h"
#include "base/http_server.h"
#include "base/socket.h"
#include "test/unit/fake_client.h"
#include "test/unit/kubelet/pod.h"

struct fixture {
    struct fake_client *api;
    struct http_server *server;
    struct kubelet_context k;
    struct probes *probes;
    struct arena *a;
    atomic_int answer; /* the status of every answer */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int changes;
};

static void handle(struct http_request *req, void *arg)
{
    struct fixture *f = arg;
    http_respond(req, &(struct http_response){ .status = atomic_load(&f->answer) });
}

static void on_change(const char *uid, void *arg)
{
    struct fixture *f = arg;
    assert_string_equal(uid, "u-probe");
    pthread_mutex_lock(&f->lock);
    f->changes++;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    struct error err = { 0 };
    struct tls_client_config tls = { .insecure_skip_verify = true };
    struct http_server_config config = {
        .bind_address = "127.0.0.1", .loops = 1, .handle = handle, .arg = f
    };
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->a = arena_new();
    f->api = fake_client_new();
    f->server = http_server_start(&config, &err);
    f->k = (struct kubelet_context){
        .clock = &system_clock,
        .events = event_recorder_new(fake_client(f->api), "kubelet", "n1"),
        .http = http_client_new(&tls, &err),
    };
    f->probes = probes_new(&f->k, on_change, f, &err);
    *state = f;
    return f->server && f->k.http && f->probes ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    probes_free(f->probes);
    http_server_stop(f->server, 0);
    http_client_free(f->k.http);
    event_recorder_free(f->k.events);
    fake_client_free(f->api);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    arena_free(f->a);
    free(f);
    return 0;
}

/* A pod with one container that has these PROBES; %d in it is the server's port. */
static struct object *begin_with_status(struct fixture *f, const char *field, const char *more,
                                        const char *status)
{
    scoped(str) char *text = xasprintf(
        "{'metadata':{'name':'p','namespace':'ns','uid':'u-probe'},'spec':{'containers':["
        "{'name':'c','ports':[{'name':'web','containerPort':%d}],"
        "'%s':{'httpGet':{'path':'/','port':'web'},'periodSeconds':1,'timeoutSeconds':60%s}}]},"
        "'status':{'containerStatuses':[%s]}}",
        http_server_port(f->server), field, more, status);
    struct object *pod = pod_from(text);
    struct probe_container running = { json_items_begin(json_at(pod->doc, "spec.containers")),
                                       "id1", clock_wall_ns(&system_clock) };
    probes_set(f->probes, pod, "127.0.0.1", &running, 1);
    return pod;
}

static struct object *begin(struct fixture *f, const char *field, const char *more)
{
    return begin_with_status(f, field, more, "");
}

static struct probe_verdict verdict(struct fixture *f, const struct object *pod)
{
    struct probe_verdict v;
    probes_verdict(f->probes, json_items_begin(json_at(pod->doc, "spec.containers")), "id1", f->a,
                   &v);
    return v;
}

static void wait_changes(struct fixture *f, int n)
{
    pthread_mutex_lock(&f->lock);
    while (f->changes < n)
        pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static void a_container_is_ready_once_it_answers_and_no_longer_when_it_fails(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->answer, 503);
    scoped(object) struct object *pod = begin(f, "readinessProbe", ",'failureThreshold':1");
    assert_false(verdict(f, pod).is_ready);
    assert_true(verdict(f, pod).is_started);
    atomic_store(&f->answer, 200);
    wait_changes(f, 1);
    assert_true(verdict(f, pod).is_ready);
    atomic_store(&f->answer, 500);
    wait_changes(f, 2);
    assert_false(verdict(f, pod).is_ready);
    assert_null(verdict(f, pod).kill_message);
}

static void a_container_that_was_ready_before_the_kubelet_began_stays_so(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->answer, 503);
    scoped(object) struct object *pod =
        begin_with_status(f, "readinessProbe", ",'failureThreshold':2",
                          "{'name':'c','containerID':'containerd://id1','ready':true}");
    assert_true(verdict(f, pod).is_ready);
    wait_changes(f, 1); /* until its own probe says otherwise */
    assert_false(verdict(f, pod).is_ready);
}

static void a_container_that_had_started_is_not_asked_again(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->answer, 503);
    scoped(object) struct object *pod =
        begin_with_status(f, "startupProbe", ",'failureThreshold':1",
                          "{'name':'c','containerID':'containerd://id1','started':true}");
    assert_true(verdict(f, pod).is_started);
}

static void what_another_container_was_says_nothing(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->answer, 503);
    scoped(object) struct object *pod = begin_with_status(
        f, "readinessProbe", "", "{'name':'c','containerID':'containerd://id0','ready':true}");
    assert_false(verdict(f, pod).is_ready);
}

static void liveness_asks_for_a_restart_after_its_failures(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->answer, 500);
    scoped(object) struct object *pod =
        begin(f, "livenessProbe", ",'failureThreshold':2,'terminationGracePeriodSeconds':7");
    assert_null(verdict(f, pod).kill_message);
    wait_changes(f, 1);
    assert_string_equal(verdict(f, pod).kill_message,
                        "Container c failed liveness probe, will be restarted");
    assert_int_equal(verdict(f, pod).kill_grace_s, 7);
}

static void startup_holds_a_container_back_until_it_passes(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->answer, 404);
    scoped(object) struct object *pod = begin(f, "startupProbe", ",'failureThreshold':100");
    assert_false(verdict(f, pod).is_started);
    assert_false(verdict(f, pod).is_ready);
    atomic_store(&f->answer, 302);
    wait_changes(f, 1);
    assert_true(verdict(f, pod).is_started);
    assert_true(verdict(f, pod).is_ready);
}

static void a_forgotten_pod_has_no_verdict_left(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->answer, 200);
    scoped(object) struct object *pod = begin(f, "readinessProbe", "");
    wait_changes(f, 1);
    probes_forget(f->probes, "u-probe");
    assert_false(verdict(f, pod).is_ready);
}

static void ports_are_numbers_or_names(void **state)
{
    (void)state;
    scoped(object) struct object *pod =
        pod_from("{'metadata':{'name':'p','namespace':'ns','uid':'u'},'spec':{'containers':[{"
                 "'name':'c','ports':[{'name':'web','containerPort':8080}]}],"
                 "'x':[80,'web','443','none']}}");
    const struct json *c = json_items_begin(json_at(pod->doc, "spec.containers"));
    const struct json *x = json_items_begin(json_at(pod->doc, "spec.x"));
    assert_int_equal(probe_port(c, &x[0]), 80);
    assert_int_equal(probe_port(c, &x[1]), 8080);
    assert_int_equal(probe_port(c, &x[2]), 443);
    assert_int_equal(probe_port(c, &x[3]), -1);
}

/* TEXT with the ports, of which each # stands for its one, and with double quotes for single ones.
 */
static char *filled(const char *text, int port, struct arena *a)
{
    scoped(buffer) struct buffer b = { 0 };
    for (const char *c = text; *c; c++) {
        if (*c == '#')
            buffer_printf(&b, "%d", port);
        else
            buffer_add_char(&b, *c == '\'' ? '"' : *c);
    }
    return arena_strdup(a, b.data);
}

static void a_failure_is_told_in_upstreams_words(void **state)
{
    static const struct {
        enum { CLOSED, SILENT, SERVER } port;
        const char *action, *output;
    } cases[] = {
        { CLOSED, "{'tcpSocket':{'port':#}}", "dial tcp 127.0.0.1:#: connect: connection refused" },
        { CLOSED, "{'httpGet':{'path':'/x','port':#}}",
          "Get \"http://127.0.0.1:#/x\": dial tcp 127.0.0.1:#: connect: connection refused" },
        { SILENT, "{'httpGet':{'path':'/x','port':#}}",
          "Get \"http://127.0.0.1:#/x\": context deadline exceeded (Client.Timeout exceeded while "
          "awaiting headers)" },
        { SERVER, "{'httpGet':{'path':'/','port':#}}", "HTTP probe failed with statuscode: 500" },
        { SERVER, "{'httpGet':{'path':'/','port':#,'scheme':'HTTPS'}}",
          "Get \"https://127.0.0.1:#/\": http: server gave HTTP response to HTTPS client" },
        { CLOSED, "{'grpc':{'port':#}}",
          "timeout: failed to connect service \"127.0.0.1:#\" within 1s: "
          "context deadline exceeded" },
        { SILENT, "{'grpc':{'port':#}}", "timeout: health rpc did not complete within 1s" },
    };
    struct fixture *f = *state;
    struct error err = { 0 };
    struct probe_target target = { .k = &f->k, .pod_ip = "127.0.0.1" };
    int ports[] = { [SERVER] = http_server_port(f->server), [CLOSED] = 0 };
    int closed = socket_listen("127.0.0.1", &ports[CLOSED], &err);
    scoped(fd) int silent = socket_listen("127.0.0.1", &ports[SILENT], &err);
    assert_true(closed >= 0 && silent >= 0);
    close(closed);
    atomic_store(&f->answer, 500);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *text = filled(cases[i].action, ports[cases[i].port], f->a), *output = "";
        const struct json *action = json_parse(bytes_of(text), f->a, NULL, &err);
        int64_t timeout_s = cases[i].port == SERVER ? 60 : 1; /* it is in the text of some */
        assert_int_equal(probe_run(&target, action, timeout_s, f->a, &output), PROBE_FAILURE);
        assert_string_equal(output, filled(cases[i].output, ports[cases[i].port], f->a));
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_container_is_ready_once_it_answers_and_no_longer_when_it_fails),
        T(a_container_that_was_ready_before_the_kubelet_began_stays_so),
        T(a_container_that_had_started_is_not_asked_again),
        T(what_another_container_was_says_nothing),
        T(liveness_asks_for_a_restart_after_its_failures),
        T(startup_holds_a_container_back_until_it_passes),
        T(a_forgotten_pod_has_no_verdict_left),
        T(a_failure_is_told_in_upstreams_words),
        cmocka_unit_test(ports_are_numbers_or_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
