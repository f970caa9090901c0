/* SPDX-License-Identifier: Apache-2.0 */
/* pod_status_test.c - status of a pod from its spec and the runtime's state. */
#include "kubelet/pod_status.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "test/unit/kubelet/pod.h"

#define SECOND INT64_C(1000000000)
#define NOW    (INT64_C(1800000000) * SECOND)

struct fixture {
    struct arena *a;
    struct object *pod;
    struct cri_container containers[8];
    struct cri_sandbox sandbox;
    struct pod_state state;
    struct container_note notes[8];
    struct pod_status_input in;
    struct json *status;
};

static void begin(struct fixture *f, const char *pod)
{
    *f = (struct fixture){ .a = arena_new(), .pod = pod_from(pod) };
    f->sandbox = (struct cri_sandbox){ .id = "s1", .is_ready = true };
    cri_strings_add(&f->sandbox.ips, f->a, "10.42.0.2");
    f->state = (struct pod_state){ .sandbox = &f->sandbox,
                                   .sandboxes = &f->sandbox,
                                   .sandboxes_n = 1,
                                   .containers = f->containers };
    f->in = (struct pod_status_input){ .pod = f->pod,
                                       .state = &f->state,
                                       .notes = f->notes,
                                       .host_ip = "10.9.0.1",
                                       .pods_dir = "/nonexistent",
                                       .source_uid = "u1",
                                       .now_ns = NOW };
}

/* Newest first, as a state has them. */
static void add(struct fixture *f, const char *name, enum cri_container_state state, int exit_code)
{
    f->containers[f->state.containers_n++] = (struct cri_container){
        .id = "id1",
        .sandbox_id = "s1",
        .name = name,
        .state = state,
        .exit_code = exit_code,
        .image = "docker.io/library/busybox:1",
        .image_ref = "sha256:1",
        .created_ns = NOW - 20 * SECOND,
        .started_ns = NOW - 10 * SECOND,
        .finished_ns = state == CRI_CONTAINER_EXITED ? NOW - 5 * SECOND : 0,
        .reason = "",
        .message = "",
        .log_path = "",
    };
}

static void note(struct fixture *f, struct container_note n)
{
    f->notes[f->in.notes_n++] = n;
}

static const char *build(struct fixture *f)
{
    f->status = pod_status_build(&f->in, f->a);
    return json_str(f->status, "phase", "");
}

static const struct json *condition(struct fixture *f, const char *type)
{
    json_each_item (json_get(f->status, "conditions"), c)
        if (str_equal(json_str(c, "type", ""), type))
            return c;
    return NULL;
}

static const struct json *status_of(struct fixture *f, const char *list, size_t i)
{
    return json_items_begin(json_get(f->status, list)) + i;
}

static void end(struct fixture *f)
{
    object_unref(f->pod);
    arena_free(f->a);
}

#define POD(spec) "{'metadata':{'name':'p','namespace':'d','uid':'u1'},'spec':{" spec "}}"

static void a_pod_without_containers_yet_is_pending_and_says_why(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, POD("'containers':[{'name':'web','image':'busybox:1'}]"));
    f.state = (struct pod_state){ 0 };
    assert_string_equal(build(&f), "Pending");
    assert_string_equal(json_str(status_of(&f, "containerStatuses", 0), "state.waiting.reason", ""),
                        "ContainerCreating");
    assert_string_equal(json_str(condition(&f, "Ready"), "reason", ""), "ContainersNotReady");
    assert_string_equal(json_str(condition(&f, "Ready"), "message", ""),
                        "containers with unready status: [web]");
    assert_string_equal(json_str(condition(&f, "PodReadyToStartContainers"), "status", ""),
                        "False");
    assert_string_equal(json_str(condition(&f, "Initialized"), "status", ""), "True");
    assert_string_equal(json_str(f.status, "qosClass", ""), "BestEffort");
    assert_null(json_get(f.status, "podIP"));
    end(&f);
}

static void a_running_container_is_ready_when_its_probe_says_so(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, POD("'containers':[{'name':'web','image':'busybox:1'}]"));
    add(&f, "web", CRI_CONTAINER_RUNNING, 0);
    note(&f, (struct container_note){ .name = "web", .is_started = true, .will_restart = true });
    assert_string_equal(build(&f), "Running");
    assert_false(json_bool(status_of(&f, "containerStatuses", 0), "ready", true));
    assert_string_equal(json_str(condition(&f, "Ready"), "status", ""), "False");

    f.notes[0].is_ready = true;
    build(&f);
    assert_true(json_bool(status_of(&f, "containerStatuses", 0), "ready", false));
    assert_string_equal(json_str(condition(&f, "Ready"), "status", ""), "True");
    assert_string_equal(json_str(f.status, "podIP", ""), "10.42.0.2");
    assert_string_equal(json_str(status_of(&f, "containerStatuses", 0), "containerID", ""),
                        "containerd://id1");
    end(&f);
}

static void the_end_of_a_pod_depends_on_its_restart_policy(void **state)
{
    (void)state;
    static const struct {
        const char *policy;
        int exit_code;
        const char *phase, *reason;
    } cases[] = {
        { "Never", 0, "Succeeded", "Completed" },     { "Never", 3, "Failed", "Error" },
        { "OnFailure", 0, "Succeeded", "Completed" }, { "OnFailure", 3, "Running", "Error" },
        { "Always", 0, "Running", "Completed" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        scoped(str) char *pod = xasprintf(
            POD("'restartPolicy':'%s','containers':[{'name':'c','image':'i'}]"), cases[i].policy);
        begin(&f, pod);
        add(&f, "c", CRI_CONTAINER_EXITED, cases[i].exit_code);
        assert_string_equal(build(&f), cases[i].phase);
        const struct json *s = status_of(&f, "containerStatuses", 0);
        assert_int_equal(json_int(s, "state.terminated.exitCode", -1), cases[i].exit_code);
        assert_string_equal(json_str(s, "state.terminated.reason", ""), cases[i].reason);
        end(&f);
    }
}

static void a_container_in_back_off_waits_and_remembers_its_end(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, POD("'containers':[{'name':'c','image':'i'}]"));
    add(&f, "c", CRI_CONTAINER_EXITED, 3);
    note(&f, (struct container_note){ .name = "c",
                                      .reason = "CrashLoopBackOff",
                                      .message = "back-off 10s",
                                      .will_restart = true });
    assert_string_equal(build(&f), "Running");
    const struct json *s = status_of(&f, "containerStatuses", 0);
    assert_string_equal(json_str(s, "state.waiting.reason", ""), "CrashLoopBackOff");
    assert_int_equal(json_int(s, "lastState.terminated.exitCode", -1), 3);
    assert_null(json_at(s, "state.terminated"));
    end(&f);
}

static void init_containers_hold_the_others_back(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, POD("'restartPolicy':'Never','initContainers':[{'name':'one','image':'i'},"
                  "{'name':'two','image':'i'}],'containers':[{'name':'c','image':'i'}]"));
    add(&f, "two", CRI_CONTAINER_RUNNING, 0);
    add(&f, "one", CRI_CONTAINER_EXITED, 0);
    assert_string_equal(build(&f), "Pending");
    assert_string_equal(json_str(condition(&f, "Initialized"), "message", ""),
                        "containers with incomplete status: [two]");
    assert_string_equal(json_str(status_of(&f, "containerStatuses", 0), "state.waiting.reason", ""),
                        "PodInitializing");
    f.containers[0] = f.containers[1];
    f.containers[0].name = "two";
    f.containers[0].exit_code = 1;
    assert_string_equal(build(&f), "Failed");
    end(&f);
}

static void a_pod_runs_until_its_sidecars_have_ended(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, POD("'restartPolicy':'Never','initContainers':[{'name':'side','image':'i',"
                  "'restartPolicy':'Always'}],'containers':[{'name':'c','image':'i'}]"));
    add(&f, "c", CRI_CONTAINER_EXITED, 0);
    add(&f, "side", CRI_CONTAINER_RUNNING, 0);
    note(&f, (struct container_note){ .name = "side", .is_started = true, .is_ready = true });
    assert_string_equal(build(&f), "Running");
    f.containers[1].state = CRI_CONTAINER_EXITED;
    assert_string_equal(build(&f), "Succeeded");
    end(&f);
}

static void conditions_of_others_stay_and_times_move_only_with_the_status(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{'metadata':{'name':'p','namespace':'d','uid':'u1'},'spec':{'containers':["
              "{'name':'c','image':'i'}]},'status':{'phase':'Pending','conditions':["
              "{'type':'PodScheduled','status':'True','lastTransitionTime':'2026-01-01T00:00:00Z'},"
              "{'type':'example.com/gate','status':'True'}]}}");
    build(&f);
    assert_string_equal(json_str(condition(&f, "PodScheduled"), "lastTransitionTime", ""),
                        "2026-01-01T00:00:00Z");
    assert_non_null(condition(&f, "example.com/gate"));
    char now[TIME_TEXT_BYTES];
    time_format(NOW, now);
    assert_string_equal(json_str(condition(&f, "Ready"), "lastTransitionTime", ""), now);
    end(&f);
}

static void a_deadline_ends_the_pod_with_its_reason(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, POD("'containers':[{'name':'c','image':'i'}]"));
    f.in.failed_reason = "DeadlineExceeded";
    f.in.failed_message = "too long";
    assert_string_equal(build(&f), "Failed");
    assert_string_equal(json_str(f.status, "reason", ""), "DeadlineExceeded");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pod_without_containers_yet_is_pending_and_says_why),
        cmocka_unit_test(a_running_container_is_ready_when_its_probe_says_so),
        cmocka_unit_test(the_end_of_a_pod_depends_on_its_restart_policy),
        cmocka_unit_test(a_container_in_back_off_waits_and_remembers_its_end),
        cmocka_unit_test(init_containers_hold_the_others_back),
        cmocka_unit_test(a_pod_runs_until_its_sidecars_have_ended),
        cmocka_unit_test(conditions_of_others_stay_and_times_move_only_with_the_status),
        cmocka_unit_test(a_deadline_ends_the_pod_with_its_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
