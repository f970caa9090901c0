#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Create, get, update, patch and delete: codes, reasons and what the server fills in."""

from server import ApiTest, main

POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}


def deployment(name, replicas=1):
    labels = {"app": name}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "busybox"}]},
            },
        },
    }


class Create(ApiTest):
    def test_the_server_fills_in_metadata(self):
        made = self.configmap("a", x="1")
        self.assertEqual(made["kind"], "ConfigMap")
        self.assertEqual(made["apiVersion"], "v1")
        self.assertEqual(made["metadata"]["namespace"], self.ns)
        self.assertRegex(made["metadata"]["uid"], "^[0-9a-f-]{36}$")
        self.assertRegex(made["metadata"]["creationTimestamp"], "^20..-..-..T..:..:..Z$")
        self.assertTrue(int(made["metadata"]["resourceVersion"]) > 0)
        self.assertEqual(self.admin.get(self.path("configmaps", "a")).json, made)

    def test_a_name_is_made_from_its_prefix(self):
        made = self.admin.post(self.path("configmaps"), {"metadata": {"generateName": "web-"}}).json
        self.assertRegex(made["metadata"]["name"], "^web-[bcdfghjklmnpqrstvwxz2456789]{5}$")

    def test_a_taken_name_is_refused(self):
        self.configmap("a")
        again = self.admin.post(self.path("configmaps"), {"metadata": {"name": "a"}})
        status = self.assertStatus(again, 409, "AlreadyExists", 'configmaps "a" already exists')
        self.assertEqual(status["details"]["name"], "a")

    def test_a_bad_name_is_invalid(self):
        answer = self.admin.post(self.path("configmaps"), {"metadata": {"name": "Bad_Name"}})
        status = self.assertStatus(answer, 422, "Invalid")
        self.assertEqual(status["details"]["causes"][0]["field"], "metadata.name")

    def test_a_missing_name_is_invalid(self):
        answer = self.admin.post(self.path("configmaps"), {})
        status = self.assertStatus(answer, 422, "Invalid")
        self.assertIn("name or generateName is required", status["message"])

    def test_another_namespace_in_the_body_is_refused(self):
        body = {"metadata": {"name": "a", "namespace": "other"}}
        self.assertStatus(
            self.admin.post(self.path("configmaps"), body), 400, "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request")

    def test_a_missing_namespace_is_not_found(self):
        answer = self.admin.post("/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "a"}})
        self.assertStatus(answer, 404, "NotFound", 'namespaces "nowhere" not found')

    def test_status_of_a_new_object_is_the_servers(self):
        body = dict(POD, status={"phase": "Running"})
        made = self.admin.post(self.path("pods"), body).json
        self.assertEqual(made["status"]["phase"], "Pending")

    def test_dry_run_writes_nothing(self):
        answer = self.admin.post(self.path("configmaps"), {"metadata": {"name": "a"}}, dryRun="All")
        self.assertEqual(answer.code, 201)
        self.assertNotIn("resourceVersion", answer.json["metadata"])
        self.assertEqual(self.admin.get(self.path("configmaps", "a")).code, 404)

    def test_broken_json_is_a_bad_request(self):
        self.assertStatus(self.admin.post(self.path("configmaps"), "{"), 400, "BadRequest")

    def test_another_kind_is_a_bad_request(self):
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}
        status = self.assertStatus(self.admin.post(self.path("configmaps"), body), 400, "BadRequest")
        self.assertEqual(status["message"], 'Secret in version "v1" cannot be handled as a ConfigMap: converting '
                                            "(v1.Secret) to (core.ConfigMap): unknown conversion")

    def test_another_version_is_a_bad_request(self):
        body = {"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}}
        self.assertStatus(
            self.admin.post(self.path("configmaps"), body), 400, "BadRequest",
            "the API version in the data (v2) does not match the expected API version (v1)")

    def test_a_wrong_type_names_its_field(self):
        body = {"metadata": {"name": "a"}, "data": {"x": 1}}
        status = self.assertStatus(self.admin.post(self.path("configmaps"), body), 400, "BadRequest")
        self.assertIn("cannot unmarshal number into Go struct field ConfigMap.data of type string",
                      status["message"])

    def test_an_unknown_field_warns(self):
        body = dict(deployment("a"))
        body["spec"]["foo"] = 1
        answer = self.admin.post(self.path("deployments", group="apps/v1"), body)
        self.assertEqual(answer.code, 201, answer.text)
        self.assertEqual(answer.headers["warning"], '299 - "unknown field \\"spec.foo\\""')
        self.assertNotIn("foo", answer.json["spec"])

    def test_an_unknown_field_is_refused_when_strict(self):
        body = dict(deployment("a"), apiVersion="apps/v1", kind="Deployment")
        body["spec"]["foo"] = 1
        answer = self.admin.post(self.path("deployments", group="apps/v1"), body, fieldValidation="Strict")
        self.assertStatus(
            answer, 400, "BadRequest",
            'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
            'unknown field "spec.foo"')

    def test_an_unknown_field_is_dropped_when_ignored(self):
        body = deployment("a")
        body["spec"]["foo"] = 1
        answer = self.admin.post(self.path("deployments", group="apps/v1"), body, fieldValidation="Ignore")
        self.assertEqual(answer.code, 201)
        self.assertIsNone(answer.headers["warning"])

    def test_a_body_in_yaml_is_taken(self):
        answer = self.admin.call("POST", self.path("configmaps"), "metadata:\n  name: in-yaml\ndata:\n  k: v\n",
                                 headers={"Content-Type": "application/yaml"})
        self.assertEqual(answer.code, 201, answer.text)
        self.assertEqual(answer.json["data"], {"k": "v"})

    def test_an_unknown_content_type_is_415(self):
        answer = self.admin.call("POST", self.path("configmaps"), "x", headers={"Content-Type": "text/plain"})
        self.assertStatus(answer, 415, "UnsupportedMediaType")

    def test_a_body_over_the_limit_is_413(self):
        answer = self.admin.post(self.path("configmaps"), "x" * (4 << 20))
        self.assertEqual(answer.code, 413)

    def test_admission_refuses_before_a_name_is_made_up(self):
        answer = self.admin.post(self.path("pods"), {"metadata": {"generateName": "web-"}, "spec": {
            "serviceAccountName": "ghost", "containers": [{"name": "c", "image": "i"}]}})
        self.assertStatus(answer, 403, "Forbidden",
                          'pods "web-" is forbidden: error looking up service account '
                          f'{self.ns}/ghost: serviceaccount "ghost" not found')

    def pod_of_class(self, name, **spec):
        spec = {"runtimeClassName": name, "containers": [{"name": "c", "image": "i"}], **spec}
        return self.admin.post(self.path("pods"), {"metadata": {"name": "p"}, "spec": spec})

    def test_a_pod_gets_what_its_runtime_class_says(self):
        toleration = {"key": "sandboxed", "operator": "Exists", "effect": "NoSchedule"}
        self.assertStatus(self.pod_of_class("apart"), 403, "Forbidden",
                          'pods "p" is forbidden: pod rejected: RuntimeClass "apart" not found')
        self.assertEqual(self.admin.post("/apis/node.k8s.io/v1/runtimeclasses", {
            "metadata": {"name": "apart"}, "handler": "runsc", "overhead": {"podFixed": {"memory": "64Mi"}},
            "scheduling": {"nodeSelector": {"example.org/kind": "big"}, "tolerations": [toleration]}}).code, 201)
        self.assertStatus(self.pod_of_class("apart", nodeSelector={"example.org/kind": "small"}), 403, "Forbidden",
                          'pods "p" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[example.org/kind] = '
                          "big; pod.spec.nodeSelector[example.org/kind] = small")
        self.assertStatus(self.pod_of_class("apart", overhead={"memory": "1Gi"}), 403, "Forbidden",
                          'pods "p" is forbidden: pod rejected: Pod\'s Overhead doesn\'t match RuntimeClass\'s '
                          "defined Overhead")
        spec = self.pod_of_class("apart", nodeSelector={"disk": "fast"}).json["spec"]
        self.assertEqual(spec["overhead"], {"memory": "64Mi"})
        self.assertEqual(spec["nodeSelector"], {"disk": "fast", "example.org/kind": "big"})
        self.assertIn(toleration, spec["tolerations"])


class Update(ApiTest):
    def test_a_stale_resource_version_conflicts(self):
        made = self.configmap("a", x="1")
        self.assertEqual(self.admin.put(self.path("configmaps", "a"), dict(made, data={"x": "2"})).code, 200)
        answer = self.admin.put(self.path("configmaps", "a"), dict(made, data={"x": "3"}))
        self.assertStatus(
            answer, 409, "Conflict",
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; please '
            "apply your changes to the latest version and try again")

    def test_without_a_resource_version_the_last_one_wins(self):
        self.configmap("a", x="1")
        body = {"metadata": {"name": "a"}, "data": {"x": "2"}}
        self.assertEqual(self.admin.put(self.path("configmaps", "a"), body).json["data"], {"x": "2"})

    def test_no_change_keeps_the_resource_version(self):
        made = self.configmap("a", x="1")
        same = self.admin.put(self.path("configmaps", "a"), made)
        self.assertEqual(same.code, 200)
        self.assertEqual(same.json, made)

    def test_identity_cannot_be_changed(self):
        made = self.configmap("a")
        made["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000"
        self.assertStatus(self.admin.put(self.path("configmaps", "a"), made), 409, "Conflict")
        made["metadata"]["name"] = "b"
        self.assertStatus(
            self.admin.put(self.path("configmaps", "a"), made), 400, "BadRequest",
            "the name of the object (b) does not match the name on the URL (a)")

    def test_most_kinds_are_not_created_by_put(self):
        answer = self.admin.put(self.path("configmaps", "a"), {"metadata": {"name": "a"}})
        self.assertStatus(answer, 404, "NotFound", 'configmaps "a" not found')

    def test_a_lease_is_created_by_put(self):
        path = self.path("leases", "a", "coordination.k8s.io/v1")
        self.assertEqual(self.admin.put(path, {"metadata": {"name": "a"}}).code, 201)

    def test_a_lease_needs_its_resource_version(self):
        path = self.path("leases", "a", "coordination.k8s.io/v1")
        self.admin.put(path, {"metadata": {"name": "a"}})
        status = self.assertStatus(self.admin.put(path, {"metadata": {"name": "a"}}), 422, "Invalid")
        self.assertEqual(status["details"]["causes"][0]["message"],
                         "Invalid value: 0x0: must be specified for an update")

    def test_generation_follows_the_spec(self):
        path = self.path("deployments", group="apps/v1")
        made = self.admin.post(path, deployment("a")).json
        self.assertEqual(made["metadata"]["generation"], 1)
        made["spec"]["replicas"] = 5
        made = self.admin.put(f"{path}/a", made).json
        self.assertEqual(made["metadata"]["generation"], 2)
        made["metadata"]["labels"] = {"x": "y"}
        self.assertEqual(self.admin.put(f"{path}/a", made).json["metadata"]["generation"], 2)

    def test_status_and_spec_are_written_apart(self):
        path = self.path("deployments", group="apps/v1")
        made = self.admin.post(path, deployment("a")).json
        both = dict(made, status={"replicas": 7})
        both["spec"] = dict(made["spec"], replicas=9)
        after = self.admin.put(f"{path}/a/status", both).json
        self.assertEqual(after["status"]["replicas"], 7)
        self.assertEqual(after["spec"]["replicas"], 1)
        self.assertEqual(after["metadata"]["generation"], 1)
        both["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"]
        both["status"] = {"replicas": 99}
        after = self.admin.put(f"{path}/a", both).json
        self.assertEqual((after["spec"]["replicas"], after["status"]["replicas"]), (9, 7))


class Patch(ApiTest):
    def test_json_patch(self):
        self.configmap("a", x="1")
        ops = [{"op": "test", "path": "/data/x", "value": "1"}, {"op": "add", "path": "/data/y", "value": "2"}]
        answer = self.admin.patch(self.path("configmaps", "a"), ops, "json-patch")
        self.assertEqual(answer.json["data"], {"x": "1", "y": "2"})

    def test_a_failed_test_of_a_json_patch_is_invalid(self):
        self.configmap("a", x="1")
        ops = [{"op": "test", "path": "/data/x", "value": "2"}]
        self.assertStatus(self.admin.patch(self.path("configmaps", "a"), ops, "json-patch"), 422, "Invalid")

    def test_merge_patch(self):
        self.configmap("a", x="1", y="2")
        answer = self.admin.patch(self.path("configmaps", "a"), {"data": {"x": None, "z": "3"}})
        self.assertEqual(answer.json["data"], {"y": "2", "z": "3"})

    def test_strategic_merge_joins_lists_by_key(self):
        self.admin.post(self.path("deployments", group="apps/v1"), deployment("a"))
        change = {"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "other"}]}}}}
        answer = self.admin.patch(self.path("deployments", "a", "apps/v1"), change, "strategic-merge-patch")
        self.assertEqual(answer.code, 200, answer.text)
        names = [c["name"] for c in answer.json["spec"]["template"]["spec"]["containers"]]
        self.assertEqual(sorted(names), ["c", "d"])

    def test_a_resource_version_in_a_patch_is_a_condition(self):
        self.configmap("a", x="1")
        patch = {"metadata": {"resourceVersion": "1"}, "data": {"x": "2"}}
        self.assertStatus(self.admin.patch(self.path("configmaps", "a"), patch), 409, "Conflict")

    def test_a_patch_that_cannot_be_read_says_so_in_upstreams_words(self):
        self.configmap("a")
        no_map = "json: cannot unmarshal string into Go value of type map[string]interface {}"
        for kind, text, message in (
            ("merge-patch", '"foo"', f"error decoding patch: {no_map}"),
            ("merge-patch", '{"data":', "error decoding patch: unexpected end of JSON input"),
            ("strategic-merge-patch", '"foo"', no_map),
            ("strategic-merge-patch", '{"data":', "unexpected end of JSON input"),
            ("json-patch", '{}', "error decoding patch: json: cannot unmarshal object into Go value of type "
                                 "[]handlers.jsonPatchOp"),
        ):
            with self.subTest(kind=kind, text=text):
                answer = self.admin.patch(self.path("configmaps", "a"), text, kind)
                self.assertStatus(answer, 400, "BadRequest", message)

    def test_an_unknown_patch_type_is_415(self):
        self.configmap("a")
        answer = self.admin.patch(self.path("configmaps", "a"), {}, "strange-patch")
        self.assertStatus(answer, 415, "UnsupportedMediaType")

    def test_scale(self):
        self.admin.post(self.path("deployments", group="apps/v1"), deployment("a"))
        path = self.path("deployments", "a", "apps/v1")
        scale = self.admin.get(f"{path}/scale").json
        self.assertEqual((scale["kind"], scale["spec"]["replicas"]), ("Scale", 1))
        self.assertEqual(scale["status"]["selector"], "app=a")
        self.assertEqual(self.admin.patch(f"{path}/scale", {"spec": {"replicas": 4}}).json["spec"]["replicas"], 4)
        scale["spec"]["replicas"] = 6
        self.assertStatus(self.admin.put(f"{path}/scale", scale), 409, "Conflict")
        scale["metadata"]["resourceVersion"] = ""
        self.assertEqual(self.admin.put(f"{path}/scale", scale).json["spec"]["replicas"], 6)
        made = self.admin.get(path).json
        self.assertEqual((made["spec"]["replicas"], made["metadata"]["generation"]), (6, 3))


class Delete(ApiTest):
    def test_a_grace_that_is_no_number_is_refused(self):
        self.configmap("a")
        self.assertStatus(self.admin.delete(self.path("configmaps", "a"), gracePeriodSeconds="x"), 400,
                          "BadRequest", 'strconv.ParseInt: parsing "x": invalid syntax')

    def test_an_object_goes_at_once(self):
        made = self.configmap("a")
        answer = self.admin.delete(self.path("configmaps", "a"))
        self.assertEqual(answer.code, 200)
        self.assertEqual(answer.json["status"], "Success")
        self.assertEqual(answer.json["details"],
                         {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]})
        self.assertStatus(self.admin.get(self.path("configmaps", "a")), 404, "NotFound")

    def test_a_finalizer_holds_it(self):
        body = {"metadata": {"name": "a", "finalizers": ["example.com/x"]}}
        self.admin.post(self.path("configmaps"), body)
        held = self.admin.delete(self.path("configmaps", "a")).json
        self.assertIn("deletionTimestamp", held["metadata"])
        self.assertEqual(held["metadata"]["deletionGracePeriodSeconds"], 0)
        gone = self.admin.patch(self.path("configmaps", "a"), {"metadata": {"finalizers": None}})
        self.assertEqual(gone.code, 200)
        self.assertEqual(self.admin.get(self.path("configmaps", "a")).code, 404)

    def test_no_finalizer_can_be_added_to_what_is_being_deleted(self):
        body = {"metadata": {"name": "a", "finalizers": ["example.com/x"]}}
        self.admin.post(self.path("configmaps"), body)
        self.admin.delete(self.path("configmaps", "a"))
        more = {"metadata": {"finalizers": ["example.com/x", "example.com/y"]}}
        self.assertStatus(self.admin.patch(self.path("configmaps", "a"), more), 422, "Invalid")

    def test_propagation_becomes_a_finalizer(self):
        path = self.path("deployments", group="apps/v1")
        for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
            self.admin.post(path, deployment(policy.lower()))
            held = self.admin.delete(f"{path}/{policy.lower()}", {"propagationPolicy": policy}).json
            self.assertEqual(held["metadata"]["finalizers"], [finalizer])

    def test_preconditions(self):
        self.configmap("a")
        answer = self.admin.delete(self.path("configmaps", "a"), {"preconditions": {"uid": "other"}})
        status = self.assertStatus(answer, 409, "Conflict")
        self.assertIn("Precondition failed: UID in precondition: other", status["message"])

    def test_dry_run_deletes_nothing(self):
        self.configmap("a")
        self.assertEqual(self.admin.delete(self.path("configmaps", "a"), dryRun="All").code, 200)
        self.assertEqual(self.admin.get(self.path("configmaps", "a")).code, 200)

    def test_a_pod_without_a_node_goes_at_once(self):
        self.admin.post(self.path("pods"), POD)
        self.assertEqual(self.admin.delete(self.path("pods", "p")).json["kind"], "Pod")
        self.assertEqual(self.admin.get(self.path("pods", "p")).code, 404)

    def test_a_pod_on_a_node_gets_its_grace(self):
        self.admin.post(self.path("pods"), POD)
        binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
        self.assertEqual(self.admin.post(self.path("pods", "p") + "/binding", binding).code, 201)
        held = self.admin.delete(self.path("pods", "p")).json
        self.assertEqual(held["metadata"]["deletionGracePeriodSeconds"], 30)
        shorter = self.admin.delete(self.path("pods", "p"), {"gracePeriodSeconds": 5}).json
        self.assertEqual(shorter["metadata"]["deletionGracePeriodSeconds"], 5)
        longer = self.admin.delete(self.path("pods", "p"), {"gracePeriodSeconds": 50}).json
        self.assertEqual(longer["metadata"]["deletionGracePeriodSeconds"], 5)
        self.admin.delete(self.path("pods", "p"), gracePeriodSeconds="0")
        self.assertEqual(self.admin.get(self.path("pods", "p")).code, 404)

    def test_a_collection_by_label(self):
        for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
            self.admin.post(self.path("configmaps"), {"metadata": {"name": name, "labels": {"l": label}}})
        answer = self.admin.delete(self.path("configmaps"), labelSelector="l=x")
        self.assertEqual(answer.code, 200, answer.text)
        left = [i["metadata"]["name"] for i in self.admin.get(self.path("configmaps")).json["items"]]
        self.assertEqual(left, ["c"])

    def test_a_namespace_waits_for_its_finalizer(self):
        held = self.admin.delete(f"/api/v1/namespaces/{self.ns}").json
        self.assertEqual(held["status"]["phase"], "Terminating")
        refused = self.admin.post(self.path("configmaps"), {"metadata": {"name": "a"}})
        self.assertStatus(refused, 403, "Forbidden")
        held["spec"]["finalizers"] = []
        self.assertEqual(self.admin.put(f"/api/v1/namespaces/{self.ns}/finalize", held).code, 200)
        self.assertEqual(self.admin.get(f"/api/v1/namespaces/{self.ns}").code, 404)


class Bind(ApiTest):
    def test_a_pod_is_bound_once(self):
        self.admin.post(self.path("pods"), POD)
        binding = {"metadata": {"name": "p", "annotations": {"a": "b"}}, "target": {"kind": "Node", "name": "n"}}
        self.assertEqual(self.admin.post(self.path("pods", "p") + "/binding", binding).code, 201)
        pod = self.admin.get(self.path("pods", "p")).json
        self.assertEqual(pod["spec"]["nodeName"], "n")
        self.assertEqual(pod["metadata"]["annotations"], {"a": "b"})
        self.assertEqual([(c["type"], c["status"]) for c in pod["status"]["conditions"]], [("PodScheduled", "True")])
        again = self.admin.post(self.path("pods", "p") + "/binding", binding)
        self.assertStatus(again, 409, "Conflict")

    def test_a_refused_eviction_says_why_and_gives_no_time_to_repeat_it(self):
        self.admin.post(self.path("pods"), {
            "metadata": {"name": "q", "labels": {"guarded": "yes"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "x"}]}})
        ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        self.admin.patch(self.path("pods", "q") + "/status", ready)
        budgets = self.path("poddisruptionbudgets", group="policy/v1")
        self.admin.post(budgets, {"metadata": {"name": "b"}, "spec": {
            "minAvailable": 1, "selector": {"matchLabels": {"guarded": "yes"}}}})
        counted = {"status": {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1,
                              "desiredHealthy": 1, "expectedPods": 1}}
        self.admin.patch(budgets + "/b/status", counted)
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "q"}}
        answer = self.admin.post(self.path("pods", "q") + "/eviction", body)
        self.assertEqual(answer.code, 429)
        self.assertIsNone(answer.headers["Retry-After"])
        self.assertEqual(answer.json["message"], "Cannot evict pod as it would violate the pod's disruption budget.")
        self.assertEqual(answer.json["details"]["causes"], [{
            "reason": "DisruptionBudget",
            "message": "The disruption budget b needs 1 healthy pods and has 1 currently"}])

    def test_eviction_deletes_a_pod(self):
        self.admin.post(self.path("pods"), POD)
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
        answer = self.admin.post(self.path("pods", "p") + "/eviction", body)
        self.assertEqual(answer.code, 201, answer.text)
        self.assertEqual(self.admin.get(self.path("pods", "p")).code, 404)


class Durability(ApiTest):
    def test_what_was_acknowledged_is_there_after_a_restart(self):
        made = self.configmap("a", x="1")
        self.stop()
        self.start()
        self.assertEqual(self.admin.get(self.path("configmaps", "a")).json, made)


if __name__ == "__main__":
    main()
