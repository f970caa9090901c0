/* SPDX-License-Identifier: Apache-2.0 */
/* validate_rules_test.c - kinds whose rules are tables: paths and words of their faults. */
#include "validate_test.h"

static void kinds_with_tables_name_what_is_wrong(void **state)
{
    static const struct validate_case cases[] = {
        { NULL,
          "{\"apiVersion\":\"networking.k8s.io/"
          "v1\",\"kind\":\"Ingress\",\"metadata\":{\"name\":\"x\"},\"spec\":{}}",
          "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified" },
        { NULL,
          "{\"apiVersion\":\"networking.k8s.io/"
          "v1\",\"kind\":\"Ingress\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"rules\":[{\"host\":"
          "\"*.*\",\"http\":{\"paths\":[{\"path\":\"a//"
          "b\",\"pathType\":\"Exact\",\"backend\":{\"service\":{\"name\":\"s\"}}}]}}]}}",
          "spec.rules[0].host: Invalid value: \"*.*\": a wildcard DNS-1123 subdomain must start "
          "with '*.', followed by a valid DNS subdomain, which must consist of lower case "
          "alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. "
          "'*.example.com', regex used for validation is "
          "'\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')\n"
          "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must be an absolute path\n"
          "spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must not contain '//'\n"
          "spec.rules[0].http.paths[0].backend: Required value: port name or number is required" },
        { "{\"apiVersion\":\"networking.k8s.io/"
          "v1\",\"kind\":\"IngressClass\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"controller\":"
          "\"a.b/c\"}}",
          "{\"apiVersion\":\"networking.k8s.io/"
          "v1\",\"kind\":\"IngressClass\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"controller\":"
          "\"a.b/d\",\"parameters\":{\"kind\":\"K\",\"name\":\"n\",\"scope\":\"Namespace\"}}}",
          "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'\n"
          "spec.controller: Invalid value: \"a.b/d\": field is immutable" },
        { NULL,
          "{\"apiVersion\":\"networking.k8s.io/"
          "v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"ingress\":[{"
          "\"ports\":[{\"port\":\"x\",\"endPort\":5}],\"from\":[{},{\"ipBlock\":{\"cidr\":\"10.0.0."
          "0/8\",\"except\":[\"11.0.0.0/16\"]}}]}]}}",
          "spec.ingress[0].ports[0].endPort: Invalid value: 5: may not be specified when `port` is "
          "non-numeric\n"
          "spec.ingress[0].from[0]: Required value: must specify a peer\n"
          "spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a "
          "strict subset of `cidr`" },
        { NULL,
          "{\"apiVersion\":\"rbac.authorization.k8s.io/"
          "v1\",\"kind\":\"RoleBinding\",\"metadata\":{\"name\":\"x\"},\"roleRef\":{\"apiGroup\":"
          "\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"r\"},\"subjects\":[{\"kind\":"
          "\"User\",\"name\":\"u\"},{\"kind\":\"ServiceAccount\",\"name\":\"\"},{\"kind\":\"x\","
          "\"name\":\"y\"}]}",
          "subjects[1].name: Required value\n"
          "subjects[2].kind: Unsupported value: \"x\": supported values: \"Group\", "
          "\"ServiceAccount\", \"User\"" },
        { "{\"apiVersion\":\"rbac.authorization.k8s.io/"
          "v1\",\"kind\":\"RoleBinding\",\"metadata\":{\"name\":\"x\"},\"roleRef\":{\"apiGroup\":"
          "\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"r\"}}",
          "{\"apiVersion\":\"rbac.authorization.k8s.io/"
          "v1\",\"kind\":\"RoleBinding\",\"metadata\":{\"name\":\"x\"},\"roleRef\":{\"apiGroup\":"
          "\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"q\"}}",
          "roleRef: Invalid value: "
          "{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"q\"}: cannot "
          "change roleRef" },
        { NULL,
          "{\"apiVersion\":\"rbac.authorization.k8s.io/"
          "v1\",\"kind\":\"Role\",\"metadata\":{\"name\":\"x\"},\"rules\":[{\"verbs\":[\"get\"],"
          "\"nonResourceURLs\":[\"/x\"]},{\"verbs\":[]}]}",
          "rules[1].verbs: Required value: verbs must contain at least one value\n"
          "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to "
          "non-resource URLs\n"
          "rules[1].apiGroups: Required value: resource rules must supply at least one api group\n"
          "rules[1].resources: Required value: resource rules must supply at least one resource" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"x\"},"
          "\"spec\":{\"accessModes\":[]}}",
          "spec.accessModes: Required value: at least 1 access mode is required\n"
          "spec.resources[storage]: Required value" },
        { "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"x\"},"
          "\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":"
          "\"2Gi\"}}}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"x\"},"
          "\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":"
          "\"1Gi\"}}}}",
          "spec: Forbidden: spec is immutable after creation except resources.requests and "
          "volumeAttributesClassName for bound claims" },
        { "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"x\"},"
          "\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":"
          "\"1Gi\"}}}}",
          "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"x\"},"
          "\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"volumeName\":\"v\",\"resources\":{"
          "\"requests\":{\"storage\":\"1Gi\"}}}}",
          "" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"x\"},"
          "\"spec\":{\"capacity\":{\"storage\":\"1Gi\"},\"accessModes\":[\"ReadWriteOnce\"],"
          "\"local\":{\"path\":\"/a/../b\"}}}",
          "spec.local.path: Invalid value: \"/a/../b\": must not contain '..'\n"
          "spec.nodeAffinity: Required value: Local volume requires node affinity" },
        { "{\"apiVersion\":\"storage.k8s.io/"
          "v1\",\"kind\":\"StorageClass\",\"metadata\":{\"name\":\"x\"},\"provisioner\":\"a.b/c\"}",
          "{\"apiVersion\":\"storage.k8s.io/"
          "v1\",\"kind\":\"StorageClass\",\"metadata\":{\"name\":\"x\"},\"provisioner\":\"a.b/d\"}",
          "provisioner: Invalid value: \"a.b/d\": field is immutable" },
        { NULL,
          "{\"apiVersion\":\"autoscaling/"
          "v2\",\"kind\":\"HorizontalPodAutoscaler\",\"metadata\":{\"name\":\"x\"},\"spec\":{"
          "\"scaleTargetRef\":{\"kind\":\"D\",\"name\":\"n\"},\"minReplicas\":3,\"maxReplicas\":2,"
          "\"metrics\":[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":{\"type\":"
          "\"Utilization\"}}}]}}",
          "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`\n"
          "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a "
          "target raw value or a target utilization" },
        { NULL,
          "{\"apiVersion\":\"policy/"
          "v1\",\"kind\":\"PodDisruptionBudget\",\"metadata\":{\"name\":\"x\"},\"spec\":{"
          "\"minAvailable\":\"200%\"}}",
          "spec.minAvailable: Invalid value: \"200%\": must not be greater than 100%" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"LimitRange\",\"metadata\":{\"name\":\"x\"},\"spec\":{"
          "\"limits\":[{\"type\":\"Container\",\"min\":{\"cpu\":\"2\"},\"max\":{\"cpu\":\"1\"}},{"
          "\"type\":\"Container\"},{\"type\":\"x\"}]}}",
          "spec.limits[1].type: Duplicate value: \"Container\"\n"
          "spec.limits[2].type: Invalid value: \"x\": must be a standard limit type or fully "
          "qualified\n"
          "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value "
          "1\n"
          "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than "
          "default request value 1\n"
          "spec.limits[0].default[cpu]: Invalid value: \"1\": min value 2 is greater than default "
          "value 1" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"ResourceQuota\",\"metadata\":{\"name\":\"x\"},"
          "\"spec\":{\"hard\":{\"pods\":\"-1\",\"foo\":\"1\",\"requests.cpu\":\"100m\"}}}",
          "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0\n"
          "spec.hard[foo]: Invalid value: \"foo\": must be a standard resource for quota" },
        { "{\"apiVersion\":\"scheduling.k8s.io/"
          "v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"x\"},\"value\":1}",
          "{\"apiVersion\":\"scheduling.k8s.io/"
          "v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"x\"},\"value\":2000000000}",
          "value: Forbidden: maximum allowed value of a user defined priority is 1000000000\n"
          "value: Forbidden: may not be changed in an update." },
        { NULL,
          "{\"apiVersion\":\"coordination.k8s.io/"
          "v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":\"x\"},\"spec\":{"
          "\"leaseDurationSeconds\":0,\"leaseTransitions\":-1}}",
          "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0\n"
          "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0" },
        { "{\"apiVersion\":\"node.k8s.io/"
          "v1\",\"kind\":\"RuntimeClass\",\"metadata\":{\"name\":\"x\"},\"handler\":\"a\"}",
          "{\"apiVersion\":\"node.k8s.io/"
          "v1\",\"kind\":\"RuntimeClass\",\"metadata\":{\"name\":\"x\"},\"handler\":\"b\"}",
          "handler: Invalid value: \"b\": field is immutable" },
        { NULL,
          "{\"apiVersion\":\"admissionregistration.k8s.io/"
          "v1\",\"kind\":\"ValidatingWebhookConfiguration\",\"metadata\":{\"name\":\"x\"},"
          "\"webhooks\":[{\"name\":\"a.b\",\"sideEffects\":\"None\",\"admissionReviewVersions\":["
          "\"v1\"],\"clientConfig\":{\"url\":\"http://h\"}}]}",
          "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three "
          "segments separated by dots\n"
          "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL "
          "scheme; desired format: https://host[/path]" },
        { NULL,
          "{\"apiVersion\":\"discovery.k8s.io/"
          "v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"x\"},\"addressType\":\"IPv4\","
          "\"endpoints\":[{\"addresses\":[\"127.0.0.1\"]},{\"addresses\":[\"::1\"]}],\"ports\":[{"
          "\"name\":\"A\"}]}",
          "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback "
          "range (127.0.0.0/8, ::1/128)\n"
          "endpoints[1].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address\n"
          "ports[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower "
          "case alphanumeric characters or '-', and must start and end with an alphanumeric "
          "character (e.g. 'my-name',  or '123-abc', regex used for validation is "
          "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')" },
        { NULL,
          "{\"apiVersion\":\"v1\",\"kind\":\"Event\",\"metadata\":{\"name\":\"x\"},"
          "\"involvedObject\":{\"namespace\":\"a\"}}",
          "involvedObject.namespace: Invalid value: \"a\": does not match event.namespace" },
        { NULL,
          "{\"apiVersion\":\"resource.k8s.io/"
          "v1\",\"kind\":\"ResourceClaim\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"devices\":{"
          "\"requests\":[{\"name\":\"r\"}],\"constraints\":[{\"requests\":[\"q\"],"
          "\"matchAttribute\":\"a.b/c\"}]}}}",
          "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` "
          "is required\n"
          "spec.devices.constraints[0].requests[0]: Invalid value: \"q\": must be the name of a "
          "request in the claim or the name of a request and a subrequest separated by '/'" },
        { NULL,
          "{\"apiVersion\":\"flowcontrol.apiserver.k8s.io/"
          "v1\",\"kind\":\"PriorityLevelConfiguration\",\"metadata\":{\"name\":\"x\"},\"spec\":{"
          "\"type\":\"Limited\"}}",
          "spec.limited: Required value: must not be empty when type is Limited" },
        { NULL,
          "{\"apiVersion\":\"apiregistration.k8s.io/"
          "v1\",\"kind\":\"APIService\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"group\":\"g.x\","
          "\"version\":\"v1\",\"groupPriorityMinimum\":1,\"versionPriority\":1}}",
          "metadata.name: Invalid value: \"x\": must be `spec.version+\".\"+spec.group`: "
          "\"v1.g.x\"" },
        { NULL,
          "{\"apiVersion\":\"certificates.k8s.io/"
          "v1\",\"kind\":\"CertificateSigningRequest\",\"metadata\":{\"name\":\"x\"},\"spec\":{"
          "\"request\":\"eA==\",\"signerName\":\"x\",\"usages\":[\"any\",\"foo\",\"any\"]}}",
          "spec.usages[1]: Unsupported value: \"foo\": supported values: \"any\", \"cert sign\", "
          "\"client auth\", \"code signing\", \"content commitment\", \"crl sign\", \"data "
          "encipherment\", \"decipher only\", \"digital signature\", \"email protection\", "
          "\"encipher only\", \"ipsec end system\", \"ipsec tunnel\", \"ipsec user\", \"key "
          "agreement\", \"key encipherment\", \"microsoft sgc\", \"netscape sgc\", \"ocsp "
          "signing\", \"s/mime\", \"server auth\", \"signing\", \"timestamping\"\n"
          "spec.usages[2]: Duplicate value: \"any\"\n"
          "spec.signerName: Invalid value: \"x\": must be a fully qualified domain and path of the "
          "form 'example.com/signer-name'" },
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_with_tables_name_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
