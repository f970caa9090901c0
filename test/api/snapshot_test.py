#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a cluster: on schedule, on demand while it is written to, and what a reset brings back."""
import json
import os
import shutil
import subprocess
import threading
import time
import unittest

from ports import free_port
from server import TOP, ApiTest, main

PROGRAM = os.environ.get("CORACLE", os.path.join(TOP, "build", "coracle"))


def coracle(*args, code=0):
    answer = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=300)
    assert answer.returncode == code, f"{args}: {answer.returncode}\n{answer.stdout}{answer.stderr}"
    return answer.stdout + answer.stderr


class Snapshots(ApiTest):
    def run_tool(self, *args, code=0):
        return coracle(*args, "--config", os.devnull, "--data-dir", self.dir, code=code)

    def save(self, *args):
        """Saves and gives the path of what was saved."""
        said = self.run_tool("snapshot", "save", "--name", self.ns.replace("-", ""), *args)
        return said.split(" saved: ")[1].split(",")[0]

    def saved(self):
        return json.loads(self.run_tool("snapshot", "list", "-o", "json"))

    def put_pair(self, n):
        """The first is never behind the second."""
        for name in ("first", "second"):
            answer = self.admin.patch(self.path("configmaps", name), {"data": {"n": str(n)}})
            self.assertEqual(answer.code, 200)


class OnDemand(Snapshots):
    def test_a_snapshot_taken_while_there_are_writes_is_of_one_moment(self):
        for name in ("first", "second"):
            self.configmap(name, n="0")
        self.put_pair(1)
        done = threading.Event()

        def write():
            n = 1
            while not done.is_set():
                n += 1
                self.put_pair(n)

        writer = threading.Thread(target=write)
        writer.start()
        files = []
        for i in range(3):
            files.append(self.save("--snapshot-dir", os.path.join(self.dir, f"saves{i}")))
        done.set()
        writer.join()
        for i, path in enumerate(files):
            self.check_pair(path, os.path.join(self.dir, f"restored{i}"))

    def check_pair(self, path, folder):
        coracle("snapshot", "restore", path, "--config", os.devnull, "--data-dir", folder)
        shutil.copytree(os.path.join(self.dir, "server", "tls"), os.path.join(folder, "server", "tls"))
        shutil.copytree(os.path.join(self.dir, "server", "cred"), os.path.join(folder, "server", "cred"))

        class Restored(ApiTest):
            dir = folder
            port = free_port()
            kubeconfig = os.path.join(folder, "admin.yaml")

        Restored.start()
        try:
            values = [Restored.admin.get(self.path("configmaps", name)).json for name in ("first", "second")]
            first, second = (int(v["data"]["n"]) for v in values)
            self.assertIn(first - second, (0, 1))
            self.assertGreater(first, 0)
        finally:
            Restored.stop()

    def test_the_file_is_private_and_named_as_k3s_does(self):
        path = self.save()
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertRegex(os.path.basename(path), r"^testthefile\w+-.+-\d+$")
        self.assertEqual(os.path.dirname(path), os.path.join(self.dir, "server", "snapshots"))
        listed = [s for s in self.saved() if s["name"] == os.path.basename(path)]
        self.assertEqual(listed[0]["size"], os.stat(path).st_size)
        self.assertEqual(listed[0]["location"], "file://" + path)
        self.run_tool("snapshot", "delete", os.path.basename(path))
        self.assertFalse(os.path.exists(path))
        self.assertIn("no snapshot", self.run_tool("snapshot", "delete", os.path.basename(path), code=1))

    def test_who_saves_is_told_about_the_keys_of_secrets(self):
        said = self.run_tool("snapshot", "save", "--name", "told")
        self.assertIn("server/cred/encryption-config.json", said)

    def test_an_archive_says_the_same(self):
        plain, packed = self.save(), self.save("--snapshot-compress")
        self.assertTrue(packed.endswith(".zip"))
        self.assertLess(os.stat(packed).st_size * 3, os.stat(plain).st_size)
        self.run_tool("snapshot", "status", packed)
        subprocess.run(["python3", "-m", "zipfile", "-t", packed], check=True, capture_output=True)

    def test_a_stopped_store_is_saved_too_and_a_running_one_is_not_replaced(self):
        self.configmap("kept", k="v")
        path = self.save("--snapshot-dir", os.path.join(self.dir, "offline"))
        self.assertIn("in use", self.run_tool("snapshot", "restore", path, "--force", code=1))
        self.stop()
        try:
            again = self.save("--snapshot-dir", os.path.join(self.dir, "offline2"))
            status = [json.loads(self.run_tool("snapshot", "status", f, "-w", "json")) for f in (path, again)]
            self.assertLessEqual(status[0]["revision"], status[1]["revision"])
        finally:
            self.start()

    def test_bad_uses_are_told_in_one_line(self):
        for args, code, text in (
            (["snapshot", "status"], 2, "needs one snapshot"),
            (["snapshot", "status", "/nowhere"], 1, "No such file"),
            (["snapshot", "delete", "../../etc/passwd"], 1, "not the name of a snapshot"),
            (["snapshot", "save", "--name", "a/b"], 2, "not the name of a file"),
            (["snapshot", "list", "-o", "xml"], 2, "neither table nor json"),
            (["snapshot", "prune", "--snapshot-retention", "x"], 2, "not a number"),
            (["snapshot", "frob"], 2, "unknown command"),
            (["snapshot", "save", "--frob"], 2, "unknown flag"),
            (["server", "--etcd-snapshot-schedule-cron", "often"], 2, "expected exactly 5 fields"),
            (["server", "--etcd-snapshot-schedule-cron", "0 0 30 2 *"], 2, '"0 0 30 2 *" never comes'),
            (["server", "--cluster-reset"], 2, "--cluster-reset-restore-path"),
        ):
            answer = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=300)
            self.assertEqual((answer.returncode, answer.stderr.count("\n")), (code, 1), answer)
            self.assertIn(text, answer.stderr)


class Scheduled(Snapshots):
    flags = ["--etcd-snapshot-schedule-cron", "@every 1s", "--etcd-snapshot-retention", "2",
             "--etcd-snapshot-name", "regular", "--node-name", "n1"]

    def test_they_come_and_the_oldest_go(self):
        seen = set()
        while len(seen) < 4:
            now = [s["name"] for s in self.saved() if s["name"].startswith("regular-")]
            # While the oldest is being removed there is one more.
            self.assertLessEqual(len(now), 3)
            seen.update(now)
            time.sleep(0.1)
        for name in seen:
            self.assertRegex(name, r"^regular-n1-\d+$")
        metrics = self.admin.get("/metrics").text
        self.assertRegex(metrics, r'coracle_scheduled_snapshots_total\{result="success"\} \d')

    def test_one_on_demand_is_none_of_the_series(self):
        path = self.save()
        seen = set()
        while len(seen) < 4:  # itself, and more than are kept
            seen.update(s["name"] for s in self.saved())
            time.sleep(0.1)
        self.assertTrue(os.path.exists(path))
        self.run_tool("snapshot", "prune", "--name", "regular", "--node-name", "n1", "--snapshot-retention", "1")


class Reset(Snapshots):
    part = "server"
    flags = ["--disable-scheduler", "--disable-controller-manager"]

    def reset(self, name, code):
        return coracle("server", "--disable-agent", "--config", os.devnull, "--data-dir", self.dir, "--cluster-reset",
                       "--cluster-reset-restore-path", name, code=code)

    def test_the_cluster_is_as_it_was_and_revisions_go_on(self):
        kept = self.configmap("kept", k="then")
        path = self.save()
        self.admin.patch(self.path("configmaps", "kept"), {"data": {"k": "later"}})
        self.configmap("later")
        last = int(self.admin.get("/api/v1/namespaces").json["metadata"]["resourceVersion"])
        self.assertIn("in use", self.reset(path, 1))
        self.stop()
        self.reset(os.path.basename(path), 0)
        self.assertIn("reset before", self.reset(path, 1))
        self.start()

        now = self.admin.get(self.path("configmaps", "kept")).json
        self.assertEqual(now["data"], {"k": "then"})
        self.assertEqual(now["metadata"], kept["metadata"])
        self.assertEqual(self.admin.get(self.path("configmaps", "later")).code, 404)
        listed = int(self.admin.get(self.path("configmaps")).json["metadata"]["resourceVersion"])
        self.assertGreater(listed, last)
        with self.admin.watch(self.path("configmaps"), resourceVersion=str(last)) as watch:
            gone = watch.next()
        self.assertEqual((gone["type"], gone["object"]["code"]), ("ERROR", 410))
        with self.admin.watch(self.path("configmaps"), resourceVersion=str(listed)) as watch:
            new = int(self.configmap("new")["metadata"]["resourceVersion"])
            self.assertEqual(watch.next()["object"]["metadata"]["name"], "new")
        self.assertGreater(new, listed)
        old = [name for name in os.listdir(os.path.join(self.dir, "server")) if name.startswith("db-old-")]
        self.assertEqual(len(old), 1)
        # A start without the flag: another reset is meant.
        self.stop()
        self.reset(path, 0)
        self.start()


@unittest.skipUnless(shutil.which("etcd"), "etcd is missing")
class Moved(Snapshots):
    """A cluster that outgrows one machine: its store becomes an etcd cluster, and back."""

    def start_etcd(self):
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.etcd = subprocess.Popen(
            ["etcd", "--data-dir", os.path.join(self.dir, "etcd"), "--listen-client-urls", client,
             "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", "default=" + peer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.etcd.wait)
        self.addCleanup(self.etcd.kill)
        return client

    def restart_on(self, *flags):
        type(self).flags = list(flags)
        self.start()

    def test_a_cluster_moves_to_etcd_and_back_with_its_secrets(self):
        made = self.admin.post(self.path("secrets"), {"metadata": {"name": "s"}, "stringData": {"k": "v"}}).json
        self.configmap("c", k="v")
        last = int(self.admin.get(self.path("configmaps")).json["metadata"]["resourceVersion"])
        etcd = self.start_etcd()
        self.stop()
        coracle("datastore", "migrate", "--from", self.dir, "--to", etcd, "--config", os.devnull)
        self.restart_on("--datastore-endpoint", etcd)
        listed = self.admin.get(self.path("secrets")).json
        self.assertGreater(int(listed["metadata"]["resourceVersion"]), last)
        self.assertEqual([(o["metadata"]["uid"], o["data"]) for o in listed["items"]],
                         [(made["metadata"]["uid"], made["data"])])
        with self.admin.watch(self.path("configmaps"), resourceVersion=str(last)) as watch:
            self.assertEqual(watch.next()["object"]["code"], 410)
        self.configmap("written-on-etcd")
        said = coracle("datastore", "migrate", "--from", etcd, "--to", self.dir, "--config", os.devnull, code=3)
        self.assertIn("exists already", said)
        self.stop()
        coracle("datastore", "migrate", "--from", etcd, "--to", self.dir, "--config", os.devnull, "--overwrite")
        self.restart_on()
        self.assertEqual(self.admin.get(self.path("secrets", "s")).json["data"], made["data"])
        self.assertEqual(self.admin.get(self.path("configmaps", "written-on-etcd")).code, 200)


if __name__ == "__main__":
    main()
