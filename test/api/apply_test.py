#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Server-side apply and managedFields over the wire."""

import json
import ssl

from server import ApiTest, Client, main

APPLY = {"Content-Type": "application/apply-patch+yaml"}


def configmap(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def deployment(name, replicas=None, **spec):
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod, **spec}
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


class Base(ApiTest):
    def apply(self, plural, name, config, manager="m", subresource="", group="", **query):
        path = self.path(plural, name, group) + subresource
        if manager is not None:
            query["fieldManager"] = manager
        return self.admin.call("PATCH", path, config, headers=APPLY, **query)

    def managers(self, obj):
        return [(e["manager"], e["operation"], e.get("subresource", ""), e["fieldsV1"])
                for e in obj["metadata"].get("managedFields", [])]

    def assert_refused(self, answer, code, reason, message):
        self.assertEqual((answer.code, answer.json.get("reason"), answer.json["message"]), (code, reason, message))


class Writes(Base):
    def test_a_create_is_an_update_of_its_manager(self):
        made = self.admin.post(self.path("configmaps"), configmap("a", x="1"), fieldManager="me").json
        entry = made["metadata"]["managedFields"][0]
        self.assertRegex(entry.pop("time"), "^20..-..-..T..:..:..Z$")
        self.assertEqual(entry, {"manager": "me", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                                 "fieldsV1": {"f:data": {".": {}, "f:x": {}}}})

    def test_the_manager_is_what_the_user_agent_begins_with(self):
        for agent, manager in [("kubectl/v1.32.5 (linux/amd64)", "kubectl"), ("x y", "x y"), ("", "unknown"),
                               ("é" * 100 + "/1", "é" * 64), ("a\tb", "ab")]:
            made = self.admin.call("POST", self.path("configmaps"), {"metadata": {"generateName": "a-"}, "data": {"k": "v"}},
                                   headers={"User-Agent": agent.encode("utf-8")}).json
            self.assertEqual(made["metadata"]["managedFields"][0]["manager"], manager)

    def test_defaults_belong_to_the_creator_and_status_to_nobody(self):
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        made = self.admin.post(self.path("pods"), pod, fieldManager="me").json
        self.assertEqual(self.managers(made), [("me", "Update", "", {"f:spec": {
            "f:containers": {'k:{"name":"c"}': {
                ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
                "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}},
            "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {}, "f:schedulerName": {},
            "f:securityContext": {}, "f:terminationGracePeriodSeconds": {}}})])

    def test_patches_and_updates_take_what_they_change(self):
        self.configmap("a", x="1", y="1")
        path = self.path("configmaps", "a")
        self.admin.patch(path, {"data": {"x": "2"}}, fieldManager="merge")
        self.admin.patch(path, {"data": {"z": "2"}}, kind="strategic-merge-patch", fieldManager="strategic")
        self.admin.patch(path, [{"op": "add", "path": "/data/w", "value": "1"}], kind="json-patch", fieldManager="json")
        got = self.admin.get(path).json
        got["data"]["v"] = "1"
        del got["data"]["y"]
        got = self.admin.put(path, got, fieldManager="put").json
        owned = {m: f for m, _, _, f in self.managers(got)}
        first = owned.pop("unknown")
        self.assertEqual(first, {"f:data": {}})
        self.assertEqual(owned, {"merge": {"f:data": {"f:x": {}}}, "strategic": {"f:data": {"f:z": {}}},
                                 "json": {"f:data": {"f:w": {}}}, "put": {"f:data": {"f:v": {}}}})

    def test_a_status_is_owned_as_such(self):
        self.admin.post(self.path("deployments", group="apps/v1"), deployment("d", 1), fieldManager="me")
        path = self.path("deployments", "d", "apps/v1")
        got = self.admin.patch(path + "/status", {"spec": {"replicas": 7}, "status": {"observedGeneration": 1}},
                               fieldManager="c").json
        self.assertEqual([m[:3] for m in self.managers(got)], [("c", "Update", "status"), ("me", "Update", "")])
        self.assertEqual(self.managers(got)[0][3], {"f:status": {"f:observedGeneration": {}}})
        got = self.admin.patch(path, {"status": {"observedGeneration": 9}}, fieldManager="me").json
        self.assertEqual(got["status"]["observedGeneration"], 1)

    def test_a_write_that_changes_nothing_writes_nothing(self):
        self.admin.post(self.path("configmaps"), configmap("a", x="1"), fieldManager="me")
        path = self.path("configmaps", "a")
        before = self.admin.get(path).json
        for call in (lambda: self.admin.patch(path, {"data": {"x": "1"}}, fieldManager="other"),
                     lambda: self.admin.put(path, before, fieldManager="other"),
                     lambda: self.admin.put(path, configmap("a", x="1"), fieldManager="other")):
            self.assertEqual(call().json, before)

    def test_a_client_may_reset_and_rewrite_the_managers(self):
        path = self.path("configmaps", "a")
        for reset in ([], [{}]):
            self.configmap("a", x="1")
            got = self.admin.patch(path, {"metadata": {"managedFields": reset}}).json
            self.assertNotIn("managedFields", got["metadata"])
            got = self.admin.patch(path, {"data": {"y": "1"}}, fieldManager="later").json
            self.assertNotIn("managedFields", got["metadata"])
            got = self.apply("configmaps", "a", configmap("a", z="1")).json
            self.assertEqual([m[:2] for m in self.managers(got)], [("m", "Apply"), ("before-first-apply", "Update")])
            self.admin.delete(path)
        self.configmap("a", x="1")
        entry = {"manager": "mine", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                 "fieldsV1": {"f:data": {"f:x": {}}}}
        got = self.admin.patch(path, {"metadata": {"managedFields": [entry]}}).json
        self.assertEqual(self.managers(got), [("mine", "Update", "", {"f:data": {"f:x": {}}})])
        entry["fieldsV1"] = {"x": {}}
        got = self.admin.patch(path, {"metadata": {"managedFields": [entry]}}).json
        self.assertEqual(self.managers(got), [("mine", "Update", "", {"f:data": {"f:x": {}}})])

    def test_old_updaters_become_one(self):
        self.configmap("a", x="1")
        for i in range(12):
            got = self.admin.patch(self.path("configmaps", "a"), {"data": {f"k{i}": "1"}}, fieldManager=f"m{i}").json
        managers = [m[0] for m in self.managers(got)]
        self.assertEqual(len(managers), 10)
        self.assertIn("ancient-changes", managers)

    def test_bad_managers_are_refused(self):
        path = self.path("configmaps")
        self.assert_refused(self.admin.post(path, configmap("a"), fieldManager="x" * 129), 422, "Invalid",
                            'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 '
                            "bytes")
        self.assert_refused(self.admin.post(path, configmap("a"), fieldManager="a\nb"), 422, "Invalid",
                            'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\\nb": invalid '
                            "character U+000A (at position 1)")


class Apply(Base):
    def test_what_is_not_there_is_created(self):
        answer = self.apply("configmaps", "a", configmap("a", x="1"))
        self.assertEqual(answer.code, 201)
        self.assertEqual(self.managers(answer.json), [("m", "Apply", "", {"f:data": {"f:x": {}}})])
        again = self.apply("configmaps", "a", configmap("a", x="1"))
        self.assertEqual((again.code, again.json), (200, answer.json))

    def test_yaml_and_json_are_read(self):
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: '1'\n"
        self.assertEqual(self.apply("configmaps", "a", text).code, 201)
        self.assertEqual(self.apply("configmaps", "a", json.dumps(configmap("a", x="1"))).code, 200)
        answer = self.apply("configmaps", "a", "a: [")
        self.assertEqual((answer.code, answer.json["reason"]), (400, "BadRequest"))
        self.assertTrue(answer.json["message"].startswith(
            "error decoding YAML: error converting YAML to JSON: yaml: line "), answer.json["message"])
        self.assertEqual(self.apply("configmaps", "a", "[]").code, 400)

    def test_fields_that_are_named_no_more_go(self):
        self.apply("configmaps", "a", configmap("a", x="1", y="1"))
        self.admin.patch(self.path("configmaps", "a"), {"data": {"z": "1"}})
        got = self.apply("configmaps", "a", configmap("a", x="1")).json
        self.assertEqual(got["data"], {"x": "1", "z": "1"})

    def test_conflicts_are_told_field_by_field(self):
        group = "apps/v1"
        self.admin.post(self.path("deployments", group=group), deployment("d", 1), fieldManager="me")
        answer = self.apply("deployments", "d", deployment("d", 3), group=group)
        self.assert_refused(answer, 409, "Conflict", 'Apply failed with 1 conflict: conflict with "me" using apps/v1: '
                                                     ".spec.replicas")
        self.assertEqual(answer.json["details"], {"causes": [
            {"reason": "FieldManagerConflict", "message": 'conflict with "me" using apps/v1', "field": ".spec.replicas"}]})
        config = deployment("d", 3, paused=True)
        config["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
        self.assert_refused(self.apply("deployments", "d", config, group=group), 409, "Conflict",
                            'Apply failed with 2 conflicts: conflicts with "me" using apps/v1:\n- .spec.replicas\n'
                            '- .spec.template.spec.containers[name="c"].image')
        got = self.apply("deployments", "d", config, group=group, force="true")
        self.assertEqual((got.code, got.json["spec"]["replicas"]), (200, 3))
        self.assertNotIn("f:replicas", [m for m in self.managers(got.json) if m[0] == "me"][0][3]["f:spec"])

    def test_a_dry_run_keeps_nothing(self):
        self.assertEqual(self.apply("configmaps", "a", configmap("a", x="1"), dryRun="All").code, 201)
        self.assertEqual(self.admin.get(self.path("configmaps", "a")).code, 404)
        self.apply("configmaps", "a", configmap("a", x="1"))
        got = self.apply("configmaps", "a", configmap("a", x="2"), dryRun="All")
        self.assertEqual((got.code, got.json["data"]["x"]), (200, "2"))
        self.assertEqual(self.admin.get(self.path("configmaps", "a")).json["data"]["x"], "1")

    def test_options_are_checked(self):
        self.assert_refused(self.apply("configmaps", "a", configmap("a"), manager=None), 422, "Invalid",
                            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for '
                            "apply patch")
        self.configmap("a")
        self.assert_refused(self.admin.patch(self.path("configmaps", "a"), {}, force="true"), 422, "Invalid",
                            'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for '
                            "non-apply patch")

    def test_the_configuration_is_checked(self):
        def refused(config, code, reason, message):
            self.assert_refused(self.apply("configmaps", "a", config), code, reason, message)
        refused({"metadata": {"name": "a"}}, 400, "BadRequest", "invalid object type: /, Kind=")
        refused({**configmap("a"), "kind": "Secret"}, 400, "BadRequest", "invalid object type: /v1, Kind=Secret")
        refused(configmap("b"), 400, "BadRequest",
                "the name of the object (b) does not match the name on the URL (a)")
        nameless = configmap("a")
        del nameless["metadata"]["name"]
        refused(nameless, 400, "BadRequest",
                "the name of the object (a based on URL) was undeterminable: name must be provided")
        managed = configmap("a")
        managed["metadata"]["managedFields"] = []
        refused(managed, 400, "BadRequest", "metadata.managedFields must be nil")
        refused({**configmap("a"), "nope": 1}, 500, None,
                "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .nope: field not declared in schema")
        refused({**configmap("a"), "data": {"x": 1}}, 500, None,
                "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.x: expected string, got "
                "&value.valueUnstructured{Value:1}")
        foreign = configmap("a")
        foreign["metadata"]["namespace"] = "other"
        refused(foreign, 400, "BadRequest", "the namespace of the object (other) does not match the namespace on the "
                                            f"request ({self.ns})")

    def test_preconditions_count(self):
        config = configmap("a", x="1")
        config["metadata"]["uid"] = "5"
        self.assert_refused(self.apply("configmaps", "a", config), 409, "Conflict",
                            'Operation cannot be fulfilled on configmaps "a": uid mismatch: the provided object '
                            "specified uid 5, and no existing object was found")
        del config["metadata"]["uid"]
        made = self.apply("configmaps", "a", config).json
        config["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
        config["data"]["x"] = "2"
        self.assertEqual(self.apply("configmaps", "a", config).code, 200)
        config["data"]["x"] = "3"
        self.assertEqual(self.apply("configmaps", "a", config).code, 409)

    def test_repeated_keys(self):
        text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: '1'\n  x: '2'\n"
        said = 'line 7: key "x" already set in map'
        self.assert_refused(self.apply("configmaps", "a", text, fieldValidation="Strict"), 400, "BadRequest",
                            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  " + said)
        answer = self.apply("configmaps", "a", text)
        self.assertEqual((answer.code, answer.json["data"]["x"]), (201, "2"))
        self.assertEqual(answer.headers.get_all("Warning"), ['299 - "line 7: key \\"x\\" already set in map"'])
        answer = self.apply("configmaps", "a", text, fieldValidation="Ignore")
        self.assertIsNone(answer.headers.get_all("Warning"))
        answer = self.apply("configmaps", "a", '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},\n"kind":'
                            '"ConfigMap"}', fieldValidation="Strict")
        self.assertIn('line 2: key "kind" already set in map', answer.json["message"])

    def test_two_appliers_share_a_value(self):
        self.apply("configmaps", "a", configmap("a", x="1"), manager="a")
        self.assertEqual(self.apply("configmaps", "a", configmap("a", x="1"), manager="b").code, 200)
        got = self.apply("configmaps", "a", configmap("a"), manager="a").json
        self.assertEqual(got["data"], {"x": "1"})
        got = self.apply("configmaps", "a", configmap("a"), manager="b").json
        self.assertNotIn("data", got)

    def test_lists_are_merged_by_their_keys(self):
        def service(*ports):
            return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {
                "ports": [{"name": f"p{p}", "port": p} for p in ports]}}
        self.apply("services", "s", service(80, 443), manager="a")
        got = self.apply("services", "s", service(53), manager="b").json
        self.assertEqual([p["port"] for p in got["spec"]["ports"]], [80, 443, 53])
        got = self.apply("services", "s", service(443), manager="a").json
        self.assertEqual([p["port"] for p in got["spec"]["ports"]], [443, 53])
        self.assertEqual([m[3]["f:spec"]["f:ports"] for m in self.managers(got) if m[0] == "b"], [
            {'k:{"port":53,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}}])

    def test_who_may_not_create_may_not_create_by_it(self):
        answer = self.nobody_but_patcher().call("PATCH", self.path("configmaps", "a") + "?fieldManager=m",
                                                configmap("a"), headers=APPLY)
        self.assertEqual((answer.code, answer.json["reason"]), (403, "Forbidden"))
        self.assertIn('cannot create resource "configmaps"', answer.json["message"])

    def nobody_but_patcher(self):
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.ns}"
        self.admin.post(rbac + "/roles", {"metadata": {"name": "p"}, "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]})
        self.admin.post(rbac + "/rolebindings", {"metadata": {"name": "p"}, "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "p"},
            "subjects": [{"kind": "ServiceAccount", "name": "p", "namespace": self.ns}]})
        self.admin.post(self.path("serviceaccounts"), {"metadata": {"name": "p"}})
        token = self.admin.post(self.path("serviceaccounts", "p") + "/token", {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}).json["status"]["token"]
        return Client(self.port, ssl.create_default_context(cafile=self.ca), {"Authorization": "Bearer " + token})


class Subresources(Base):
    group = "apps/v1"

    def setUp(self):
        super().setUp()
        self.admin.post(self.path("deployments", group=self.group), deployment("d", 1), fieldManager="me")

    def to(self, subresource, config, **kw):
        return self.apply("deployments", "d", config, subresource=subresource, group=self.group, **kw)

    def test_a_status_is_applied(self):
        config = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 9},
                  "status": {"conditions": [{"type": "Mine", "status": "True"}]}}
        got = self.to("/status", config).json
        self.assertEqual((got["spec"]["replicas"], got["status"]["conditions"][0]["type"]), (1, "Mine"))
        self.assertEqual(self.managers(got)[0], ("m", "Apply", "status", {"f:status": {"f:conditions": {
            'k:{"type":"Mine"}': {".": {}, "f:status": {}, "f:type": {}}}}}))
        missing = self.apply("deployments", "x", {**config, "metadata": {"name": "x"}}, subresource="/status",
                             group=self.group)
        self.assertEqual(missing.code, 404)

    def test_a_scale_is_applied(self):
        scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 4}}
        self.assert_refused(self.to("/scale", scale), 409, "Conflict", "Apply failed with 1 conflict: conflict with "
                            '"me" using autoscaling/v1: .spec.replicas')
        self.assertEqual(self.to("/scale", scale, force="true").json["spec"]["replicas"], 4)
        got = self.admin.get(self.path("deployments", "d", self.group)).json
        self.assertEqual(self.managers(got)[0], ("m", "Apply", "scale", {"f:spec": {"f:replicas": {}}}))
        self.assertEqual(got["metadata"]["managedFields"][0]["apiVersion"], "apps/v1")
        self.assertNotIn("f:replicas", self.managers(got)[1][3]["f:spec"])
        self.assertEqual(got["spec"]["replicas"], 4)

    def test_a_scale_is_an_update_of_the_object(self):
        path = self.path("deployments", "d", self.group)
        self.admin.patch(path + "/scale", {"spec": {"replicas": 5}}, fieldManager="s")
        owned = {m[0]: m for m in self.managers(self.admin.get(path).json)}
        self.assertEqual(owned["s"], ("s", "Update", "scale", {"f:spec": {"f:replicas": {}}}))
        self.assertNotIn("f:replicas", owned["me"][3]["f:spec"])


class Versions(Base):
    def test_a_kind_of_two_versions_is_owned_in_each(self):
        def autoscaler(version, **spec):
            return {"apiVersion": f"autoscaling/{version}", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
                    "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d",
                                                                  "apiVersion": "apps/v1"}, **spec}}
        one = self.apply("horizontalpodautoscalers", "h", autoscaler("v1", targetCPUUtilizationPercentage=50),
                         manager="one", group="autoscaling/v1")
        self.assertEqual(one.code, 201, one.text)
        config = autoscaler("v2", minReplicas=2)
        two = self.apply("horizontalpodautoscalers", "h", config, manager="two", group="autoscaling/v2").json
        self.assertEqual(two["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50)
        self.assertEqual([(e["manager"], e["apiVersion"]) for e in two["metadata"]["managedFields"]],
                         [("one", "autoscaling/v1"), ("two", "autoscaling/v2")])
        config["spec"]["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": {
            "type": "Utilization", "averageUtilization": 70}}}]
        refused = self.apply("horizontalpodautoscalers", "h", config, manager="two", group="autoscaling/v2")
        self.assert_refused(refused, 409, "Conflict", 'Apply failed with 1 conflict: conflict with "one": '
                                                      ".spec.targetCPUUtilizationPercentage")


class EveryKind(Base):
    def test_the_schema_says_how_lists_are_merged(self):
        spec = self.admin.get("/openapi/v3/api/v1").json
        patch = spec["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"]
        self.assertIn("application/apply-patch+yaml", patch["requestBody"]["content"])
        pod = spec["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]
        self.assertEqual(pod["containers"]["x-kubernetes-list-type"], "map")
        self.assertEqual(pod["containers"]["x-kubernetes-list-map-keys"], ["name"])


if __name__ == "__main__":
    main()
