#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input: the code, the reason and the field paths that upstream answers; the server keeps serving."""
import copy

from server import ApiTest, main

LABELS = {"app": "a"}
POD_SPEC = {"containers": [{"name": "c", "image": "busybox"}]}
POD = {"metadata": {"name": "p"}, "spec": POD_SPEC}
DEPLOYMENT = {
    "metadata": {"name": "d"},
    "spec": {"selector": {"matchLabels": LABELS},
             "template": {"metadata": {"labels": LABELS}, "spec": POD_SPEC}},
}
SERVICE = {"metadata": {"name": "s"}, "spec": {"selector": LABELS, "ports": [{"port": 80}]}}


def changed(body, path, value):
    """A copy of BODY with VALUE at PATH (None: without it)."""
    out = copy.deepcopy(body)
    at = out
    keys = [int(k) if k.isdigit() else k for k in path.split(".")]
    for key in keys[:-1]:
        at = at[key] if isinstance(key, int) else at.setdefault(key, {})
    if value is None:
        del at[keys[-1]]
    else:
        at[keys[-1]] = value
    return out


class Invalid(ApiTest):
    def causes(self, answer, kind):
        status = self.assertStatus(answer, 422, "Invalid")
        self.assertEqual(status["details"]["kind"], kind)
        return {(c["field"], c["reason"]) for c in status["details"]["causes"]}

    def refused(self, plural, group, body, *wanted):
        kind = {"pods": "Pod", "deployments": "Deployment", "services": "Service", "configmaps": "ConfigMap",
                "secrets": "Secret", "jobs": "Job", "ingresses": "Ingress", "roles": "Role",
                "cronjobs": "CronJob", "persistentvolumeclaims": "PersistentVolumeClaim"}[plural]
        found = self.causes(self.admin.post(self.path(plural, group=group), body), kind)
        for cause in wanted:
            self.assertIn(cause, found)

    def test_of_a_pod(self):
        for path, value, field, reason in (
                ("metadata.name", "Bad_Name", "metadata.name", "FieldValueInvalid"),
                ("metadata.labels", {"a b": "c"}, "metadata.labels", "FieldValueInvalid"),
                ("metadata.labels", {"a": "b c"}, "metadata.labels", "FieldValueInvalid"),
                ("metadata.annotations", {"a b": "c"}, "metadata.annotations", "FieldValueInvalid"),
                ("spec.containers", [], "spec.containers", "FieldValueRequired"),
                ("spec.containers.0.name", "X_y", "spec.containers[0].name", "FieldValueInvalid"),
                ("spec.containers.0.name", None, "spec.containers[0].name", "FieldValueRequired"),
                ("spec.containers.0.image", None, "spec.containers[0].image", "FieldValueRequired"),
                ("spec.containers.0.ports", [{"containerPort": 99999}],
                 "spec.containers[0].ports[0].containerPort", "FieldValueInvalid"),
                ("spec.containers.0.imagePullPolicy", "Often", "spec.containers[0].imagePullPolicy",
                 "FieldValueNotSupported"),
                ("spec.containers.0.volumeMounts", [{"name": "v", "mountPath": "/v"}],
                 "spec.containers[0].volumeMounts[0].name", "FieldValueNotFound"),
                ("spec.containers.0.env", [{"name": ""}], "spec.containers[0].env[0].name", "FieldValueRequired"),
                ("spec.restartPolicy", "Sometimes", "spec.restartPolicy", "FieldValueNotSupported"),
                ("spec.dnsPolicy", "Other", "spec.dnsPolicy", "FieldValueNotSupported"),
                ("spec.nodeSelector", {"a b": "c"}, "spec.nodeSelector", "FieldValueInvalid"),
                ("spec.volumes", [{"name": "v"}, {"name": "v"}], "spec.volumes[1].name", "FieldValueDuplicate"),
                ("spec.tolerations", [{"operator": "Near"}], "spec.tolerations[0].operator",
                 "FieldValueNotSupported")):
            with self.subTest(path=path, value=value):
                self.refused("pods", "", changed(POD, path, value), (field, reason))

    def test_of_sysctls(self):
        odd = changed(POD, "spec.securityContext.sysctls", [{"name": "Foo Bar", "value": "1"}])
        status = self.assertStatus(self.admin.post(self.path("pods"), odd), 422, "Invalid")
        self.assertIn('spec.securityContext.sysctls[0].name: Invalid value: "Foo Bar": must have at most 253 '
                      'characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*'
                      '[a-z0-9]([-_a-z0-9]*[a-z0-9])?$', status["message"])
        twice = changed(POD, "spec.securityContext.sysctls", [{"name": "net.a", "value": "1"}] * 2)
        self.refused("pods", "", twice, ("spec.securityContext.sysctls[1].name", "FieldValueDuplicate"))

    def test_a_proxy_to_nothing_says_what_is_missing(self):
        for path, name, kind in ((self.path("services", "nope:80"), "nope", "services"),
                                 (self.path("pods", "gone"), "gone", "pods"),
                                 ("/api/v1/nodes/away", "away", "nodes")):
            status = self.assertStatus(self.admin.get(f"{path}/proxy/"), 404, "NotFound", f'{kind} "{name}" not found')
            self.assertEqual(status["details"], {"name": name, "kind": kind})

    def test_a_kubelet_that_is_not_there(self):
        self.admin.post("/api/v1/nodes", {"metadata": {"name": "dead"}})
        self.admin.patch("/api/v1/nodes/dead/status", {"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}})
        self.admin.post(self.path("pods"), changed(POD, "spec.nodeName", "dead"))
        refused = "dial tcp 127.0.0.1:1: connect: connection refused"
        self.assertStatus(self.admin.get("/api/v1/nodes/dead/proxy/x"), 503, "ServiceUnavailable",
                          f"error trying to reach service: {refused}")
        answer = self.admin.get(self.path("pods", "p") + "/log")
        self.assertEqual((answer.code, answer.json["message"]), (
            500, f'Get "https://127.0.0.1:1/containerLogs/{self.ns}/p/c": {refused}'))

    def test_of_two_containers_of_one_name(self):
        body = changed(POD, "spec.containers", [POD_SPEC["containers"][0]] * 2)
        self.refused("pods", "", body, ("spec.containers[1].name", "FieldValueDuplicate"))

    def test_of_requests_above_limits(self):
        body = changed(POD, "spec.containers.0.resources", {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})
        self.refused("pods", "", body, ("spec.containers[0].resources.requests", "FieldValueInvalid"))

    def test_of_a_deployment(self):
        for path, value, field, reason in (
                ("spec.replicas", -1, "spec.replicas", "FieldValueInvalid"),
                ("spec.selector", {"matchLabels": {"app": "other"}}, "spec.template.metadata.labels",
                 "FieldValueInvalid"),
                ("spec.selector", {}, "spec.selector", "FieldValueInvalid"),
                ("spec.strategy", {"type": "Odd"}, "spec.strategy", "FieldValueNotSupported"),
                ("spec.template.spec.restartPolicy", "Never", "spec.template.spec.restartPolicy",
                 "FieldValueNotSupported"),
                ("spec.template.spec.containers.0.image", None, "spec.template.spec.containers[0].image",
                 "FieldValueRequired")):
            with self.subTest(path=path):
                self.refused("deployments", "apps/v1", changed(DEPLOYMENT, path, value), (field, reason))

    def test_of_a_service(self):
        for path, value, field, reason in (
                ("spec.ports", [], "spec.ports", "FieldValueRequired"),
                ("spec.ports", [{"port": 0}], "spec.ports[0].port", "FieldValueInvalid"),
                ("spec.ports", [{"port": 1}, {"port": 2}], "spec.ports[0].name", "FieldValueRequired"),
                ("spec.type", "Magic", "spec.type", "FieldValueNotSupported"),
                ("spec.clusterIP", "nonsense", "spec.clusterIPs[0]", "FieldValueInvalid"),
                ("metadata.name", "A_bc", "metadata.name", "FieldValueInvalid"),
                ("spec.sessionAffinity", "Always", "spec.sessionAffinity", "FieldValueNotSupported")):
            with self.subTest(path=path, value=value):
                self.refused("services", "", changed(SERVICE, path, value), (field, reason))

    def test_of_a_config_map_key(self):
        body = {"metadata": {"name": "c"}, "data": {"a/b": "x"}}
        self.refused("configmaps", "", body, ("data[a/b]", "FieldValueInvalid"))

    def test_of_a_secret_of_a_type(self):
        body = {"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": {}}
        self.refused("secrets", "", body, ("data[tls.crt]", "FieldValueRequired"),
                     ("data[tls.key]", "FieldValueRequired"))

    def test_of_a_job(self):
        body = {"metadata": {"name": "j"}, "spec": {"template": {"spec": dict(POD_SPEC, restartPolicy="Always")}}}
        self.refused("jobs", "batch/v1", body, ("spec.template.spec.restartPolicy", "FieldValueRequired"))

    def test_the_message_lists_every_fault(self):
        body = changed(changed(POD, "spec.containers.0.image", None), "spec.restartPolicy", "Sometimes")
        status = self.assertStatus(self.admin.post(self.path("pods"), body), 422, "Invalid")
        self.assertTrue(status["message"].startswith('Pod "p" is invalid: ['), status["message"])
        self.assertIn("spec.containers[0].image: Required value", status["message"])
        self.assertIn('spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", ',
                      status["message"])
        self.assertEqual(status["details"]["name"], "p")


class Immutable(ApiTest):
    def refused(self, path, patch, field, reason="FieldValueInvalid"):
        status = self.assertStatus(self.admin.patch(path, patch), 422, "Invalid")
        self.assertIn((field, reason), {(c["field"], c["reason"]) for c in status["details"]["causes"]})

    def test_fields(self):
        made = ((self.path("deployments", group="apps/v1"), DEPLOYMENT), (self.path("services"), SERVICE),
                (self.path("pods"), POD),
                (self.path("configmaps"), {"metadata": {"name": "c"}, "immutable": True, "data": {"a": "b"}}),
                (self.path("secrets"), {"metadata": {"name": "x"}}))
        for path, body in made:
            self.assertEqual(self.admin.post(path, body).code, 201)
        other = {"spec": {"selector": {"matchLabels": {"app": "b"}},
                          "template": {"metadata": {"labels": {"app": "b"}}}}}
        self.refused(self.path("deployments", "d", group="apps/v1"), other, "spec.selector")
        self.refused(self.path("services", "s"), {"spec": {"clusterIP": "10.43.7.7"}}, "spec.clusterIPs[0]")
        self.refused(self.path("pods", "p"), {"spec": {"nodeName": "n"}}, "spec", "FieldValueForbidden")
        self.refused(self.path("configmaps", "c"), {"data": {"a": "c"}}, "data", "FieldValueForbidden")
        self.refused(self.path("secrets", "x"), {"type": "other"}, "type")

    def test_metadata_that_belongs_to_the_server(self):
        made = self.configmap("c")
        body = copy.deepcopy(made)
        body["metadata"].update(uid="00000000-0000-0000-0000-000000000000")
        self.assertStatus(self.admin.put(self.path("configmaps", "c"), body), 409, "Conflict")
        body = copy.deepcopy(made)
        body["metadata"].update(creationTimestamp="2001-01-01T00:00:00Z", generation=7)
        answer = self.admin.put(self.path("configmaps", "c"), body)
        self.assertEqual(answer.json["metadata"]["creationTimestamp"], made["metadata"]["creationTimestamp"])


class Malformed(ApiTest):
    def test_bodies(self):
        for body in ("", "{", "[]", '"x"', "null", "{\"metadata\": 1}", "{}x", "\x00", "{" * 5000,
                     '{"metadata":{"name":"a"},"data":{"k":"\\ud800"}', "apiVersion: v1"):
            with self.subTest(body=body[:40]):
                answer = self.admin.post(self.path("configmaps"), body)
                self.assertIn(answer.code, (400, 422), answer.text)
                self.assertEqual(answer.json["kind"], "Status")
        self.assertEqual(self.admin.get("/readyz").text, "ok")

    def test_wrong_types_name_the_field(self):
        path = self.path("deployments", group="apps/v1")
        body = dict(changed(DEPLOYMENT, "spec.replicas", "three"), apiVersion="apps/v1", kind="Deployment")
        self.assertStatus(
            self.admin.post(path, body), 400, "BadRequest",
            'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go '
            "struct field DeploymentSpec.spec.replicas of type int32")

    def test_a_patch_that_does_not_fit_shows_itself(self):
        self.admin.post(self.path("deployments", group="apps/v1"), DEPLOYMENT)
        answer = self.admin.patch(self.path("deployments", "d", group="apps/v1"), {"spec": {"replicas": "three"}},
                                  kind="strategic-merge-patch")
        self.assertStatus(answer, 422, "Invalid",
                          ' "" is invalid: patch: Invalid value: "map[spec:map[replicas:three]]": '
                          "unrecognized type: int32")

    def test_an_unknown_field_of_a_patch_is_refused_when_strict(self):
        self.admin.post(self.path("deployments", group="apps/v1"), DEPLOYMENT)
        path = self.path("deployments", "d", group="apps/v1")
        strict = path + "?fieldValidation=Strict"
        answer = self.admin.patch(strict, {"spec": {"foo": 1}}, kind="strategic-merge-patch")
        self.assertStatus(answer, 422, "Invalid",
                          ' "" is invalid: patch: Invalid value: "map[spec:map[foo:1]]": strict decoding error: '
                          'unknown field "spec.foo"')
        answer = self.admin.patch(path, {"spec": {"foo": 1}})
        self.assertEqual(answer.code, 200)
        self.assertIn("unknown field", answer.headers["warning"])

    def test_a_duplicate_field_is_found(self):
        body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1"},"data":{"y":"2"}}'
        answer = self.admin.post(self.path("configmaps"), body, fieldValidation="Strict")
        status = self.assertStatus(answer, 400, "BadRequest")
        self.assertIn('duplicate field "data"', status["message"])
        answer = self.admin.post(self.path("configmaps"), body)
        self.assertEqual(answer.headers["warning"], '299 - "duplicate field \\"data\\""')

    def test_patches(self):
        self.configmap("c", a="1")
        for kind, patch, code in (("json-patch", "{}", 400), ("json-patch", "[", 400),
                                  ("json-patch", '[{"op":"fly","path":"/x"}]', 422),
                                  ("json-patch", '[{"op":"remove","path":"/none"}]', 422),
                                  ("merge-patch", "[", 400), ("merge-patch", '{"data":3}', 422),
                                  ("strategic-merge-patch", "nonsense", 400)):
            with self.subTest(kind=kind, patch=patch):
                answer = self.admin.patch(self.path("configmaps", "c"), patch, kind=kind)
                self.assertEqual(answer.code, code, answer.text)

    def test_options(self):
        for query, field in (({"dryRun": "Some"}, "dryRun"), ({"fieldValidation": "Loose"}, "fieldValidation")):
            answer = self.admin.post(self.path("configmaps"), {"metadata": {"name": "a"}}, **query)
            status = self.assertStatus(answer, 422, "Invalid")
            self.assertEqual(status["details"]["kind"], "CreateOptions")
            self.assertEqual(status["details"]["causes"][0]["field"], field)
        self.configmap("c")
        answer = self.admin.delete(self.path("configmaps", "c"), propagationPolicy="Sideways")
        self.assertStatus(answer, 422, "Invalid")
        for query in ({"labelSelector": "a b"}, {"fieldSelector": "metadata.colour=red"}, {"resourceVersion": "x"},
                      {"continue": "!!"}):
            self.assertStatus(self.admin.get(self.path("configmaps"), **query), 400, "BadRequest")

    def test_paths_and_methods(self):
        for method, path, code in (
                ("GET", "/api/v1/unknowns", 404), ("GET", "/apis/none/v1/things", 404), ("GET", "/nowhere", 404),
                ("GET", self.path("pods", "none"), 404), ("GET", self.path("configmaps", "none") + "/status", 404),
                ("POST", self.path("pods", "none"), 405), ("PUT", self.path("pods"), 405),
                ("PATCH", "/api/v1/namespaces", 405), ("DELETE", "/api/v1/namespaces", 405),
                ("POST", "/api/v1/pods", 405), ("BREW", self.path("pods"), 405)):
            with self.subTest(method=method, path=path):
                answer = self.admin.call(method, path, "{}" if method != "GET" else None)
                self.assertEqual(answer.code, code, answer.text)

    def test_numbers_in_a_query(self):
        pods, log = self.path("pods"), self.path("pods", "p") + "/log"
        for path, query, code, message in (
            (pods, {"limit": "x"}, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
            (pods, {"timeoutSeconds": "1s"}, 400, 'strconv.ParseInt: parsing "1s": invalid syntax'),
            (pods, {"watch": "1", "timeoutSeconds": ""}, 400, 'strconv.ParseInt: parsing "": invalid syntax'),
            (log, {"tailLines": "x"}, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
            (log, {"tailLines": "-1"}, 422, 'PodLogOptions "p" is invalid: tailLines: Invalid value: -1: '
                                            'must be greater than or equal to 0'),
            (log, {"sinceSeconds": "0"}, 422, 'PodLogOptions "p" is invalid: sinceSeconds: Invalid value: 0: '
                                              'must be greater than 0'),
            (log, {"stream": "Out"}, 422, 'PodLogOptions "p" is invalid: stream: Unsupported value: "Out": '
                                          'supported values: "All", "Stderr", "Stdout"'),
        ):
            with self.subTest(path=path, query=query):
                answer = self.admin.get(path, **query)
                self.assertEqual((answer.code, answer.json["message"]), (code, message))

    def test_a_watch_for_ever_is_one_for_long(self):
        with self.admin.watch(self.path("configmaps"), timeoutSeconds="9999999999999") as watch:
            self.configmap("a")
            self.assertEqual(watch.next()["object"]["metadata"]["name"], "a")

    def test_a_body_of_4_mib_is_too_large(self):
        body = {"metadata": {"name": "big"}, "data": {"k": "x" * (4 << 20)}}
        answer = self.admin.post(self.path("configmaps"), body)
        self.assertStatus(answer, 413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
        self.assertEqual(self.admin.get("/readyz").text, "ok")

    def test_an_object_over_the_limit_of_its_kind(self):
        body = {"metadata": {"name": "big"}, "data": {"k": "x" * (1 << 20), "l": "y"}}
        status = self.assertStatus(self.admin.post(self.path("configmaps"), body), 422, "Invalid",
                                   'ConfigMap "big" is invalid: []: Too long: may not be more than 1048576 bytes')
        self.assertEqual(status["details"]["causes"][0]["reason"], "FieldValueTooLong")


if __name__ == "__main__":
    main()
