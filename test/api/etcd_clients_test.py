#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clients of etcd that others wrote see the same in Debian's etcd and in our store: python3-etcd3 and npm's etcd3.

    test/api/etcd_clients_test.py [Class[.test]]...     ETCD_STORE=build/test/etcd/etcd_store
"""
import importlib.util
import os
import shutil
import subprocess
import unittest

try:
    import etcd_pair
    problem = None
except ImportError as e:
    problem = str(e)
from server import main

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT_SECONDS = 300
INSTALL_SECONDS = 120


class Clients(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        if problem:
            raise unittest.SkipTest(problem)
        try:
            cls.work, cls.pb = etcd_pair.prepare()
        except etcd_pair.Missing as e:
            raise unittest.SkipTest(str(e))
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)

    def says_the_same(self, *command):
        pair = etcd_pair.Pair(self.pb, self.work)
        try:
            etcd, ours = (subprocess.run([*command, server.address], stdout=subprocess.PIPE,
                                         stderr=subprocess.DEVNULL,  # python3-etcd3's threads may trip over its end
                                         text=True, timeout=CLIENT_SECONDS, check=False).stdout.splitlines()
                          for server in pair.servers())
        finally:
            pair.stop()
        self.assertEqual(etcd, ours)
        self.assertEqual(ours[-1:], ["end"])

    def test_python(self):
        if not importlib.util.find_spec("etcd3"):
            self.skipTest("no python3-etcd3")
        self.says_the_same("/usr/bin/python3", f"{HERE}/etcd_clients/python.py")

    def test_javascript(self):
        install = ["npm", "install", "--prefix", self.work, "--silent", "--no-audit", "--no-fund", "etcd3@1"]
        if not shutil.which("npm") or subprocess.run(install, timeout=INSTALL_SECONDS, check=False,
                                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            self.skipTest("npm has no registry")
        self.says_the_same("node", shutil.copy(f"{HERE}/etcd_clients/javascript.mjs", self.work))


if __name__ == "__main__":
    main()
