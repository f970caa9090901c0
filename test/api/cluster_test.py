#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control plane as a whole: what controllers make of what clients write."""
import time

from server import ApiTest, main

WAIT_SECONDS = 120
LABELS = {"app": "web"}


def deployment(replicas=2, image="busybox"):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": LABELS},
                     "template": {"metadata": {"labels": LABELS},
                                  "spec": {"containers": [{"name": "c", "image": image}]}}}}


class Cluster(ApiTest):
    part = "server"

    def until(self, what, condition):
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        self.fail(f"not in {WAIT_SECONDS} s: {what}")

    def items(self, plural, group="", **query):
        return self.admin.get(self.path(plural, group=group), **query).json["items"]

    def deploy(self, replicas=2):
        path = self.path("deployments", group="apps/v1")
        self.until("the default service account", lambda: self.admin.get(self.path("serviceaccounts", "default")).code == 200)
        self.assertEqual(self.admin.post(path, deployment(replicas)).code, 201)
        self.until("pods", lambda: len(self.items("pods")) == replicas)
        return path + "/web"

    def test_a_namespace_gets_its_account_and_its_root(self):
        self.until("the account", lambda: self.admin.get(self.path("serviceaccounts", "default")).code == 200)
        root = self.until("the root", lambda: self.admin.get(self.path("configmaps", "kube-root-ca.crt")).json.get("data"))
        self.assertIn("BEGIN CERTIFICATE", root["ca.crt"])

    def test_a_namespace_goes_with_all_it_holds(self):
        self.deploy()
        self.configmap("c")
        answer = self.admin.delete(f"/api/v1/namespaces/{self.ns}")
        self.assertEqual(answer.code, 200)
        self.assertEqual(answer.json["status"]["phase"], "Terminating")
        late = self.admin.post(self.path("configmaps"), {"metadata": {"name": "late"}})
        if late.code != 404:
            status = self.assertStatus(late, 403, "Forbidden")
            self.assertIn("because it is being terminated", status["message"])
            self.assertEqual(status["details"]["causes"][0]["reason"], "NamespaceTerminating")
        self.until("the end", lambda: self.admin.get(f"/api/v1/namespaces/{self.ns}").code == 404)
        for plural in ("pods", "configmaps", "serviceaccounts"):
            self.assertEqual(self.items(plural), [])

    def test_the_first_namespaces_cannot_be_deleted(self):
        answer = self.admin.delete("/api/v1/namespaces/kube-system")
        self.assertStatus(answer, 403, "Forbidden",
                          'namespaces "kube-system" is forbidden: this namespace may not be deleted')

    def test_a_deployment_makes_pods_that_belong_to_it(self):
        self.deploy()
        sets = self.items("replicasets", "apps/v1")
        self.assertEqual(len(sets), 1)
        self.assertEqual(sets[0]["metadata"]["ownerReferences"][0]["kind"], "Deployment")
        for pod in self.items("pods"):
            owner = pod["metadata"]["ownerReferences"][0]
            self.assertEqual((owner["kind"], owner["uid"]), ("ReplicaSet", sets[0]["metadata"]["uid"]))
            self.assertEqual(pod["spec"]["serviceAccountName"], "default")
            self.assertTrue(any("projected" in v for v in pod["spec"]["volumes"]))

    def test_scale_changes_the_pods(self):
        path = self.deploy()
        for replicas in (4, 1):
            self.assertEqual(self.admin.patch(path + "/scale", {"spec": {"replicas": replicas}}).code, 200)
            self.until(f"{replicas} pods", lambda: len(self.items("pods")) == replicas)

    def test_status_tells_what_generation_was_seen(self):
        path = self.deploy()
        generation = self.admin.patch(path, {"spec": {"replicas": 3}}).json["metadata"]["generation"]
        self.until("the status",
                   lambda: self.admin.get(path).json["status"].get("observedGeneration") == generation)

    def test_background_deletes_dependents_after(self):
        path = self.deploy()
        self.assertEqual(self.admin.delete(path).code, 200)
        self.until("no pods", lambda: not self.items("pods") and not self.items("replicasets", "apps/v1"))

    def test_foreground_deletes_dependents_before(self):
        path = self.deploy()
        answer = self.admin.delete(path, propagationPolicy="Foreground")
        self.assertEqual(answer.json["metadata"]["finalizers"], ["foregroundDeletion"])
        self.until("the end", lambda: self.admin.get(path).code == 404)
        self.assertEqual(self.items("pods"), [])

    def test_orphan_leaves_dependents(self):
        path = self.deploy()
        self.admin.delete(path, propagationPolicy="Orphan")
        self.until("the end", lambda: self.admin.get(path).code == 404)
        sets = self.items("replicasets", "apps/v1")
        self.assertEqual([s["metadata"].get("ownerReferences") for s in sets], [None])
        self.assertEqual(len(self.items("pods")), 2)

    def test_a_service_gets_endpoints(self):
        body = {"metadata": {"name": "web"}, "spec": {"selector": LABELS, "ports": [{"port": 80}]}}
        self.assertEqual(self.admin.post(self.path("services"), body).code, 201)
        path = self.path("endpointslices", group="discovery.k8s.io/v1")
        self.until("a slice", lambda: self.admin.get(path, labelSelector="kubernetes.io/service-name=web").json["items"])
        self.until("endpoints", lambda: self.admin.get(self.path("endpoints", "web")).code == 200)
        self.admin.delete(self.path("services", "web"))
        self.until("no slices", lambda: not self.admin.get(path).json["items"])

    def test_events_tell_what_was_done(self):
        self.deploy()
        self.until("events", lambda: {"ScalingReplicaSet", "SuccessfulCreate"} <=
                   {e["reason"] for e in self.items("events")})


class KubernetesService(ApiTest):
    """The objects that lead pods to the API servers come back by themselves."""

    part = "server"
    flags = ["--advertise-address", "192.0.2.7"]

    def deleted_comes_back(self, path, field):
        before = self.admin.get(f"{path}/kubernetes").json
        version = before["metadata"]["resourceVersion"]
        with self.admin.watch(path, resourceVersion=version, fieldSelector="metadata.name=kubernetes") as watch:
            self.assertEqual(self.admin.delete(f"{path}/kubernetes").code, 200)
            gone, made = watch.take(2)
        self.assertEqual((gone["type"], made["type"]), ("DELETED", "ADDED"))
        self.assertEqual(made["object"][field], before[field])
        self.assertNotEqual(made["object"]["metadata"]["uid"], before["metadata"]["uid"])

    def test_the_service(self):
        self.deleted_comes_back("/api/v1/namespaces/default/services", "spec")

    def test_the_endpoints(self):
        self.deleted_comes_back("/api/v1/namespaces/default/endpoints", "subsets")

    def test_the_endpoint_slice(self):
        self.deleted_comes_back("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", "endpoints")


if __name__ == "__main__":
    main()
