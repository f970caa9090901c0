#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists and watches: pages, selectors, revisions, order, bookmarks."""
import base64
import gzip
import http.client
import json
import time

from server import ApiTest, main


class Lists(ApiTest):
    def make(self, *names):
        for name in names:
            self.configmap(name)

    def names(self, answer):
        self.assertEqual(answer.code, 200, answer.text)
        return [i["metadata"]["name"] for i in answer.json["items"]]

    def test_in_order_with_a_resource_version(self):
        self.make("b", "a", "c")
        answer = self.admin.get(self.path("configmaps"))
        self.assertEqual(self.names(answer), ["a", "b", "c"])
        self.assertEqual(answer.json["kind"], "ConfigMapList")
        newest = max(int(i["metadata"]["resourceVersion"]) for i in answer.json["items"])
        self.assertGreaterEqual(int(answer.json["metadata"]["resourceVersion"]), newest)

    def test_pages_show_one_state(self):
        self.make("a", "b", "c", "d", "e")
        first = self.admin.get(self.path("configmaps"), limit=2)
        self.assertEqual(self.names(first), ["a", "b"])
        self.assertEqual(first.json["metadata"]["remainingItemCount"], 3)
        self.admin.delete(self.path("configmaps", "c"))
        self.make("cc")
        token = first.json["metadata"]["continue"]
        second = self.admin.get(self.path("configmaps"), **{"limit": 2, "continue": token})
        self.assertEqual(self.names(second), ["c", "d"])
        self.assertEqual(second.json["metadata"]["resourceVersion"], first.json["metadata"]["resourceVersion"])
        last = self.admin.get(self.path("configmaps"), **{"continue": second.json["metadata"]["continue"]})
        self.assertEqual(self.names(last), ["e"])
        self.assertNotIn("continue", last.json["metadata"])

    def test_a_page_may_go_on_inconsistently(self):
        self.make("a", "b", "c")
        text = json.dumps({"v": "meta.k8s.io/v1", "rv": -1, "start": "a\0"})
        token = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        answer = self.admin.get(self.path("configmaps"), **{"continue": token})
        self.assertEqual(self.names(answer), ["b", "c"])

    def test_a_broken_continue_token_is_refused(self):
        self.assertStatus(self.admin.get(self.path("configmaps"), **{"continue": "x"}), 400, "BadRequest")

    def test_label_selectors(self):
        for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {})):
            self.admin.post(self.path("configmaps"), {"metadata": {"name": name, "labels": labels}})
        for selector, wanted in (("x=1", ["a"]), ("x", ["a", "b"]), ("!x", ["c"]), ("x in (1,2)", ["a", "b"]),
                                 ("x!=1", ["b", "c"])):
            self.assertEqual(self.names(self.admin.get(self.path("configmaps"), labelSelector=selector)), wanted)
        self.assertStatus(self.admin.get(self.path("configmaps"), labelSelector="x in"), 400, "BadRequest")

    def test_field_selectors(self):
        self.make("a", "b")
        answer = self.admin.get(self.path("configmaps"), fieldSelector="metadata.name=b")
        self.assertEqual(self.names(answer), ["b"])
        answer = self.admin.get("/api/v1/configmaps", fieldSelector=f"metadata.namespace={self.ns}")
        self.assertEqual(self.names(answer), ["a", "b"])
        answer = self.admin.get(self.path("configmaps"), fieldSelector="data.x=1")
        self.assertStatus(answer, 400, "BadRequest")

    def test_a_selector_and_a_limit_page_together(self):
        for name in "abcdef":
            self.admin.post(self.path("configmaps"), {"metadata": {"name": name, "labels": {"odd": str(ord(name) % 2)}}})
        first = self.admin.get(self.path("configmaps"), labelSelector="odd=1", limit=2)
        self.assertEqual(self.names(first), ["a", "c"])
        self.assertNotIn("remainingItemCount", first.json["metadata"])
        rest = self.admin.get(self.path("configmaps"),
                              **{"labelSelector": "odd=1", "continue": first.json["metadata"]["continue"]})
        self.assertEqual(self.names(rest), ["e"])

    def test_an_exact_revision(self):
        self.make("a")
        revision = self.admin.get(self.path("configmaps")).json["metadata"]["resourceVersion"]
        self.make("b")
        answer = self.admin.get(self.path("configmaps"), resourceVersion=revision, resourceVersionMatch="Exact")
        self.assertEqual(self.names(answer), ["a"])
        answer = self.admin.get(self.path("configmaps"), resourceVersion="0")
        self.assertEqual(self.names(answer), ["a", "b"])

    def test_a_revision_of_the_future_times_out(self):
        answer = self.admin.get(self.path("configmaps"), resourceVersion="999999999")
        self.assertStatus(answer, 504, "Timeout")

    def test_a_match_needs_a_revision(self):
        answer = self.admin.get(self.path("configmaps"), resourceVersionMatch="Exact")
        self.assertStatus(answer, 422, "Invalid")

    def test_as_a_table(self):
        self.make("a")
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        table = self.admin.get(self.path("configmaps"), headers={"Accept": accept}).json
        self.assertEqual(table["kind"], "Table")
        self.assertEqual(table["columnDefinitions"][0]["name"], "Name")
        self.assertEqual(table["rows"][0]["cells"][0], "a")
        self.assertEqual(table["rows"][0]["object"]["kind"], "PartialObjectMetadata")

    def test_as_metadata_only(self):
        self.configmap("a", x="1")
        accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        answer = self.admin.get(self.path("configmaps"), headers={"Accept": accept}).json
        self.assertEqual(answer["kind"], "PartialObjectMetadataList")
        self.assertNotIn("data", answer["items"][0])

    def test_as_yaml(self):
        self.configmap("a", x="1")
        answer = self.admin.get(self.path("configmaps", "a"), headers={"Accept": "application/yaml"})
        self.assertEqual(answer.headers["content-type"], "application/yaml")
        self.assertIn("kind: ConfigMap\n", answer.text)

    def test_json_is_served_where_protobuf_is_preferred(self):
        accept = "application/vnd.kubernetes.protobuf,application/json"
        self.assertEqual(self.admin.get(self.path("configmaps"), headers={"Accept": accept}).code, 200)

    def test_nothing_acceptable_is_406(self):
        answer = self.admin.get(self.path("configmaps"), headers={"Accept": "text/html"})
        self.assertStatus(answer, 406, "NotAcceptable")


class Watches(ApiTest):
    def watch(self, plural="configmaps", **query):
        return self.admin.watch(self.path(plural), **query)

    def shape(self, events):
        return [(e["type"], e["object"]["metadata"]["name"]) for e in events]

    def test_what_exists_then_what_happens(self):
        self.configmap("a")
        with self.watch() as w:
            self.assertEqual(self.shape(w.take(1)), [("ADDED", "a")])
            self.configmap("b")
            self.admin.patch(self.path("configmaps", "b"), {"data": {"x": "1"}})
            self.admin.delete(self.path("configmaps", "b"))
            events = w.take(3)
            self.assertEqual(self.shape(events), [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")])
            versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
            self.assertEqual(versions, sorted(set(versions)))

    def test_from_a_revision(self):
        revision = self.configmap("a")["metadata"]["resourceVersion"]
        self.configmap("b")
        self.admin.delete(self.path("configmaps", "a"))
        with self.watch(resourceVersion=revision) as w:
            self.assertEqual(self.shape(w.take(2)), [("ADDED", "b"), ("DELETED", "a")])

    def test_leaving_a_selection_is_a_delete(self):
        with self.watch(labelSelector="x=1") as w:
            self.configmap("a")
            self.admin.patch(self.path("configmaps", "a"), {"metadata": {"labels": {"x": "1"}}})
            self.admin.patch(self.path("configmaps", "a"), {"data": {"k": "v"}})
            left = self.admin.patch(self.path("configmaps", "a"), {"metadata": {"labels": {"x": "2"}}}).json
            events = w.take(3)
            self.assertEqual(self.shape(events), [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")])
            gone = events[2]["object"]["metadata"]
            self.assertEqual(gone["labels"], {"x": "1"})
            self.assertEqual(gone["resourceVersion"], left["metadata"]["resourceVersion"])

    def test_one_object_by_name(self):
        with self.watch(fieldSelector="metadata.name=b") as w:
            self.configmap("a")
            self.configmap("b")
            self.assertEqual(self.shape(w.take(1)), [("ADDED", "b")])

    def test_initial_events_end_with_a_bookmark(self):
        self.configmap("a")
        with self.watch(sendInitialEvents="true", resourceVersionMatch="NotOlderThan",
                        allowWatchBookmarks="true") as w:
            self.assertEqual(self.shape(w.take(1)), [("ADDED", "a")])
            mark = w.next()
            self.assertEqual(mark["type"], "BOOKMARK")
            self.assertEqual(mark["object"]["metadata"]["annotations"], {"k8s.io/initial-events-end": "true"})
            self.assertEqual(mark["object"]["kind"], "ConfigMap")

    def test_too_old_a_revision_is_told_as_an_event(self):
        # A server keeps what happened while it runs; after a start it begins anew.
        self.configmap("a")
        self.stop()
        self.start()
        with self.watch(resourceVersion="1") as w:
            self.assertEqual(w.code, 200)
            event = w.next()
            self.assertEqual(event["type"], "ERROR")
            self.assertEqual((event["object"]["code"], event["object"]["reason"]), (410, "Expired"))
            self.assertRegex(event["object"]["message"], r"^too old resource version: 1 \(\d+\)$")
            self.assertIsNone(w.next())

    def test_it_ends_after_its_time(self):
        with self.watch(timeoutSeconds="1", allowWatchBookmarks="true") as w:
            self.assertEqual(w.next()["type"], "BOOKMARK")
            self.assertIsNone(w.next())

    def test_as_a_table_the_columns_come_once(self):
        self.configmap("a")
        with self.watch(accept="application/json;as=Table;v=v1;g=meta.k8s.io") as w:
            self.configmap("b")
            first, second = w.take(2)
            self.assertEqual(first["object"]["columnDefinitions"][0]["name"], "Name")
            self.assertIsNone(second["object"]["columnDefinitions"])
            self.assertEqual(second["object"]["rows"][0]["cells"][0], "b")

    def test_a_resumed_table_keeps_its_order(self):
        revision = self.configmap("a")["metadata"]["resourceVersion"]
        for name in "bcd":
            self.configmap(name)
        with self.watch(resourceVersion=revision, accept="application/json;as=Table;v=v1;g=meta.k8s.io") as w:
            rows = [e["object"]["rows"][0]["cells"][0] for e in w.take(3)]
            self.assertEqual(rows, ["b", "c", "d"])

    def test_leaving_a_selection_is_told_on_resuming(self):
        revision = self.configmap("a")["metadata"]["resourceVersion"]
        self.admin.patch(self.path("configmaps", "a"), {"metadata": {"labels": {"x": "1"}}})
        self.admin.patch(self.path("configmaps", "a"), {"metadata": {"labels": None}})
        with self.watch(resourceVersion=revision, labelSelector="x=1") as w:
            self.assertEqual(self.shape(w.take(2)), [("ADDED", "a"), ("DELETED", "a")])

    def test_many_watchers_see_the_same(self):
        watches = [self.watch() for _ in range(20)]
        for i in range(10):
            self.configmap(f"m{i}")
        wanted = [("ADDED", f"m{i}") for i in range(10)]
        for w in watches:
            self.assertEqual(self.shape(w.take(10)), wanted)
            w.close()

    def test_one_that_does_not_read_is_closed_and_the_others_see_everything(self):
        changes = 100  # of 1 MB: more than the sockets and WATCH_QUEUED_BYTES_MAX take
        revision = self.configmap("a", big="x" * 1000000)["metadata"]["resourceVersion"]
        with self.watch(resourceVersion=revision) as slow, self.watch(resourceVersion=revision) as fast:
            for i in range(changes):
                self.admin.patch(self.path("configmaps", "a"), {"data": {"i": str(i)}})
                self.assertEqual(fast.next()["object"]["data"]["i"], str(i))
            seen = []
            try:
                while (event := slow.next()):
                    seen.append(event["object"]["data"]["i"])
            except (OSError, ValueError, http.client.HTTPException):
                pass  # cut off in the middle of an event
            self.assertEqual(seen, [str(i) for i in range(len(seen))])
            self.assertLess(len(seen), changes)


class Errors(ApiTest):
    def test_unknown_paths(self):
        self.assertEqual(self.admin.get("/nothing").text, "404 page not found\n")
        self.assertStatus(self.admin.get("/api/v1/nothings"), 404, "NotFound",
                          "the server could not find the requested resource")

    def test_a_method_that_is_not_served(self):
        self.assertStatus(self.admin.put("/api/v1/pods", {}), 405, "MethodNotAllowed",
                          "the server does not allow this method on the requested resource")

    def test_nobody_may_read_health_and_version_only(self):
        nobody = self.anonymous()
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            self.assertEqual(nobody.get(path).code, 200, path)
        self.assertStatus(
            nobody.get("/api/v1/pods"), 403, "Forbidden",
            'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" '
            "at the cluster scope")
        self.assertEqual(nobody.get("/metrics").code, 403)

    def test_bad_credentials_are_401(self):
        status = self.assertStatus(self.anonymous(Authorization="Bearer nonsense").get("/version"), 401,
                                   "Unauthorized", "Unauthorized")
        self.assertEqual(status["code"], 401)

    def test_ready_says_why(self):
        text = self.admin.get("/readyz", verbose="").text
        self.assertIn("[+]etcd ok\n", text)
        self.assertTrue(text.endswith("readyz check passed\n"))

    def test_requests_are_counted(self):
        self.configmap("a")
        text = self.admin.get("/metrics").text
        self.assertIn('apiserver_request_total{verb="CREATE",group="",version="v1",resource="configmaps"', text)

    def test_json_is_indented_for_people(self):
        self.configmap("a")
        path = f"/api/v1/namespaces/{self.ns}/configmaps"
        curl = {"User-Agent": "curl/7.88.1"}
        for one in (path, f"{path}/a", f"{path}/none", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1"):
            plain, pretty = self.admin.get(one), self.admin.get(one, headers=curl)
            self.assertEqual(plain.text.count("\n  "), 0)
            self.assertTrue(pretty.text.startswith('{\n  "'), pretty.text)
            self.assertEqual(pretty.json, plain.json)
            self.assertEqual(list(pretty.json), list(plain.json))
            self.assertEqual(self.admin.get(one, headers=curl, pretty="false").text, plain.text)
            self.assertEqual(self.admin.get(one, pretty="true").text, pretty.text)

    def test_what_is_no_object_is_always_indented(self):
        for path in ("/version", "/"):
            self.assertTrue(self.admin.get(path).text.startswith('{\n  "'))
            self.assertEqual(self.admin.get(path, pretty="false").text, self.admin.get(path).text)

    def test_large_answers_are_packed_for_those_who_take_it(self):
        small, large = "x" * 1000, "".join(f"{i:08x}" for i in range(20000))
        for name, value in (("small", small), ("large", large)):
            self.configmap(name, value=value)
        path = self.path("configmaps")
        takes = {"Accept-Encoding": "deflate, gzip"}
        for one, value in ((f"{path}/large", large), (path, large), (f"{path}/small", None)):
            for more in ({}, {"Accept": "application/yaml"}, {"User-Agent": "curl/8"}):
                plain, packed = self.admin.get(one, headers=more), self.raw(one, {**takes, **more})
                self.assertNotIn("content-encoding", plain.headers)
                self.assertEqual("content-encoding" in packed.headers, value is not None, one)
                if value is None:
                    continue
                self.assertEqual(packed.headers["content-encoding"], "gzip")
                self.assertEqual(packed.headers["vary"], "Accept-Encoding")
                self.assertLess(len(packed.body), len(plain.text) * 0.8)
                self.assertEqual(gzip.decompress(packed.body).decode(), plain.text)
        self.assertNotIn("content-encoding", self.raw(f"{path}/large", {"Accept-Encoding": "br"}).headers)
        with self.admin.watch(path) as watch:
            self.assertEqual(watch.response.headers.get("content-encoding"), None)

    def raw(self, path, headers):
        connection = self.admin.connect()
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.body = answer.read()
            return answer
        finally:
            connection.close()

    def test_component_statuses_tell_who_works(self):
        answer = self.admin.get("/api/v1/componentstatuses")
        found = {i["metadata"]["name"]: i["conditions"][0] for i in answer.json["items"]}
        self.assertEqual(list(found), ["controller-manager", "scheduler", "etcd-0"])
        self.assertEqual(found["etcd-0"], {"type": "Healthy", "status": "True", "message": "ok"})
        self.assertEqual(found["scheduler"]["status"], "False")  # this is an API server alone
        self.assertIn("kube-scheduler", found["scheduler"]["message"])
        self.assertEqual(answer.headers["warning"], '299 - "v1 ComponentStatus is deprecated in v1.19+"')
        self.assertEqual(self.admin.get("/api/v1/componentstatuses/etcd-0").json["kind"], "ComponentStatus")
        self.assertStatus(self.admin.get("/api/v1/componentstatuses/none"), 404, "NotFound")

    def test_a_component_is_healthy_while_it_renews_its_lease(self):
        lease = {"metadata": {"name": "kube-scheduler"},
                 "spec": {"leaseDurationSeconds": 3600, "renewTime": self.now(), "holderIdentity": "a"}}
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
        self.assertEqual(self.admin.post(path, lease).code, 201)
        self.addCleanup(self.admin.delete, f"{path}/kube-scheduler")
        self.assertEqual(self.scheduler_status(), "True")
        old = {"spec": {"renewTime": self.now(-7200)}}
        self.assertEqual(self.admin.patch(f"{path}/kube-scheduler", old).code, 200)
        self.assertEqual(self.scheduler_status(), "False")

    def now(self, offset_s=0):
        return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + offset_s))

    def scheduler_status(self):
        return self.admin.get("/api/v1/componentstatuses/scheduler").json["conditions"][0]["status"]

    def test_a_deprecated_kind_is_told_of(self):
        self.assertEqual(self.admin.get(self.path("endpoints")).headers["warning"],
                         '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"')
        self.assertNotIn("warning", self.admin.get(self.path("services")).headers)

    def test_answers_are_not_to_be_cached(self):
        headers = self.admin.get("/version").headers
        self.assertEqual(headers["cache-control"], "no-cache, private")
        self.assertRegex(headers["audit-id"], "^[0-9a-f-]{36}$")


if __name__ == "__main__":
    main()
