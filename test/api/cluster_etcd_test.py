#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What cluster_test.py says, of two servers that share an etcd: every request goes to the other one in turn."""
import itertools
import shutil
import sys

import cluster_test
from etcd_servers import end, etcd_command, free_port, spawn
from server import ApiTest, Client, main

TOKEN = ["--token", "shared"]


class InTurn(Client):
    """One user of several servers."""

    def __init__(self, servers):
        super().__init__(servers[0].port, servers[0].admin.context)
        self.ports = itertools.cycle(s.port for s in servers)

    def connect(self, timeout=120):
        self.port = next(self.ports)
        return super().connect(timeout)


class ClusterOnEtcd(cluster_test.Cluster):
    @classmethod
    def setUpClass(cls):
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        cls.flags = [*cls.flags, "--datastore-endpoint", client, *TOKEN]
        spawn("etcd", *etcd_command("etcd", client, peer, "--initial-cluster", f"etcd={peer}"))
        cls.addClassCleanup(end, "etcd")
        super().setUpClass()
        cls.second = type("Second", (ApiTest,), {"part": cls.part, "flags": cls.flags})
        cls.second.setUpClass()
        cls.admin = InTurn([cls, cls.second])

    @classmethod
    def tearDownClass(cls):
        cls.second.tearDownClass()
        super().tearDownClass()


if __name__ == "__main__":
    if not shutil.which("etcd"):
        print("1..0 # SKIP needs etcd-server")
        sys.exit(0)
    main()
