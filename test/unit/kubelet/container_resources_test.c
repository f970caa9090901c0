/* SPDX-License-Identifier: Apache-2.0 */
/* container_resources_test.c - requests and limits as the kernel takes them. */
#include "kubelet/container_resources.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/unit/kubelet/pod.h"

#define NODE_BYTES (INT64_C(10) << 30)

static struct object *pod_with(const char *resources_text)
{
    scoped(str) char *text =
        xasprintf("{'metadata':{'name':'p','namespace':'d','uid':'u1'},'spec':{'containers':["
                  "{'name':'c','image':'i','resources':{%s}}]}}",
                  resources_text);
    return pod_from(text);
}

static void amounts_become_shares_quotas_and_scores(void **state)
{
    (void)state;
    static const struct {
        const char *resources_text;
        enum pod_qos qos;
        int64_t shares, quota, memory, oom;
        const char *parent;
    } cases[] = {
        { "", POD_QOS_BEST_EFFORT, 2, 0, 0, 1000, "/kubepods/besteffort/podu1" },
        { "'requests':{'cpu':'250m','memory':'1Gi'}", POD_QOS_BURSTABLE, 256, 0, 0, 900,
          "/kubepods/burstable/podu1" },
        { "'limits':{'cpu':'500m','memory':'64Mi'}", POD_QOS_GUARANTEED, 512, 50000, 64 << 20, -997,
          "/kubepods/podu1" },
        { "'limits':{'cpu':'1m'}", POD_QOS_BURSTABLE, 2, 1000, 0, 999,
          "/kubepods/burstable/podu1" },
        { "'requests':{'memory':'10Gi'}", POD_QOS_BURSTABLE, 2, 0, 0, 3,
          "/kubepods/burstable/podu1" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        scoped(arena) struct arena *a = arena_new();
        scoped(object) struct object *pod = pod_with(cases[i].resources_text);
        const struct json *container = json_items_begin(json_at(pod->doc, "spec.containers"));
        struct cri_resources r = container_resources(pod, container, NODE_BYTES);
        assert_int_equal(pod_qos(pod), cases[i].qos);
        assert_int_equal(r.cpu_shares, cases[i].shares);
        assert_int_equal(r.cpu_quota, cases[i].quota);
        assert_int_equal(r.memory_limit_bytes, cases[i].memory);
        assert_int_equal(r.oom_score_adj, cases[i].oom);
        assert_string_equal(pod_cgroup_parent(pod, a), cases[i].parent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amounts_become_shares_quotas_and_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
