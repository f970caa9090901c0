#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What no client can break, and what no crash can lose."""
import http.client
import os
import random
import socket
import ssl
import threading
import time

from server import ApiTest, main

ACKNOWLEDGED_MIN = 40


class Garbage(ApiTest):
    def serves(self):
        self.assertIsNone(self.server.poll(), self.log())
        self.assertEqual(self.admin.get("/readyz").text, "ok")

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def tls(self, alpn=()):
        context = ssl._create_unverified_context()
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context.wrap_socket(self.raw())

    def send(self, s, data):
        """Sends, and reads until the server has had enough or answers."""
        try:
            s.sendall(data)
            s.settimeout(2)
            return s.recv(4096)
        except OSError:
            return b""
        finally:
            s.close()

    def test_on_the_tls_port(self):
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100, os.urandom(4096), b"\x16\x03\x01\xff\xff" + b"x" * 100):
            self.send(self.raw(), data)
        self.raw().close()
        self.serves()

    def test_inside_tls(self):
        for data in (b"\r\n\r\n", b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
                     b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
                     b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     os.urandom(4096)):
            self.send(self.tls(), data)
        self.serves()

    def test_inside_http2(self):
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        for data in (preface + os.urandom(2048), preface + b"\xff\xff\xff\x04\x00\x00\x00\x00\x00" + b"x" * 100,
                     b"not a preface" * 10):
            self.send(self.tls(["h2"]), data)
        self.serves()

    def test_clients_that_leave_in_the_middle(self):
        for _ in range(50):
            s = self.admin.context.wrap_socket(self.raw(), server_hostname="127.0.0.1")
            s.sendall(b"POST " + self.path("configmaps").encode() +
                      b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"metadata\"")
            s.close()
            s = self.admin.context.wrap_socket(self.raw(), server_hostname="127.0.0.1")
            s.sendall(b"GET /api/v1/pods?watch=true HTTP/1.1\r\nHost: x\r\n\r\n")
            s.close()
        self.serves()

    def test_many_connections_at_once(self):
        open_ones = [self.raw() for _ in range(300)]
        self.serves()
        for s in open_ones:
            s.close()

    def test_a_client_that_says_nothing_holds_up_nobody(self):
        with self.tls(), self.raw():
            self.serves()


class Crash(ApiTest):
    def writer(self, number, stop, done):
        """Creates until told to stop; what was acknowledged is in DONE."""
        i = 0
        while not stop.is_set():
            name = f"w{number}-{i}"
            try:
                answer = self.admin.post(self.path("configmaps"), {"metadata": {"name": name}, "data": {"i": str(i)}})
            except OSError:
                return
            if answer.code == 201:
                done.append(answer.json)
            i += 1

    def round(self):
        """Dies while there are writes, of which some have been acknowledged."""
        stop, done = threading.Event(), []
        threads = [threading.Thread(target=self.writer, args=(n, stop, done)) for n in range(4)]
        for t in threads:
            t.start()
        while len(done) < ACKNOWLEDGED_MIN and any(t.is_alive() for t in threads):
            time.sleep(0.01)
        self.kill()
        stop.set()
        for t in threads:
            t.join()
        self.start()
        return done

    def test_loses_nothing_that_was_acknowledged(self):
        for _ in range(3):
            done = self.round()
            self.assertTrue(done)
            there = {i["metadata"]["name"]: i for i in self.admin.get(self.path("configmaps")).json["items"]}
            for made in done:
                found = there[made["metadata"]["name"]]
                self.assertEqual((found["data"], found["metadata"]), (made["data"], made["metadata"]))
            self.admin.delete(self.path("configmaps"))

    def test_revisions_go_on_upwards(self):
        before = int(self.configmap("before")["metadata"]["resourceVersion"])
        self.kill()
        self.start()
        self.assertGreater(int(self.configmap("after")["metadata"]["resourceVersion"]), before)
        with self.admin.watch(self.path("configmaps"), resourceVersion=str(before)) as w:
            first = w.next()
            self.assertIn((first["type"], first["object"].get("metadata", {}).get("name") or
                           first["object"].get("code")), (("ADDED", "after"), ("ERROR", 410)))

    def test_keys_and_tokens_stay_the_same(self):
        self.admin.post(self.path("serviceaccounts"), {"metadata": {"name": "a"}})
        token = self.admin.post(self.path("serviceaccounts", "a") + "/token", {"spec": {}}).json["status"]["token"]
        old = self.admin
        self.kill()
        self.start()
        self.assertEqual(self.anonymous(Authorization=f"Bearer {token}").get("/api").code, 200)
        self.assertEqual(old.get("/api/v1/namespaces").code, 200)


class Random(ApiTest):
    """Requests of known words in unknown order; SEED=n and REQUESTS=n try others."""
    PATHS = ("api apis v1 apps pods nodes services namespaces default p n s proxy log exec attach portforward status scale "
             "eviction binding token serviceaccounts deployments events rbac.authorization.k8s.io clusterroles watch leases "
             "coordination.k8s.io authorization.k8s.io selfsubjectaccessreviews tokenreviews openapi v2 v3 readyz etcd "
             "metrics componentstatuses ephemeralcontainers %00 %2F .. %2e%2e . https:p:80 p:99999999999 ::: [::1] %ff "
             "s:x:y:z").split() + ["a" * 300, ""]
    NAMES = ("watch labelSelector fieldSelector limit continue resourceVersion resourceVersionMatch timeoutSeconds pretty "
             "sendInitialEvents dryRun fieldManager fieldValidation force container command ports tailLines sinceTime stream "
             "includeObject exclude verbose gracePeriodSeconds propagationPolicy hash stdin").split()
    VALUES = ("true 0 1 -1 99999999999999999999 a=b !a a== (((( a!=b,c metadata.name=p spec.nodeName=n % %zz %00 "
              "NotOlderThan Exact All None Object 1e9 Background , ; &&").split() + ["x" * 5000, ""]
    HEADERS = ("Accept Content-Type Accept-Encoding Impersonate-User Impersonate-Group Impersonate-Uid Impersonate-Extra-a%zz "
               "Impersonate-Extra-b Authorization Audit-Id If-None-Match User-Agent Connection Upgrade Sec-WebSocket-Protocol "
               "X-Stream-Protocol-Version Range Expect").split()
    TEXTS = ["*/*", "application/json", "application/yaml", "application/json;as=Table;v=v1;g=meta.k8s.io", ";;;,,,q=", "gzip",
             "application/apply-patch+yaml", "application/merge-patch+json", "application/json-patch+json", "system:admin",
             "application/strategic-merge-patch+json", "system:masters", "system:node:n", "Bearer x.y.z", "curl/8", "Upgrade",
             "websocket", "v4.channel.k8s.io", "100-continue", "x" * 8000, "a,b,,c", ""]
    BODIES = [b"", b"{}", b"[]", b"null", b"1", b"{", b"\xff\xfe", b'{"metadata":{"name":"x"}}', b"a: &a [*a]\n", b"[" * 600,
              b'[{"op":"replace","path":"/metadata/labels","value":1}]', b'{"metadata":[],"spec":5}', b"k8s\x00\x0a\x04",
              b'{"spec":{"containers":[{"name":null}]}}', b'{"a":' * 600, b"x" * 100000]

    def one(self, r):
        path = r.choice(["/", "/api/v1/", "/apis/apps/v1/", "/api/v1/namespaces/default/"])
        path += "/".join(r.choice(self.PATHS) for _ in range(r.randint(0, 5)))
        query = "&".join(r.choice(self.NAMES) + "=" + r.choice(self.VALUES) for _ in range(r.randint(0, 4)))
        headers = {r.choice(self.HEADERS): r.choice(self.TEXTS) for _ in range(r.randint(0, 4))}
        method = r.choice(["GET"] * 5 + ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "FOO"])
        body = r.choice(self.BODIES) if method != "GET" else b""
        connection = self.admin.connect(timeout=1)  # a watch may have nothing to say
        try:
            connection.request(method, path + ("?" + query if query else ""), body=body or None, headers=headers)
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        self.assertIsNone(self.server.poll(), f"{method} {path}?{query} {headers} {body[:100]}\n" + self.log())

    def test_requests_at_random_end_no_server(self):
        r = random.Random(int(os.environ.get("SEED", "1")))
        for _ in range(int(os.environ.get("REQUESTS", "250"))):
            self.one(r)
        self.assertEqual(self.admin.get("/readyz").text, "ok")


if __name__ == "__main__":
    main()
