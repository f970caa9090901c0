/* SPDX-License-Identifier: Apache-2.0 */
/* pod_info_test.c - what a pod requests as a whole. */
#include "test/unit/scheduler/world.h"

#define C(cpu)    "{'resources':{'requests':{'cpu':'" cpu "'}}}"
#define SIDE(cpu) "{'restartPolicy':'Always','resources':{'requests':{'cpu':'" cpu "'}}}"

static void requests_are_the_most_that_runs_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        int64_t milli_cpu;
    } cases[] = {
        { "'containers':[" C("1") "," C("500m") "]", 1500 },
        { "'initContainers':[" C("2") "],'containers':[" C("1") "]", 2000 },
        { "'initContainers':[" SIDE("300m") "],'containers':[" C("1") "]", 1300 },
        { "'initContainers':[" SIDE("300m") "," C("2") "],'containers':[" C("1") "]", 2300 },
        { "'initContainers':[" C("2") "," SIDE("300m") "],'containers':[" C("1") "]", 2000 },
        { "'containers':[" C("1") "],'overhead':{'cpu':'250m'}", 1250 },
        { "'containers':[" C("1") "],'resources':{'requests':{'cpu':'3'}}", 3000 },
        { "'containers':[{}]", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(pod_info) struct pod_info *p = pod("a", cases[i].spec);
        assert_int_equal(p->requests.milli_cpu, cases[i].milli_cpu);
    }
}

static void scores_take_every_container_to_use_something(void **state)
{
    (void)state;
    scoped(pod_info) struct pod_info *p = pod("a", "'containers':[{}," C("1") "]");
    assert_int_equal(p->requests.milli_cpu, 1000);
    assert_int_equal(p->nonzero_milli_cpu, 1100);
    assert_int_equal(p->requests.memory, 0);
    assert_int_equal(p->nonzero_memory, INT64_C(400) * 1024 * 1024);
}

static void images_without_a_tag_are_the_latest(void **state)
{
    (void)state;
    scoped(pod_info) struct pod_info *p =
        pod("a", "'containers':[{'image':'web'},{'image':'r:5000/"
                 "web'},{'image':'web:1'},{'image':'w@sha256:0'}]");
    assert_string_equal(p->images[0], "web:latest");
    assert_string_equal(p->images[1], "r:5000/web:latest");
    assert_string_equal(p->images[2], "web:1");
    assert_string_equal(p->images[3], "w@sha256:0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_the_most_that_runs_at_once),
        cmocka_unit_test(scores_take_every_container_to_use_something),
        cmocka_unit_test(images_without_a_tag_are_the_latest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
