#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Secrets at rest: what the store has of them, read through its etcd API, and how keys are changed."""
import base64
import json
import os
import stat
import subprocess

from server import ApiTest, main


def key(name, fill):
    return {"name": name, "secret": base64.b64encode(fill.encode() * 32).decode()}


class Encryption(ApiTest):
    more_flags = []

    @classmethod
    def start(cls):
        cls.socket = os.path.join(cls.dir, "etcd.sock")
        cls.own_config = os.path.join(cls.dir, "server", "cred", "encryption-config.json")
        cls.flags = [*cls.more_flags, "--etcd-listen", "unix:" + cls.socket]
        super().start()

    @classmethod
    def own_provider(cls):
        with open(cls.own_config) as f:
            return json.load(f)["resources"][0]["providers"][0]

    @classmethod
    def restart(cls, *rules):
        """With a configuration of RULES, each (resources, providers); without: the cluster's own."""
        path = os.path.join(cls.dir, "encryption.json")
        with open(path, "w") as f:
            json.dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
                       "resources": [{"resources": r, "providers": p} for r, p in rules]}, f)
        cls.more_flags = ["--encryption-provider-config", path] if rules else []
        if cls.server.poll() is None:
            cls.stop()
        cls.start()

    def tearDown(self):
        if type(self).more_flags:
            self.restart()

    def stored(self, plural, name):
        at = f"/registry/core/{plural}/{self.ns}/{name}"
        answer = subprocess.run(["etcdctl", "--endpoints", "unix://" + self.socket, "get", at, "--print-value-only"],
                                env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, timeout=120, check=True)
        return answer.stdout

    def secret(self, name, **data):
        answer = self.admin.post(self.path("secrets"), {"metadata": {"name": name}, "stringData": data})
        self.assertEqual(answer.code, 201)
        return answer.json

    def value(self, name, key="k"):
        return base64.b64decode(self.admin.get(self.path("secrets", name)).json["data"][key]).decode()

    def test_a_secret_is_sealed_from_the_first_start(self):
        self.secret("s", k="in-the-clear-nowhere")
        self.configmap("c", k="as-it-is")
        self.assertTrue(self.stored("secrets", "s").startswith(b"k8s:enc:secretbox:v1:secretboxkey:"))
        self.assertIn(b"as-it-is", self.stored("configmaps", "c"))
        self.assertEqual(stat.S_IMODE(os.stat(self.own_config).st_mode), 0o600)
        clear = (b"in-the-clear-nowhere", base64.b64encode(b"in-the-clear-nowhere"))
        for folder, _, names in os.walk(os.path.join(self.dir, "server", "db")):
            for name in names:
                with open(os.path.join(folder, name), "rb") as f:
                    content = f.read()
                self.assertFalse(any(c in content for c in clear), name)

    def test_a_sealed_secret_is_read_after_a_restart(self):
        self.secret("s", k="v1")
        self.stop()
        self.start()
        self.assertEqual(self.value("s"), "v1")
        self.assertEqual(self.admin.patch(self.path("secrets", "s"), {"stringData": {"k": "v2"}}).code, 200)
        self.kill()
        self.start()
        self.assertEqual(self.value("s"), "v2")

    def test_a_list_at_an_old_revision_opens_what_it_reads(self):
        version = self.secret("s", k="then")["metadata"]["resourceVersion"]
        self.admin.patch(self.path("secrets", "s"), {"stringData": {"k": "now"}})
        then = self.admin.get(self.path("secrets"), resourceVersion=version, resourceVersionMatch="Exact").json
        self.assertEqual([base64.b64decode(i["data"]["k"]) for i in then["items"]], [b"then"])

    def test_every_provider(self):
        for provider, fill in (("aescbc", "a"), ("aesgcm", "b"), ("secretbox", "c")):
            with self.subTest(provider):
                self.restart((["secrets", "configmaps"],
                              [{provider: {"keys": [key("one", fill)]}}, self.own_provider(), {"identity": {}}]))
                self.configmap(provider, k="value")
                self.assertTrue(self.stored("configmaps", provider).startswith(f"k8s:enc:{provider}:v1:one:".encode()))
                self.kill()
                self.start()
                self.assertEqual(self.admin.get(self.path("configmaps", provider)).json["data"], {"k": "value"})
                self.admin.delete(self.path("configmaps", provider))

    def test_everything_sealed_and_back_to_plain(self):
        gcm = {"aesgcm": {"keys": [key("all", "g")]}}
        own = self.own_provider()
        self.restart((["*.*"], [gcm, own, {"identity": {}}]))
        self.configmap("c", k="v")
        self.assertTrue(self.stored("configmaps", "c").startswith(b"k8s:enc:aesgcm:v1:all:"))
        self.restart((["*.*"], [{"identity": {}}, gcm, own]))
        at = self.path("configmaps", "c")
        self.assertEqual(self.admin.put(at, self.admin.get(at).json).code, 200)
        self.assertIn(b'"k":"v"', self.stored("configmaps", "c"))

    def test_keys_are_rotated_by_writing_again(self):
        old, new = key("old", "o"), key("new", "n")
        own = self.own_provider()
        self.restart((["secrets"], [{"aesgcm": {"keys": [old]}}, own, {"identity": {}}]))
        self.secret("s", k="v")
        self.assertTrue(self.stored("secrets", "s").startswith(b"k8s:enc:aesgcm:v1:old:"))
        self.restart((["secrets"], [{"aesgcm": {"keys": [new, old]}}, own, {"identity": {}}]))
        at = self.path("secrets", "s")
        before = self.admin.get(at).json
        after = self.admin.put(at, before).json
        self.assertNotEqual(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"])
        self.assertTrue(self.stored("secrets", "s").startswith(b"k8s:enc:aesgcm:v1:new:"))
        again = self.admin.put(at, after).json
        self.assertEqual(after["metadata"]["resourceVersion"], again["metadata"]["resourceVersion"])
        self.restart((["secrets"], [{"aesgcm": {"keys": [new]}}, own, {"identity": {}}]))
        self.assertEqual(self.value("s"), "v")
        self.admin.delete(at)

    def refuses(self, reason, *rules):
        with self.assertRaisesRegex(AssertionError, reason):
            self.restart(*rules)

    def test_without_its_key_a_secret_is_an_error_and_the_rest_is_served(self):
        self.secret("s", k="v")
        self.configmap("c", k="v")
        at, reason = self.path("secrets", "s"), f'unable to transform key "/registry/core/secrets/{self.ns}/s"'
        self.restart((["secrets"], [{"aescbc": {"keys": [key("other", "x")]}}, {"identity": {}}]))
        self.secret("readable", k="v")
        for what, answer in (("get", self.admin.get(at)), ("list", self.admin.get(self.path("secrets"))),
                             ("list of all", self.admin.get("/api/v1/secrets")),
                             ("list of one", self.admin.get(self.path("secrets"), fieldSelector="metadata.name=s")),
                             ("delete", self.admin.delete(at)), ("patch", self.admin.patch(at, {"data": {}})),
                             ("put", self.admin.put(at, {"metadata": {"name": "s"}}))):
            with self.subTest(what):
                self.assertEqual((answer.code, answer.json.get("reason")), (500, "InternalError"), answer.text)
                if what != "list of all":
                    self.assertIn(reason, answer.json["message"])
                self.assertIn("no matching prefix found", answer.json["message"])
        with self.admin.watch(self.path("secrets")) as watch:
            event = watch.next()
        self.assertEqual((event["type"], event["object"]["code"]), ("ERROR", 500), event)
        self.assertEqual(self.admin.post(self.path("secrets"), {"metadata": {"name": "s"}}).code, 409)
        self.assertEqual(self.value("readable"), "v")
        self.assertEqual(self.admin.get(self.path("configmaps", "c")).json["data"], {"k": "v"})
        one = self.admin.get(self.path("secrets"), fieldSelector="metadata.name=readable")
        self.assertEqual(len(one.json["items"]), 1)
        self.admin.delete(self.path("secrets", "readable"))
        self.restart()
        self.assertEqual(self.value("s"), "v")

    def etcd(self, *args, **kw):
        return subprocess.run(["etcdctl", "--endpoints", "unix://" + self.socket, *args], check=True, timeout=120,
                              env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, **kw)

    def test_a_value_that_is_no_object_is_an_error_until_it_is_gone(self):
        self.configmap("c", k="v")
        stored = f"/registry/core/configmaps/{self.ns}/c"
        whole = self.stored("configmaps", "c")
        self.etcd("put", stored, "rot")
        for path in (self.path("configmaps", "c"), self.path("configmaps")):
            answer = self.admin.get(path)
            self.assertEqual(answer.code, 500)
            self.assertIn(f'unable to decode key "{stored}"', answer.json["message"])
        self.stop()
        self.start()
        self.assertEqual(self.admin.get(self.path("configmaps", "c")).code, 500)
        self.etcd("put", stored, "--", whole.decode().strip())
        self.assertEqual(self.admin.get(self.path("configmaps", "c")).json["data"], {"k": "v"})
        self.etcd("put", stored, "rot")
        self.etcd("del", stored)
        self.assertEqual(self.admin.get(self.path("configmaps", "c")).code, 404)
        self.assertEqual(self.admin.get(self.path("configmaps")).code, 200)

    def test_a_configuration_that_makes_no_sense(self):
        secretbox = [{"secretbox": {"keys": [key("a", "a")]}}]
        for reason, resources, providers in (
            (r"resources\[0\].providers\[0\].aescbc.keys\[0\].secret: .* got 5, expected one of \[16 24 32\]",
             ["secrets"], [{"aescbc": {"keys": [{"name": "a", "secret": "aGVsbG8="}]}}]),
            ("secrets must be base64 encoded", ["secrets"], [{"aesgcm": {"keys": [{"name": "a", "secret": "%"}]}}]),
            ("name is a mandatory field", ["secrets"], [{"aesgcm": {"keys": [{"secret": "aGVsbG8="}]}}]),
            ("at least one keys is required", ["secrets"], [{"aesgcm": {"keys": []}}]),
            ("more than one provider", ["secrets"], [{"identity": {}, "aescbc": {}}]),
            ("provider does not contain any", ["secrets"], [{}]),
            ("kms: Forbidden", ["secrets"], [{"kms": {"name": "k"}}]),
            ("capital letters", ["Secrets"], secretbox),
            ("overlapping resources", ["secrets", "*."], secretbox),
            ("at least one .*resources is required", [], secretbox),
        ):
            with self.subTest(reason):
                self.refuses(reason, (resources, providers))
        self.restart()


if __name__ == "__main__":
    main()
