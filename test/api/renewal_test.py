#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Certificates that run out are replaced while the server runs, everywhere they are shown."""
import socket
import ssl
import time

from ports import free_port
from server import ApiTest, Client, main

LIFE_SECONDS = 6
PATIENCE_SECONDS = 120


class Renewal(ApiTest):
    part = "server"

    @classmethod
    def setUpClass(cls):
        cls.etcd_port = free_port()
        cls.flags = ["--certificate-life", f"{LIFE_SECONDS}s", "--etcd-listen", f"127.0.0.1:{cls.etcd_port}"]
        super().setUpClass()

    def setUp(self):
        pass  # a namespace would have to be made within the life of a certificate

    def eventually(self, what, fn):
        """Certificates may run out between two steps on a slow machine: the next ones will not."""
        end = time.monotonic() + PATIENCE_SECONDS
        why = None
        while time.monotonic() < end:
            try:
                if fn():
                    return
            except (OSError, ssl.SSLError) as e:
                why = e
            time.sleep(0.1)
        self.fail(f"not within {PATIENCE_SECONDS} s: {what} ({why})\n" + self.log())

    def shown(self, port):
        """The certificate of a port, if it is valid now."""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            with self.context_of_kubeconfig().wrap_socket(s, server_hostname="127.0.0.1") as t:
                return t.getpeercert(binary_form=True)

    def file(self, path):
        with open(path) as f:
            return f.read()

    def test_every_certificate_is_renewed_before_it_runs_out(self):
        files = [self.kubeconfig] + [f"{self.dir}/server/tls/{name}.crt" for name in
                                     ("serving-kube-apiserver", "client-kube-apiserver", "client-admin")]
        authority = self.file(f"{self.dir}/server/tls/server-ca.crt")
        before = [self.file(path) for path in files]
        seen = {}
        for port in (self.port, self.etcd_port):
            self.eventually(f"port {port} shows a valid certificate", lambda p=port: seen.update({p: self.shown(p)}) or True)
        for path, old in zip(files, before):
            self.eventually(f"{path} is new", lambda p=path, o=old: self.file(p) != o)
        for port, old in seen.items():
            self.eventually(f"port {port} shows another one", lambda p=port, o=old: self.shown(p) != o)
        self.assertEqual(self.file(f"{self.dir}/server/tls/server-ca.crt"), authority)
        stale = self.context_of_kubeconfig()
        self.eventually("a kubeconfig of the past is refused", lambda: self.refuses(stale))
        self.eventually("the kubeconfig of the day works", lambda: Client(
            self.port, self.context_of_kubeconfig()).get("/api/v1/nodes").code == 200)

    def test_an_open_connection_outlives_no_certificate(self):
        connection = None

        def connect():
            nonlocal connection
            connection = Client(self.port, self.context_of_kubeconfig()).connect()
            return self.status(connection) == 200
        self.eventually("a connection that is let in", connect)
        self.eventually("the same one is nobody's any more", lambda: self.status(connection) == 401)
        connection.close()

    def status(self, connection):
        connection.request("GET", "/api/v1/nodes")
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def refuses(self, context):
        try:
            Client(self.port, context).get("/api/v1/nodes")
        except (OSError, ssl.SSLError):
            return True
        return False


main()
