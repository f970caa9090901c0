/* SPDX-License-Identifier: Apache-2.0 */
/* validate_workloads_test.c - pods and what makes them: paths and words of their faults. */
#include "validate_test.h"

static void a_pod_names_what_is_wrong_in_it(void **state)
{
    static const struct validate_case cases[] = {
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
          "" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{}}",
          "spec.containers: Required value" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\"}]}}",
          "spec.containers[0].image: Required value" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"image\":\"i\"}]}}",
          "spec.containers[0].name: Required value" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"C_1\",\"image\":\"i\"}]}}",
          "spec.containers[0].name: Invalid value: \"C_1\": a lowercase RFC 1123 label must "
          "consist of lower case alphanumeric characters or '-', and must start and end with an "
          "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
          "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"},{\"name\":\"c\",\"image\":\"i\"}]}}",
          "spec.containers[1].name: Duplicate value: \"c\"" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"initContainers\":[{\"name\":\"c\","
          "\"image\":\"i\"}]}}",
          "spec.initContainers[0].name: Duplicate value: \"c\"" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\" i\"}]}}",
          "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing "
          "whitespace" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"ports\":[{\"containerPort\":0},{"
          "\"containerPort\":70000}]}]}}",
          "spec.containers[0].ports[0].containerPort: Required value\n"
          "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and "
          "65535, inclusive" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"ports\":[{\"containerPort\":1,"
          "\"hostPort\":5},{\"containerPort\":2,\"hostPort\":5}]}]}}",
          "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//5\"" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"imagePullPolicy\":\"x\"}]}}",
          "spec.containers[0].imagePullPolicy: Unsupported value: \"x\": supported values: "
          "\"Always\", \"IfNotPresent\", \"Never\"" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"restartPolicy\":\"x\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
          "spec.restartPolicy: Unsupported value: \"x\": supported values: \"Always\", \"Never\", "
          "\"OnFailure\"" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"volumeMounts\":[{\"name\":\"v\","
          "\"mountPath\":\"/a\"}]}]}}",
          "spec.containers[0].volumeMounts[0].name: Not found: \"v\"" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}],\"containers\":[{\"name\":\"c\","
          "\"image\":\"i\",\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/a\",\"subPath\":\"/"
          "x\"},{\"name\":\"v\",\"mountPath\":\"/a\"}]}]}}",
          "spec.containers[0].volumeMounts.subPath: Invalid value: \"/x\": must be a relative "
          "path\n"
          "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"volumes\":[{\"name\":\"v\","
          "\"emptyDir\":{},\"hostPath\":{\"path\":\"/a\"}},{\"name\":\"v\",\"emptyDir\":{}}]}}",
          "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type\n"
          "spec.volumes[1].name: Duplicate value: \"v\"" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"volumes\":[{\"name\":\"v\","
          "\"configMap\":{\"items\":[{\"key\":\"k\",\"path\":\"../x\"}]}}]}}",
          "spec.volumes[0].configMap.name: Required value\n"
          "spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not start with "
          "'..'" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"env\":[{\"name\":\"A=B\",\"value\":"
          "\"1\"},{\"name\":\"X\",\"value\":\"1\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":"
          "\"metadata.foo\"}}}]}]}}",
          "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable "
          "name must consist only of printable ASCII characters other than '='\n"
          "spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Invalid value: "
          "\"metadata.foo\": error converting fieldPath: field label not supported: metadata.foo\n"
          "spec.containers[0].env[1].valueFrom: Invalid value: \"\": may not be specified when "
          "`value` is not empty" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"livenessProbe\":{\"successThreshold\":"
          "2,\"tcpSocket\":{\"port\":\"Bad_\"}}}]}}",
          "spec.containers[0].livenessProbe.tcpSocket.port: Invalid value: \"Bad_\": must contain "
          "only alphanumeric characters (a-z, 0-9), and hyphens (-)\n"
          "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"resources\":{\"requests\":{\"cpu\":"
          "\"2\",\"foo\":\"1\"},\"limits\":{\"cpu\":\"1\"}}}]}}",
          "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal "
          "to cpu limit of 1\n"
          "spec.containers[0].resources.requests[foo]: Invalid value: \"foo\": must be a standard "
          "resource type or fully qualified\n"
          "spec.containers[0].resources.requests[foo]: Invalid value: \"foo\": must be a standard "
          "resource for containers" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"tolerations\":[{\"operator\":"
          "\"Equal\",\"value\":\"x y\"}]}}",
          "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when "
          "`key` is empty, which means \"match all values and all keys\"\n"
          "spec.tolerations[0].operator: Invalid value: \"x y\": a valid label must be an empty "
          "string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
          "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
          "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"ephemeralContainers\":[{\"name\":"
          "\"e\",\"image\":\"i\"}]}}",
          "spec.ephemeralContainers: Forbidden: cannot be set on create" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"topologySpreadConstraints\":[{"
          "\"maxSkew\":0,\"whenUnsatisfiable\":\"x\"}]}}",
          "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero\n"
          "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty\n"
          "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"x\": "
          "supported values: \"DoNotSchedule\", \"ScheduleAnyway\"" },
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases), "");
}

static void a_running_pod_may_change_little(void **state)
{
    static const struct validate_case cases[] = {
        { "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"j\"}],\"tolerations\":[{\"key\":\"a\","
          "\"operator\":\"Exists\"}]}}",
          "" },
        { "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"command\":[\"x\"]}]}}",
          "spec: Forbidden: pod updates may not change fields other than "
          "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`"
          "spec.tolerations` (only additions to existing "
          "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
          "previously negative)" },
        { "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"},{\"name\":\"d\",\"image\":\"i\"}]}}",
          "spec.containers: Forbidden: pod updates may not add or remove containers" },
        { "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"activeDeadlineSeconds\":5}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"activeDeadlineSeconds\":6}}",
          "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous "
          "value" },
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases), "");
}

static void containers_for_debugging_are_only_added(void **state)
{
    static const struct validate_case cases[] = {
        { "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"ephemeralContainers\":[{\"name\":"
          "\"e\",\"image\":\"i\"}]}}",
          "" },
        { "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"ephemeralContainers\":[{\"name\":"
          "\"e\",\"image\":\"i\"}]}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
          "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be "
          "removed\n"
          "" },
        { "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{"
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}],\"ephemeralContainers\":[{\"name\":"
          "\"e\",\"image\":\"i\",\"targetContainerName\":\"x\",\"ports\":[{\"containerPort\":1}]}]}"
          "}",
          "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container\n"
          "spec.ephemeralContainers[0].targetContainerName: Not found: \"x\"" },
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases), "ephemeralcontainers");
}

static void controllers_choose_their_own_pods(void **state)
{
    static const struct validate_case cases[] = {
        { NULL,
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
          "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}",
          "" },
        { NULL,
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"template\":{"
          "\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{\"name\":\"c\","
          "\"image\":\"i\"}]}}}}",
          "spec.selector: Required value" },
        { NULL,
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{},"
          "\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{"
          "\"name\":\"c\",\"image\":\"i\"}]}}}}",
          "spec.selector: Invalid value: {}: empty selector is invalid for deployment" },
        { NULL,
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"x\":\"y\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
          "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}",
          "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match "
          "template `labels`" },
        { NULL,
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"replicas\":-1,\"strategy\":{\"rollingUpdate\":{"
          "\"maxUnavailable\":0,\"maxSurge\":0}},\"template\":{\"metadata\":{\"labels\":{\"a\":"
          "\"b\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}",
          "spec.replicas: Invalid value: -1: must be greater than or equal to 0\n"
          "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when "
          "`maxSurge` is 0" },
        { NULL,
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"strategy\":{\"type\":\"x\"},\"template\":{\"metadata\":"
          "{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"
          "}}",
          "spec.strategy: Unsupported value: {\"type\":\"x\"}: supported values: \"Recreate\", "
          "\"RollingUpdate\"" },
        { NULL,
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
          "\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"c\"}]}}}}",
          "spec.template.spec.containers[0].image: Required value\n"
          "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: "
          "\"Always\"" },
        { "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
          "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}",
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"x\":\"y\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
          "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}",
          "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match "
          "template `labels`\n"
          "spec.selector: Invalid value: {\"matchLabels\":{\"x\":\"y\"}}: field is immutable" },
        { NULL,
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"DaemonSet\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{},"
          "\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{"
          "\"name\":\"c\",\"image\":\"i\"}]}}}}",
          "spec.selector: Invalid value: {}: empty selector is invalid for daemonset" },
        { NULL,
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"StatefulSet\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"volumeClaimTemplates\":[{\"metadata\":{\"name\":"
          "\"data\"},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{\"requests\":{"
          "\"storage\":\"1Gi\"}}}}],\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":"
          "{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"volumeMounts\":[{\"name\":\"data\","
          "\"mountPath\":\"/d\"}]}]}}}}",
          "" },
        { "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"StatefulSet\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"serviceName\":\"a\",\"template\":{\"metadata\":{"
          "\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}"
          "}",
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"StatefulSet\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"serviceName\":\"b\",\"template\":{\"metadata\":{"
          "\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}"
          "}",
          "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', "
          "'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
          "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden" },
        { NULL,
          "{\"apiVersion\":\"batch/"
          "v1\",\"kind\":\"Job\",\"metadata\":{\"name\":\"j\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
          "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}",
          "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", "
          "\"Never\"" },
        { NULL,
          "{\"apiVersion\":\"batch/"
          "v1\",\"kind\":\"CronJob\",\"metadata\":{\"name\":\"j\"},\"spec\":{\"schedule\":\"* "
          "*\",\"jobTemplate\":{\"spec\":{\"template\":{\"spec\":{\"restartPolicy\":\"Never\","
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}}}",
          "spec.schedule: Invalid value: \"* *\": expected exactly 5 fields, found 2: [* *]" },
        { NULL,
          "{\"apiVersion\":\"batch/"
          "v1\",\"kind\":\"CronJob\",\"metadata\":{\"name\":\"j\"},\"spec\":{\"schedule\":\"61 * * "
          "* *"
          "\",\"jobTemplate\":{\"spec\":{\"template\":{\"spec\":{\"restartPolicy\":\"Never\","
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}}}",
          "spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): "
          "61" },
        { NULL,
          "{\"apiVersion\":\"batch/"
          "v1\",\"kind\":\"CronJob\",\"metadata\":{\"name\":\"j\"},\"spec\":{\"schedule\":\"@daily"
          "\",\"timeZone\":\"Nowhere/"
          "Foo\",\"jobTemplate\":{\"spec\":{\"template\":{\"spec\":{\"restartPolicy\":\"Never\","
          "\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}}}",
          "spec.timeZone: Invalid value: \"Nowhere/Foo\": unknown time zone Nowhere/Foo" },
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases), "");
}

static void a_status_counts_parts_of_the_whole(void **state)
{
    static const struct validate_case cases[] = {
        { "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"ReplicaSet\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
          "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}",
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"ReplicaSet\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
          "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}},\"status\":{\"replicas\":"
          "1,\"readyReplicas\":2}}",
          "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas" },
        { "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
          "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}",
          "{\"apiVersion\":\"apps/"
          "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"selector\":{"
          "\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},"
          "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}},\"status\":{\"replicas\":"
          "-1}}",
          "status.replicas: Invalid value: -1: must be greater than or equal to 0" },
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases), "status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pod_names_what_is_wrong_in_it),
        cmocka_unit_test(a_running_pod_may_change_little),
        cmocka_unit_test(containers_for_debugging_are_only_added),
        cmocka_unit_test(controllers_choose_their_own_pods),
        cmocka_unit_test(a_status_counts_parts_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
