/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_test.c - what upstream fills in, kind by kind. */
#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/resource.h"

struct defaults_case {
    enum resource_id id;
    const char *text, *expected;
};

static void check(const struct defaults_case *c)
{
    scoped(arena) struct arena *a = arena_new();
    struct error err = { 0 };
    struct json *doc = json_parse(bytes_of(c->text), a, NULL, &err);
    struct json *expected = json_parse(bytes_of(c->expected), a, NULL, &err);
    assert_non_null(doc);
    assert_non_null(expected);
    if (schema_shape(resources[c->id].type, doc, a, NULL, &err) < 0)
        fail_msg("%s", err.message);
    for (int turn = 0; turn < 2; turn++) { /* a second time changes nothing */
        schema_default(&resources[c->id], doc, a);
        if (!json_equal(doc, expected)) {
            scoped(buffer) struct buffer got = { 0 };
            json_print(doc, &got);
            fail_msg("turn %d: %s\n got %s\nwant %s", turn, c->text, got.data, c->expected);
        }
    }
}

static void check_all(const struct defaults_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check(&cases[i]);
}
#define CHECK_ALL(cases) check_all(cases, sizeof(cases) / sizeof((cases)[0]))

#define POD_SPEC                                                                                   \
    "\"dnsPolicy\":\"ClusterFirst\",\"restartPolicy\":\"Always\",\"securityContext\":{},"          \
    "\"terminationGracePeriodSeconds\":30,\"schedulerName\":\"default-scheduler\""
#define CONTAINER                                                                                  \
    "\"terminationMessagePath\":\"/dev/termination-log\",\"terminationMessagePolicy\":\"File\""

static void pods_get_their_policies_and_the_images_decide_when_to_pull(void **state)
{
    (void)state;
    static const struct defaults_case cases[] = {
        { RESOURCE_PODS,
          "{\"spec\":{\"containers\":[{\"image\":\"a\"},{\"image\":\"r:5000/a:1\"},"
          "{\"image\":\"r:5000/a\"},{\"image\":\"a:latest\"},{\"image\":\"a@sha256:0\"},"
          "{\"image\":\"a\",\"imagePullPolicy\":\"Never\"}]}}",
          "{\"spec\":{\"enableServiceLinks\":true," POD_SPEC ",\"containers\":["
          "{\"image\":\"a\",\"imagePullPolicy\":\"Always\"," CONTAINER "},"
          "{\"image\":\"r:5000/a:1\",\"imagePullPolicy\":\"IfNotPresent\"," CONTAINER "},"
          "{\"image\":\"r:5000/a\",\"imagePullPolicy\":\"Always\"," CONTAINER "},"
          "{\"image\":\"a:latest\",\"imagePullPolicy\":\"Always\"," CONTAINER "},"
          "{\"image\":\"a@sha256:0\",\"imagePullPolicy\":\"IfNotPresent\"," CONTAINER "},"
          "{\"image\":\"a\",\"imagePullPolicy\":\"Never\"," CONTAINER "}]}}" },
        { RESOURCE_PODS,
          "{\"spec\":{\"serviceAccount\":\"x\",\"hostNetwork\":true,\"containers\":[{"
          "\"image\":\"a:1\",\"ports\":[{\"containerPort\":80}],"
          "\"resources\":{\"limits\":{\"cpu\":\"1\"}}}]}}",
          "{\"spec\":{\"enableServiceLinks\":true,\"serviceAccount\":\"x\","
          "\"serviceAccountName\":\"x\",\"hostNetwork\":true," POD_SPEC ",\"containers\":[{"
          "\"image\":\"a:1\",\"imagePullPolicy\":\"IfNotPresent\"," CONTAINER ","
          "\"ports\":[{\"containerPort\":80,\"hostPort\":80,\"protocol\":\"TCP\"}],"
          "\"resources\":{\"limits\":{\"cpu\":\"1\"},\"requests\":{\"cpu\":\"1\"}}}]}}" },
        { RESOURCE_PODS,
          "{\"spec\":{\"containers\":[{\"image\":\"a:1\",\"livenessProbe\":{\"httpGet\":{\"port\":"
          "1}},"
          "\"env\":[{\"name\":\"n\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"x\"}}}]}]}}",
          "{\"spec\":{\"enableServiceLinks\":true," POD_SPEC ",\"containers\":[{\"image\":\"a:1\","
          "\"imagePullPolicy\":\"IfNotPresent\"," CONTAINER
          ",\"livenessProbe\":{\"httpGet\":{\"port\":1,\"path\":\"/\",\"scheme\":\"HTTP\"},"
          "\"timeoutSeconds\":1,\"periodSeconds\":10,\"successThreshold\":1,\"failureThreshold\":3}"
          ","
          "\"env\":[{\"name\":\"n\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"x\","
          "\"apiVersion\":\"v1\"}}}]}]}}" },
    };
    CHECK_ALL(cases);
}

static void volumes_get_a_source_and_their_modes(void **state)
{
    (void)state;
    static const struct defaults_case cases[] = {
        { RESOURCE_PODS,
          "{\"spec\":{\"volumes\":[{\"name\":\"a\"},{\"name\":\"b\",\"configMap\":{}},"
          "{\"name\":\"c\",\"secret\":{\"defaultMode\":0}},{\"name\":\"d\",\"hostPath\":{}},"
          "{\"name\":\"e\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"path\":\"a\"}}]}"
          "},"
          "{\"name\":\"f\",\"image\":{\"reference\":\"a:1\"}}]}}",
          "{\"spec\":{\"enableServiceLinks\":true," POD_SPEC ",\"volumes\":["
          "{\"name\":\"a\",\"emptyDir\":{}},{\"name\":\"b\",\"configMap\":{\"defaultMode\":420}},"
          "{\"name\":\"c\",\"secret\":{\"defaultMode\":0}},{\"name\":\"d\",\"hostPath\":{\"type\":"
          "\"\"}},"
          "{\"name\":\"e\",\"projected\":{\"defaultMode\":420,"
          "\"sources\":[{\"serviceAccountToken\":{\"expirationSeconds\":3600,\"path\":\"a\"}}]}},"
          "{\"name\":\"f\",\"image\":{\"reference\":\"a:1\",\"pullPolicy\":\"IfNotPresent\"}}]}}" },
    };
    CHECK_ALL(cases);
}

static void services_get_their_type_affinity_and_policies(void **state)
{
    (void)state;
    static const struct defaults_case cases[] = {
        { RESOURCE_SERVICES,
          "{\"spec\":{\"ports\":[{\"port\":80},{\"port\":1,\"targetPort\":\"web\"}]}}",
          "{\"spec\":{\"type\":\"ClusterIP\",\"sessionAffinity\":\"None\","
          "\"internalTrafficPolicy\":\"Cluster\",\"ports\":["
          "{\"port\":80,\"targetPort\":80,\"protocol\":\"TCP\"},"
          "{\"port\":1,\"targetPort\":\"web\",\"protocol\":\"TCP\"}]}}" },
        { RESOURCE_SERVICES,
          "{\"spec\":{\"type\":\"LoadBalancer\",\"sessionAffinity\":\"ClientIP\"}}",
          "{\"spec\":{\"type\":\"LoadBalancer\",\"sessionAffinity\":\"ClientIP\","
          "\"sessionAffinityConfig\":{\"clientIP\":{\"timeoutSeconds\":10800}},"
          "\"externalTrafficPolicy\":\"Cluster\",\"internalTrafficPolicy\":\"Cluster\","
          "\"allocateLoadBalancerNodePorts\":true}}" },
        { RESOURCE_SERVICES, "{\"spec\":{\"type\":\"ExternalName\",\"externalName\":\"a.b\"}}",
          "{\"spec\":{\"type\":\"ExternalName\",\"externalName\":\"a.b\","
          "\"sessionAffinity\":\"None\"}}" },
    };
    CHECK_ALL(cases);
}

static void workloads_get_replicas_strategies_and_history(void **state)
{
    (void)state;
    static const struct defaults_case cases[] = {
        { RESOURCE_DEPLOYMENTS, "{\"spec\":{}}",
          "{\"spec\":{\"replicas\":1,\"revisionHistoryLimit\":10,\"progressDeadlineSeconds\":600,"
          "\"strategy\":{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"maxUnavailable\":\"25%\","
          "\"maxSurge\":\"25%\"}},\"template\":{\"spec\":{" POD_SPEC "}}}}" },
        { RESOURCE_DEPLOYMENTS, "{\"spec\":{\"replicas\":0,\"strategy\":{\"type\":\"Recreate\"}}}",
          "{\"spec\":{\"replicas\":0,\"revisionHistoryLimit\":10,\"progressDeadlineSeconds\":600,"
          "\"strategy\":{\"type\":\"Recreate\"},\"template\":{\"spec\":{" POD_SPEC "}}}}" },
        { RESOURCE_REPLICASETS, "{\"spec\":{}}",
          "{\"spec\":{\"replicas\":1,\"template\":{\"spec\":{" POD_SPEC "}}}}" },
        { RESOURCE_DAEMONSETS, "{\"spec\":{}}",
          "{\"spec\":{\"revisionHistoryLimit\":10,\"updateStrategy\":{\"type\":\"RollingUpdate\","
          "\"rollingUpdate\":{\"maxUnavailable\":1,\"maxSurge\":0}},"
          "\"template\":{\"spec\":{" POD_SPEC "}}}}" },
        { RESOURCE_STATEFULSETS, "{\"spec\":{\"volumeClaimTemplates\":[{\"spec\":{}}]}}",
          "{\"spec\":{\"replicas\":1,\"revisionHistoryLimit\":10,"
          "\"podManagementPolicy\":\"OrderedReady\",\"updateStrategy\":{\"type\":\"RollingUpdate\","
          "\"rollingUpdate\":{\"partition\":0}},\"persistentVolumeClaimRetentionPolicy\":"
          "{\"whenDeleted\":\"Retain\",\"whenScaled\":\"Retain\"},"
          "\"volumeClaimTemplates\":[{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\","
          "\"spec\":{\"volumeMode\":\"Filesystem\"},\"status\":{\"phase\":\"Pending\"}}],"
          "\"template\":{\"spec\":{" POD_SPEC "}}}}" },
        { RESOURCE_JOBS, "{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}}}}}",
          "{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"completions\":1,\"parallelism\":1,"
          "\"backoffLimit\":6,\"completionMode\":\"NonIndexed\",\"suspend\":false,"
          "\"podReplacementPolicy\":\"TerminatingOrFailed\",\"manualSelector\":false,"
          "\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{" POD_SPEC "}}}}" },
        { RESOURCE_CRONJOBS, "{\"spec\":{\"jobTemplate\":{}}}",
          "{\"spec\":{\"concurrencyPolicy\":\"Allow\",\"suspend\":false,"
          "\"successfulJobsHistoryLimit\":3,\"failedJobsHistoryLimit\":1,"
          "\"jobTemplate\":{\"spec\":{\"template\":{\"spec\":{" POD_SPEC "}}}}}}" },
    };
    CHECK_ALL(cases);
}

static void other_kinds_get_theirs(void **state)
{
    (void)state;
    static const struct defaults_case cases[] = {
        { RESOURCE_NAMESPACES, "{\"metadata\":{\"name\":\"a\"}}",
          "{\"metadata\":{\"name\":\"a\",\"labels\":{\"kubernetes.io/metadata.name\":\"a\"}},"
          "\"status\":{\"phase\":\"Active\"}}" },
        { RESOURCE_CONFIGMAPS, "{}", "{}" },
        { RESOURCE_SECRETS, "{}", "{\"type\":\"Opaque\"}" },
        { RESOURCE_NODES, "{\"status\":{\"capacity\":{\"cpu\":\"2\"}}}",
          "{\"status\":{\"capacity\":{\"cpu\":\"2\"},\"allocatable\":{\"cpu\":\"2\"}}}" },
        { RESOURCE_PERSISTENTVOLUMES, "{\"spec\":{}}",
          "{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\",\"volumeMode\":\"Filesystem\"},"
          "\"status\":{\"phase\":\"Pending\"}}" },
        { RESOURCE_PERSISTENTVOLUMECLAIMS, "{\"spec\":{}}",
          "{\"spec\":{\"volumeMode\":\"Filesystem\"},\"status\":{\"phase\":\"Pending\"}}" },
        { RESOURCE_LIMITRANGES,
          "{\"spec\":{\"limits\":[{\"type\":\"Container\",\"max\":{\"cpu\":\"2\"},"
          "\"min\":{\"memory\":\"1Gi\"}}]}}",
          "{\"spec\":{\"limits\":[{\"type\":\"Container\",\"max\":{\"cpu\":\"2\"},"
          "\"min\":{\"memory\":\"1Gi\"},\"default\":{\"cpu\":\"2\"},"
          "\"defaultRequest\":{\"cpu\":\"2\",\"memory\":\"1Gi\"}}]}}" },
        { RESOURCE_CLUSTERROLEBINDINGS,
          "{\"subjects\":[{\"kind\":\"User\",\"name\":\"u\"},{\"kind\":\"ServiceAccount\","
          "\"name\":\"s\"}],\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":\"r\"}}",
          "{\"subjects\":[{\"kind\":\"User\",\"name\":\"u\",\"apiGroup\":"
          "\"rbac.authorization.k8s.io\"},{\"kind\":\"ServiceAccount\",\"name\":\"s\"}],"
          "\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":\"r\","
          "\"apiGroup\":\"rbac.authorization.k8s.io\"}}" },
        { RESOURCE_NETWORKPOLICIES, "{\"spec\":{\"egress\":[{\"ports\":[{}]}]}}",
          "{\"spec\":{\"policyTypes\":[\"Ingress\",\"Egress\"],"
          "\"egress\":[{\"ports\":[{\"protocol\":\"TCP\"}]}]}}" },
        { RESOURCE_STORAGECLASSES, "{}",
          "{\"reclaimPolicy\":\"Delete\",\"volumeBindingMode\":\"Immediate\"}" },
        { RESOURCE_CSIDRIVERS, "{}",
          "{\"spec\":{\"attachRequired\":true,\"podInfoOnMount\":false,\"storageCapacity\":false,"
          "\"fsGroupPolicy\":\"ReadWriteOnceWithFSType\",\"volumeLifecycleModes\":[\"Persistent\"],"
          "\"requiresRepublish\":false,\"seLinuxMount\":false}}" },
        { RESOURCE_ENDPOINTSLICES, "{\"ports\":[{}]}",
          "{\"ports\":[{\"name\":\"\",\"protocol\":\"TCP\"}]}" },
        { RESOURCE_VALIDATINGWEBHOOKCONFIGURATIONS,
          "{\"webhooks\":[{\"clientConfig\":{\"service\":{}},\"rules\":[{}]}]}",
          "{\"webhooks\":[{\"clientConfig\":{\"service\":{\"port\":443}},\"rules\":[{\"scope\":\"*"
          "\"}],"
          "\"failurePolicy\":\"Fail\",\"matchPolicy\":\"Equivalent\",\"namespaceSelector\":{},"
          "\"objectSelector\":{},\"timeoutSeconds\":10}]}" },
        { RESOURCE_HORIZONTALPODAUTOSCALERS,
          "{\"spec\":{\"behavior\":{\"scaleDown\":"
          "{\"selectPolicy\":\"Min\"}}}}",
          "{\"spec\":{\"minReplicas\":1,\"metrics\":[{\"type\":\"Resource\",\"resource\":"
          "{\"name\":\"cpu\",\"target\":{\"type\":\"Utilization\",\"averageUtilization\":80}}}],"
          "\"behavior\":{\"scaleDown\":{\"selectPolicy\":\"Min\",\"policies\":[{\"type\":"
          "\"Percent\","
          "\"value\":100,\"periodSeconds\":15}]},\"scaleUp\":{\"stabilizationWindowSeconds\":0,"
          "\"selectPolicy\":\"Max\",\"policies\":[{\"type\":\"Pods\",\"value\":4,"
          "\"periodSeconds\":15},{\"type\":\"Percent\",\"value\":100,\"periodSeconds\":15}]}}}}" },
        { RESOURCE_CUSTOMRESOURCEDEFINITIONS,
          "{\"spec\":{\"names\":{\"kind\":\"CronTab\"},\"versions\":[{\"name\":\"v1\","
          "\"storage\":true}]}}",
          "{\"spec\":{\"names\":{\"kind\":\"CronTab\",\"singular\":\"crontab\","
          "\"listKind\":\"CronTabList\"},\"versions\":[{\"name\":\"v1\",\"storage\":true}],"
          "\"conversion\":{\"strategy\":\"None\"}},\"status\":{\"storedVersions\":[\"v1\"]}}" },
    };
    CHECK_ALL(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pods_get_their_policies_and_the_images_decide_when_to_pull),
        cmocka_unit_test(volumes_get_a_source_and_their_modes),
        cmocka_unit_test(services_get_their_type_affinity_and_policies),
        cmocka_unit_test(workloads_get_replicas_strategies_and_history),
        cmocka_unit_test(other_kinds_get_theirs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
