/* SPDX-License-Identifier: Apache-2.0 */
/* validate_core_test.c - services, configuration and secrets: paths and words of their faults. */
#include "validate_test.h"

static void a_service_names_what_is_wrong_in_it(void **state)
{
    static const struct validate_case cases[] = {
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"ports\":[{\"port\":80}]}}",
          "" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{}}",
          "spec.ports: Required value" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"clusterIP\":\"None\"}}",
          "" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"ports\":[{\"port\":80},{\"port\":0}]}}",
          "spec.ports[0].name: Required value\n"
          "spec.ports[1].name: Required value\n"
          "spec.ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive\n"
          "spec.ports[1].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"type\":\"x\",\"ports\":[{\"port\":80}]}}",
          "spec.type: Unsupported value: \"x\": supported values: \"ClusterIP\", \"ExternalName\", "
          "\"LoadBalancer\", \"NodePort\"" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"type\":\"ExternalName\"}}",
          "spec.externalName: Required value" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"type\":\"ExternalName\",\"externalName\":\"a.b.\"}}",
          "" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"externalTrafficPolicy\":\"Local\",\"ports\":[{\"port\":80}]}}",
          "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for "
          "externally-accessible services" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"loadBalancerClass\":\"a.b/c\",\"ports\":[{\"port\":80,\"nodePort\":30000}]}}",
          "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'\n"
          "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"externalIPs\":[\"127.0.0.1\",\"x\"],\"ports\":[{\"port\":80}],"
          "\"externalTrafficPolicy\":\"Cluster\"}}",
          "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range "
          "(127.0.0.0/8, ::1/128)\n"
          "spec.externalIPs[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 "
          "or 2001:db8::ffff)" },
        { "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"clusterIP\":\"10.0.0.1\",\"clusterIPs\":[\"10.0.0.1\"],\"ports\":[{\"port\":80}]}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{"
          "\"clusterIP\":\"10.0.0.2\",\"clusterIPs\":[\"10.0.0.2\"],\"ports\":[{\"port\":80}]}}",
          "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"},\"data\":{"
          "\"a b\":\"x\"}}",
          "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric "
          "characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex "
          "used for validation is '[-._a-zA-Z0-9]+')" },
        { "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"},"
          "\"immutable\":true,\"data\":{\"a\":\"x\"}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"},"
          "\"immutable\":true,\"data\":{\"a\":\"y\"}}",
          "data: Forbidden: field is immutable when `immutable` is set" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"c\"},\"type\":"
          "\"kubernetes.io/tls\",\"data\":{\"tls.crt\":\"eA==\"}}",
          "data[tls.key]: Required value" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"c\"},\"type\":"
          "\"kubernetes.io/dockerconfigjson\",\"data\":{\".dockerconfigjson\":\"e30=\"}}",
          "" },
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_names_what_is_wrong_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
