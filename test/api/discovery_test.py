#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a client learns before its first request: groups, resources, OpenAPI, version."""
import json
import os
import unittest

from server import TOP, ApiTest, main

FACTS = os.path.join(os.path.dirname(TOP), "shared", "facts", "discovery.json")
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def served():
    """(path of the group version, its resources) from the reference facts."""
    with open(FACTS) as f:
        for group in json.load(f)["groups"]:
            for version in group["versions"]:
                if version["servedByDefault"]:
                    yield ("/apis/" if group["group"] else "/api/") + version["groupVersion"], version["resources"]


def wanted_resource(fact):
    out = {"singularName": fact["singular"], "namespaced": fact["namespaced"], "kind": fact["kind"],
           "verbs": sorted(fact["verbs"])}
    out.update({k: fact[k] for k in ("shortNames", "categories", "storageVersionHash") if k in fact})
    return out


def wanted_subresource(fact, parent):
    out = {"singularName": "", "namespaced": parent["namespaced"], "kind": fact["kind"],
           "verbs": sorted(fact["verbs"])}
    out.update({k: fact[f] for k, f in (("group", "responseGroup"), ("version", "responseVersion")) if f in fact})
    return out


class Discovery(ApiTest):
    @unittest.skipUnless(os.path.exists(FACTS), "no reference facts on this machine")
    def test_every_resource_is_what_the_reference_says(self):
        for path, resources in served():
            wanted = {}
            for fact in resources:
                wanted[fact["resource"]] = wanted_resource(fact)
                for sub in fact.get("subresources", []):
                    name = sub.get("subresource") or sub["name"]
                    wanted[f"{fact['resource']}/{name}"] = wanted_subresource(sub, fact)
            answer = self.admin.get(path)
            self.assertEqual(answer.code, 200, path)
            found = {r.pop("name"): dict(r, verbs=sorted(r["verbs"])) for r in answer.json["resources"]}
            self.assertEqual(found, wanted, path)

    def test_groups_name_their_preferred_version(self):
        answer = self.admin.get("/apis").json
        self.assertEqual(answer["kind"], "APIGroupList")
        groups = {g["name"]: g for g in answer["groups"]}
        self.assertEqual(groups["autoscaling"]["preferredVersion"]["groupVersion"], "autoscaling/v2")
        self.assertEqual([v["version"] for v in groups["autoscaling"]["versions"]], ["v2", "v1"])
        for name, group in groups.items():
            self.assertEqual(self.admin.get(f"/apis/{name}").json["preferredVersion"], group["preferredVersion"])

    def test_core_lists_its_version(self):
        answer = self.admin.get("/api").json
        self.assertEqual((answer["kind"], answer["versions"]), ("APIVersions", ["v1"]))

    def test_aggregated_says_the_same_in_one_answer(self):
        for path in ("/api", "/apis"):
            answer = self.admin.call("GET", path, headers={"Accept": AGGREGATED})
            self.assertIn("as=APIGroupDiscoveryList", answer.headers["content-type"])
            self.assertEqual(answer.json["kind"], "APIGroupDiscoveryList")
            for group in answer.json["items"]:
                name = group["metadata"].get("name", "")
                for version in group["versions"]:
                    prefix = f"/apis/{name}" if name else "/api"
                    legacy = self.admin.get(f"{prefix}/{version['version']}").json["resources"]
                    wanted = {r["name"]: sorted(r["verbs"]) for r in legacy}
                    found = {}
                    for r in version["resources"]:
                        if r.get("verbs"):
                            found[r["resource"]] = sorted(r["verbs"])
                        for s in r.get("subresources", []):
                            found[f"{r['resource']}/{s['subresource']}"] = sorted(s["verbs"])
                    self.assertEqual(found, wanted, f"{name}/{version['version']}")

    def test_aggregated_discovery_has_an_etag(self):
        answer = self.admin.call("GET", "/apis", headers={"Accept": AGGREGATED})
        self.assertTrue(answer.headers["etag"])
        again = self.admin.call("GET", "/apis", headers={"Accept": AGGREGATED, "If-None-Match": answer.headers["etag"]})
        self.assertEqual(again.code, 304)

    def test_version(self):
        version = self.admin.get("/version").json
        self.assertEqual((version["major"], version["minor"]), ("1", "36"))
        self.assertRegex(version["gitVersion"], r"^v1\.36\.")

    def test_paths_are_listed(self):
        paths = self.admin.get("/").json["paths"]
        for path in ("/api/v1", "/apis/apps/v1", "/healthz", "/metrics", "/openapi/v2", "/version"):
            self.assertIn(path, paths)


class OpenApi(ApiTest):
    def test_version_3_has_a_document_for_each_group_version(self):
        index = self.admin.get("/openapi/v3").json["paths"]
        for path in ("api/v1", "apis/apps/v1", "apis/autoscaling/v2", "apis/rbac.authorization.k8s.io/v1"):
            document = self.admin.get(index[path]["serverRelativeURL"]).json
            self.assertEqual(document["openapi"], "3.0.0")
            self.assertIn("info", document)
            self.assertTrue(document["paths"])

    def resolve(self, document, at):
        """Every reference below AT leads somewhere."""
        if isinstance(at, dict):
            if isinstance(at.get("$ref"), str):
                target = document
                for part in at["$ref"].lstrip("#/").split("/"):
                    self.assertIn(part, target, at["$ref"])
                    target = target[part]
            for value in at.values():
                self.resolve(document, value)
        elif isinstance(at, list):
            for value in at:
                self.resolve(document, value)

    def test_every_reference_leads_somewhere(self):
        index = self.admin.get("/openapi/v3").json["paths"]
        for entry in index.values():
            document = self.admin.get(entry["serverRelativeURL"]).json
            self.resolve(document, document)
        document = self.admin.get("/openapi/v2").json
        self.resolve(document, document)

    def test_kubectl_learns_what_patch_takes(self):
        document = self.admin.get("/openapi/v3/apis/apps/v1").json
        patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
        self.assertEqual(patch["x-kubernetes-group-version-kind"],
                         {"group": "apps", "version": "v1", "kind": "Deployment"})
        parameters = {p["name"] for p in patch["parameters"]}
        self.assertLessEqual({"dryRun", "fieldManager", "fieldValidation", "force"}, parameters)

    def test_merge_keys_and_kinds_are_told(self):
        document = self.admin.get("/openapi/v3/apis/apps/v1").json
        schemas = document["components"]["schemas"]
        containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
        self.assertEqual(containers["x-kubernetes-patch-merge-key"], "name")
        self.assertEqual(containers["x-kubernetes-patch-strategy"], "merge")
        self.assertEqual(containers["x-kubernetes-list-map-keys"], ["name"])
        self.assertEqual(schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"],
                         [{"group": "apps", "version": "v1", "kind": "Deployment"}])

    def test_version_2_has_definitions(self):
        document = self.admin.get("/openapi/v2").json
        self.assertEqual(document["swagger"], "2.0")
        self.assertIn("io.k8s.api.core.v1.Pod", document["definitions"])
        self.assertIn("/api/v1/namespaces/{namespace}/pods", document["paths"])

    def test_version_2_is_served_in_protobuf(self):
        accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        connection = self.admin.connect()
        connection.request("GET", "/openapi/v2", headers={"Accept": accept})
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        self.assertIn("protobuf", response.headers["content-type"])
        self.assertEqual(response.read()[:1], b"\x0a")  # the first field: swagger
        connection.close()

    def test_a_document_that_is_known_is_not_sent_again(self):
        answer = self.admin.get("/openapi/v3/api/v1")
        again = self.admin.call("GET", "/openapi/v3/api/v1", headers={"If-None-Match": answer.headers["etag"]})
        self.assertEqual((again.code, again.text), (304, ""))


if __name__ == "__main__":
    main()
