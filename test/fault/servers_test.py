#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two servers on three members of etcd, each in a network namespace of its own, under load: leaders are killed, stopped
and cut off in turn.  What was acknowledged is there afterwards, watches have missed nothing, and work goes on.

    CORACLE=build/coracle test/fault/servers_test.py [ROUNDS]      a round is every fault once; default: some of them, once
    ONLY=both test/fault/servers_test.py 3                         those with that word

A leader's lease is out a while after the last renewal that the store took.  From then, or from the moment when there is
something to do if that is later, the next one has ALLOWED_SECONDS: observed in the store, not by who asks a server.  A
candidate may have learned of that renewal later, if the member of etcd that it used went at the same time.
"""
import ctypes
import datetime
import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "api"))
from etcd_servers import (CONFIGMAPS, Api, dir_, etcd_command, etcdctl, eventually, note, ok, processes, run,  # noqa: E402
                          server_command, spawn)
from store_observer import Observer  # noqa: E402

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 0
# The usual times in a long run; shorter ones where it shall not take long.
USUAL_LEASE = 15
LEASE, RENEW, RETRY = (USUAL_LEASE, 10, 2) if ROUNDS else (6, 4, 1)
ALLOWED_SECONDS = 0.5 if ROUNDS else 3  # the short run is CI's, on a machine that does other things
MEMBER_SECONDS = 0.5  # until a member of etcd that does not answer is left
MEMBERS = {"m1": "10.98.0.11", "m2": "10.98.0.12", "m3": "10.98.0.13"}
SERVERS = {"s1": "10.98.0.21", "s2": "10.98.0.22"}
ENDPOINTS = ",".join(f"https://{a}:2379" for a in MEMBERS.values())
TAG = f"cs{os.getpid()}"
CLONE_NEWNET = 0x40000000


def shell(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout


# ---- the network: a bridge, and a namespace for each process ----

def enter(name):
    with open(f"/run/netns/{name}") as f:
        if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"enter {name}")


def make_network():
    hub = f"{TAG}-hub"
    shell("ip", "netns", "add", hub)
    shell("ip", "-n", hub, "link", "set", "lo", "up")
    shell("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
    shell("ip", "-n", hub, "addr", "add", "10.98.0.1/24", "dev", "br0")
    shell("ip", "-n", hub, "link", "set", "br0", "up")
    for name, address in {**MEMBERS, **SERVERS}.items():
        ns = f"{TAG}-{name}"
        shell("ip", "netns", "add", ns)
        shell("ip", "-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", hub)
        shell("ip", "-n", ns, "addr", "add", f"{address}/24", "dev", "eth0")
        for link in "lo", "eth0":
            shell("ip", "-n", ns, "link", "set", link, "up")
        shell("ip", "-n", hub, "link", "set", name, "master", "br0", "up")


def set_link(name, state):
    shell("ip", "-n", f"{TAG}-hub", "link", "set", name, state)


def remove_network():
    for name in ["hub", *MEMBERS, *SERVERS]:
        subprocess.run(["ip", "netns", "del", f"{TAG}-{name}"], capture_output=True)


# ---- etcd and coracle ----

def make_certificates():
    """One authority, and one certificate that every member and client shows."""
    names = ",".join(f"IP:{a}" for a in MEMBERS.values())
    shell("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=etcd-ca", "-keyout", f"{dir_}/ca.key", "-out", f"{dir_}/ca.crt")
    shell("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=etcd",
        "-keyout", f"{dir_}/etcd.key", "-out", f"{dir_}/etcd.csr")
    with open(f"{dir_}/ext", "w") as f:
        f.write(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    shell("openssl", "x509", "-req", "-in", f"{dir_}/etcd.csr", "-CA", f"{dir_}/ca.crt", "-CAkey", f"{dir_}/ca.key",
        "-CAcreateserial", "-days", "2", "-extfile", f"{dir_}/ext", "-out", f"{dir_}/etcd.crt")


def start(name):
    inside = ["nsenter", f"--net=/run/netns/{TAG}-{name}"]
    if name in MEMBERS:
        address = MEMBERS[name]
        command = etcd_command(name, f"https://{address}:2379", f"http://{address}:2380",
                               "--initial-cluster", ",".join(f"{m}=http://{a}:2380" for m, a in MEMBERS.items()),
                               "--cert-file", f"{dir_}/etcd.crt", "--key-file", f"{dir_}/etcd.key",
                               "--trusted-ca-file", f"{dir_}/ca.crt", "--client-cert-auth")
    else:
        command = server_command(name, "--advertise-address", SERVERS[name], "--token", "test-token",
                                 "--datastore-endpoint", ENDPOINTS, "--datastore-cafile", f"{dir_}/ca.crt",
                                 "--datastore-certfile", f"{dir_}/etcd.crt", "--datastore-keyfile", f"{dir_}/etcd.key",
                                 "--leader-elect-lease-duration", f"{LEASE}s",
                                 "--leader-elect-renew-deadline", f"{RENEW}s", "--leader-elect-retry-period", f"{RETRY}s")
    spawn(name, *inside, *command)


def kill(name, number):
    processes[name].send_signal(number)


def ask_etcd(*args):
    return etcdctl(ENDPOINTS, "--cacert", f"{dir_}/ca.crt", "--cert", f"{dir_}/etcd.crt", "--key", f"{dir_}/etcd.key",
                   "--command-timeout", "3s", *args)


def leading_member():
    for _ in range(40):
        for entry in json.loads(ask_etcd("endpoint", "status", "-w", "json") or "[]"):
            status = entry["Status"]
            if status["header"]["member_id"] == status.get("leader"):
                address = entry["Endpoint"].split("//")[1].split(":")[0]
                return next(m for m, a in MEMBERS.items() if a == address)
        time.sleep(0.5)
    raise RuntimeError("no member leads")


# ---- clients ----

class Servers:
    """Calls to one server or another; all take the same user."""

    def __init__(self):
        self.down = []
        self.apis = {name: Api(f"{dir_}/client.kubeconfig", address, 6443) for name, address in SERVERS.items()}

    def call(self, server, method, path, body=None, timeout=12, **more):
        return self.apis[server].call(method, path, body, timeout, **more)

    def open(self, server, path, timeout):
        return self.apis[server].open("GET", path, timeout=timeout)

    def first(self, method, path, body=None, timeout=2, **more):
        """The answer of any server that gives one; who is down comes last."""
        for server in sorted(SERVERS, key=self.down.count):
            status, doc = self.call(server, method, path, body, timeout, **more)
            if status not in (0, 500, 503, 504):
                return status, doc
        return 0, None


class Writer(threading.Thread):
    """Creates, changes and deletes objects of its own, on any server, and knows what it was told."""

    def __init__(self, api, number, stop):
        super().__init__(daemon=True)
        self.api, self.number, self.stop = api, number, stop
        self.random = random.Random(number)
        self.there = {}    # name -> the values that it may have; one, when the last write was acknowledged
        self.gone = set()  # acknowledged deletions
        self.acknowledged = self.failed = 0
        self.complaints = []

    def server(self):
        return self.random.choice(list(SERVERS))

    def create(self, n):
        name = f"w{self.number}-{n}"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": "0"}}
        status, _ = self.api.call(self.server(), "POST", CONFIGMAPS, body)
        if status == 201:
            self.there[name] = {"0"}
        else:
            self.there[name] = {"0", None}
        return status == 201

    def change(self, name, n):
        status, _ = self.api.call(self.server(), "PATCH", f"{CONFIGMAPS}/{name}", {"data": {"n": str(n)}},
                                  content_type="application/merge-patch+json")
        if status == 200:
            self.there[name] = {str(n)}
        elif status == 404 and None not in self.there[name]:
            self.complaints.append(f"{name} was acknowledged, and is not there to be changed")
        else:
            self.there[name] |= {str(n)}
        return status == 200

    def delete(self, name):
        status, _ = self.api.call(self.server(), "DELETE", f"{CONFIGMAPS}/{name}")
        if status == 404 and None not in self.there[name]:
            self.complaints.append(f"{name} was acknowledged, and is not there to be deleted")
        if status in (200, 404):
            del self.there[name]
            self.gone.add(name)
        else:
            self.there[name] |= {None}
        return status == 200

    def check(self, name):
        """A read without a revision shows what was acknowledged before, on whichever server."""
        status, doc = self.api.call(self.server(), "GET", f"{CONFIGMAPS}/{name}")
        if status == 404 and None not in self.there[name]:
            self.complaints.append(f"{name} was acknowledged and is not found")
        if status == 200 and doc["data"]["n"] not in self.there[name]:
            self.complaints.append(f"{name} is {doc['data']['n']}, must be of {self.there[name]}")
        return status in (200, 404)

    def run(self):
        n = 0
        while not self.stop.is_set():
            n += 1
            names = list(self.there)
            choice = self.random.random()
            if not names or choice < 0.4:
                done = self.create(n)
            elif choice < 0.65:
                done = self.change(self.random.choice(names), n)
            elif choice < 0.9:
                done = self.check(self.random.choice(names))
            else:
                done = self.delete(self.random.choice(names))
            self.acknowledged += done
            self.failed += not done
            time.sleep(0.005 if done else 0.2)


class Kubectl(threading.Thread):
    """The same with kubectl, as people do: slower."""

    def __init__(self, stop):
        super().__init__(daemon=True)
        self.stop, self.there, self.failed = stop, [], 0

    def kubectl(self, server, *args):
        return subprocess.run(["kubectl", "--kubeconfig", f"{dir_}/client.kubeconfig", "--server",
                               f"https://{SERVERS[server]}:6443", "--request-timeout", "12s", *args],
                              capture_output=True, text=True)

    def run(self):
        n = 0
        while not self.stop.is_set():
            n += 1
            server = random.choice(list(SERVERS))
            if self.kubectl(server, "create", "configmap", f"k-{n}", f"--from-literal=n={n}").returncode == 0:
                self.there.append(f"k-{n}")
            else:
                self.failed += 1
                time.sleep(0.2)


class Watcher(threading.Thread):
    """Mirrors the ConfigMaps of one server; goes on after its last event when the connection ends."""

    def __init__(self, api, server, stop):
        super().__init__(daemon=True)
        self.api, self.server, self.stop = api, server, stop
        self.mirror, self.revision, self.lists, self.complaints = {}, 0, 0, []

    def list(self):
        status, doc = self.api.call(self.server, "GET", CONFIGMAPS)
        if status != 200:
            time.sleep(0.3)
            return
        self.lists += 1
        self.mirror = {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in doc["items"]}
        self.revision = int(doc["metadata"]["resourceVersion"])

    def take(self, event):
        o = event["object"]
        if event["type"] == "ERROR":
            self.revision = 0
            return False
        revision, name = int(o["metadata"]["resourceVersion"]), o["metadata"].get("name")
        if event["type"] != "BOOKMARK" and revision <= self.revision:
            self.complaints.append(f"{self.server}: {event['type']} {name} at {revision} after {self.revision}")
        if event["type"] == "ADDED" and name in self.mirror:
            self.complaints.append(f"{self.server}: {name} is added a second time at {revision}")
        if event["type"] in ("MODIFIED", "DELETED") and name not in self.mirror:
            self.complaints.append(f"{self.server}: {name} is {event['type']} at {revision} and was not there")
        self.revision = max(self.revision, revision)
        if event["type"] == "DELETED":
            self.mirror.pop(name, None)
        elif event["type"] != "BOOKMARK":
            self.mirror[name] = o["metadata"]["resourceVersion"]
        return True

    def follow(self):
        path = f"{CONFIGMAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={self.revision}"
        try:
            with self.api.open(self.server, path, timeout=5) as answer:
                while not self.stop.is_set() and answer.status == 200:
                    line = answer.readline()
                    if not line or not self.take(json.loads(line)):
                        return
                if answer.status == 410:
                    self.revision = 0
        except (OSError, http.client.HTTPException, ValueError):
            time.sleep(0.2)

    def run(self):
        while not self.stop.is_set():
            if self.revision:
                self.follow()
            else:
                self.list()


class Node(threading.Thread):
    """A node without a kubelet: it renews its Lease as one does, through the servers in turn."""

    name = "hollow"
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

    def __init__(self, api, stop):
        super().__init__(daemon=True)
        self.api, self.stop = api, stop
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}}
        room = {"cpu": "64", "memory": "64Gi", "pods": "1000"}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        api.first("POST", "/api/v1/nodes", node)
        api.first("PATCH", f"/api/v1/nodes/{self.name}/status",
                  {"status": {"allocatable": room, "capacity": room, "conditions": [ready]}},
                  content_type="application/merge-patch+json")

    def renew(self):
        status, lease = self.api.first("GET", f"{self.leases}/{self.name}")
        if status == 404:
            lease = {"metadata": {"name": self.name}, "spec": {"holderIdentity": self.name, "leaseDurationSeconds": 40}}
        elif status != 200:
            return
        lease["spec"]["renewTime"] = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        if status == 404:
            self.api.first("POST", self.leases, lease)
        else:
            self.api.first("PUT", f"{self.leases}/{self.name}", lease)

    def run(self):
        while not self.stop.wait(10):
            self.renew()


# ---- what goes wrong ----

ROLES = {"controllers": "kube-controller-manager", "scheduler": "kube-scheduler"}


def is_lease(role):
    key = f"/leases/kube-system/{ROLES[role]}"
    return lambda e: e.key.endswith(key) and e.object.get("spec", {}).get("holderIdentity")


def holder(event):
    return event.object["spec"]["holderIdentity"]


def seconds_between(renewed, taken):
    """By what the two wrote before they did: here they have one clock, on which no candidate would rely."""
    times = [datetime.datetime.fromisoformat(e.object["spec"]["renewTime"].replace("Z", "+00:00")) for e in (renewed, taken)]
    return (times[1] - times[0]).total_seconds()


def leading_server(observer, role="controllers"):
    while True:
        leases = observer.events(is_lease(role))
        server = holder(leases[-1]).split("_")[0] if leases else None
        if server in SERVERS and time.monotonic() < leases[-1].at + LEASE and processes[server].poll() is None:
            return server
        time.sleep(0.1)


def killed(victim):
    kill(victim, signal.SIGKILL)
    processes[victim].wait()
    return lambda: start(victim)


def stopped(victim):
    kill(victim, signal.SIGSTOP)
    return lambda: kill(victim, signal.SIGCONT)


def cut_off(victim):
    set_link(victim, "down")
    return lambda: set_link(victim, "up")


def etcd_leader(observer):
    return [leading_member()]


def server_leader(observer):
    return [leading_server(observer)]


def both_leaders(observer):
    return [leading_member(), leading_server(observer)]


FAULTS = [
    ("a member of etcd that leads is killed", etcd_leader, killed),
    ("a server that leads is stopped", server_leader, stopped),
    ("both leaders are killed", both_leaders, killed),
    ("a member of etcd that leads is cut off", etcd_leader, cut_off),
    ("a server that leads is killed", server_leader, killed),
    ("both leaders are stopped", both_leaders, stopped),
    ("a member of etcd that leads is stopped", etcd_leader, stopped),
    ("a server that leads is cut off", server_leader, cut_off),
    ("both leaders are cut off", both_leaders, cut_off),
]
SHORT = 3  # of them without an argument


def deployment(name):
    labels = {"app": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels},
                                  "spec": {"containers": [{"name": "c", "image": "none"}]}}}}


def is_pod_of(name, is_bound=False):
    return lambda e: f"/pods/default/{name}-" in e.key and (not is_bound or e.object.get("spec", {}).get("nodeName"))


class Probe(threading.Thread):
    """How long it takes until a server does a write that is asked for after the fault."""

    def __init__(self, api, server, fault_at):
        super().__init__(daemon=True)
        self.api, self.server, self.fault_at, self.back = api, server, fault_at, None
        self.start()

    def run(self):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}}
        while self.back is None and time.monotonic() < self.fault_at + 3 * LEASE:
            status, _ = self.api.call(self.server, "PUT", "/api/v1/namespaces/kube-public/configmaps/probe", body, timeout=1)
            if status in (200, 201, 404):
                self.back = time.monotonic() - self.fault_at
            else:
                time.sleep(0.05)


def write_deployment(api, name):
    """As soon as a server takes it, none of which is waited for longer than a moment."""
    def is_written():
        status, _ = api.first("POST", "/apis/apps/v1/namespaces/default/deployments", deployment(name))
        return status in (201, 409)

    return eventually(is_written, 3 * LEASE)


class Stalls(threading.Thread):
    """How long a machine that is busy with other things keeps a thread waiting that wants to run."""

    TICK = 0.01

    def __init__(self):
        super().__init__(daemon=True)
        self.known = []  # when, and how much too late

    def run(self):
        while True:
            begin = time.monotonic()
            time.sleep(self.TICK)
            self.known.append((begin, time.monotonic() - begin - self.TICK))

    def seconds(self, begin, end):
        return sum(late for at, late in self.known if begin - 2 * self.TICK <= at <= end)


stalls = Stalls()


class Timing:
    """Of what ROLE did first after a fault."""

    def __init__(self, observer, role, fault_at, ready, act):
        self.role, self.back = role, act.at - fault_at
        leases = [e for e in observer.events(is_lease(role)) if e.revision < act.revision]
        taken = renewed = None
        for earlier, later in zip(leases, leases[1:]):
            if holder(earlier) != holder(later):
                renewed, taken = earlier, later
        self.is_new_leader = bool(taken) and taken.at > fault_at
        could_at = ready.at
        if self.is_new_leader:
            self.is_early = seconds_between(renewed, taken) < LEASE
            self.taken = taken.at - renewed.at - LEASE
            could_at = max(renewed.at + LEASE, ready.at)
        self.late, self.stalled = act.at - could_at, stalls.seconds(could_at, act.at)

    def is_in_time(self, with_member):
        """Who leads already has to find another member of etcd at most."""
        if not self.is_new_leader:
            return self.back <= USUAL_LEASE
        allowed = ALLOWED_SECONDS + MEMBER_SECONDS * with_member
        return not self.is_early and self.late - self.stalled <= allowed

    def __str__(self):
        leader = f", lease taken {self.taken:+.3f} s after it was out{' TOO EARLY' * self.is_early}" if self.is_new_leader else ""
        return f"{self.role} after {self.back:.1f} s{leader}, acted {self.late:.3f} s after they could (stalled {self.stalled:.3f} s)"


def timings(observer, name, fault_at):
    """Of the controllers, which make the pod of a Deployment, and of the scheduler, which binds it."""
    is_deployment = lambda e: e.key.endswith(f"/deployments/default/{name}")
    pod = observer.wait(is_pod_of(name), 4 * LEASE)
    bound = observer.wait(is_pod_of(name, is_bound=True), 2 * LEASE) if pod else None
    if not bound:
        return None
    written = observer.wait(is_deployment, 0)
    made = observer.wait(lambda e: f"/replicasets/default/{name}-" in e.key, 0)
    return [Timing(observer, "controllers", fault_at, written, made), Timing(observer, "scheduler", fault_at, pod, bound)]


def fault(api, observer, name, what, victims_of, break_it):
    victims = api.down = victims_of(observer)
    fault_at = time.monotonic()
    mend = [break_it(v) for v in victims]
    note(f"{time.strftime('%T')} {what}: {', '.join(victims)}")
    probes = [Probe(api, s, fault_at) for s in SERVERS if s not in victims]
    is_written = write_deployment(api, name)
    found = timings(observer, name, fault_at) if is_written else None
    for p in probes:
        p.join()
    served = [p.back or 3 * LEASE for p in probes]
    took = f"API after {max(served):.1f} s; " + "; ".join(map(str, found or ["nothing came of it"]))
    note(took)
    ok(max(served) <= USUAL_LEASE, f"{what}: each server that is left serves", took)
    in_time = found and all(t.is_in_time(victims[0] in MEMBERS) for t in found)
    ok(in_time, f"{what}: work goes on when the lease is out", took)
    for m in mend:
        m()
    api.down = []
    wait_until_well(api, observer)
    return served, found or []


def wait_until_well(api, observer):
    """The next fault shall not come before leaders renew again and candidates see it."""
    begin = time.monotonic()
    for server in SERVERS:
        eventually(lambda: api.call(server, "GET", "/readyz", timeout=2)[0] == 200)
    for role in ROLES:
        observer.wait(lambda e: is_lease(role)(e) and e.at > begin, 3 * LEASE)
    time.sleep(2 * RETRY)
    for role in ROLES:
        leading_server(observer, role)


def all_faults(api, observer):
    figures = {}
    wait_until_well(api, observer)
    chosen = [f for f in FAULTS if os.environ.get("ONLY", "") in f[0]]
    for number in range(max(ROUNDS, 1)):
        for i, (what, *how) in enumerate(chosen if ROUNDS else chosen[:SHORT]):
            figures.setdefault(what, []).append(fault(api, observer, f"d-{number}-{i}", what, *how))
    return figures


def summary(values):
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f}" if values else "-"


def note_figures(figures):
    note("seconds, least / median / most: until a server writes; until controllers and scheduler act; how late the lease "
         "was taken and work was done")
    for what, rounds in figures.items():
        found = [t for _, timings in rounds for t in timings]
        note(f"{what}: API {summary([s for served, _ in rounds for s in served])}; back {summary([t.back for t in found])}; "
             f"taken {summary([t.taken for t in found if t.is_new_leader])}; done {summary([t.late for t in found])}")


# ---- all of it ----

def wait_for_servers():
    for name in SERVERS:
        eventually(lambda: os.path.exists(f"{dir_}/{name}.kubeconfig"))
    shutil.copy(f"{dir_}/s1.kubeconfig", f"{dir_}/client.kubeconfig")
    api = Servers()
    for name in SERVERS:
        eventually(lambda: api.call(name, "GET", "/api/v1/namespaces/default")[0] == 200)
    return api


def items(api, server, path):
    for _ in range(60):
        status, doc = api.call(server, "GET", path)
        if status == 200:
            return {o["metadata"]["name"]: o for o in doc["items"]}
        time.sleep(0.5)
    raise RuntimeError(f"{server} does not list {path}: {doc}")


def check_writers(api, writers, kubectl):
    for server in SERVERS:
        have = items(api, server, CONFIGMAPS)
        wrong = [c for w in writers for c in w.complaints]
        for w in writers:
            for name, values in w.there.items():
                value = have[name]["data"]["n"] if name in have else None
                if value not in values:
                    wrong.append(f"{name} is {value}, must be of {values}")
            wrong += [f"{name} was deleted and is there" for name in w.gone if name in have]
        wrong += [f"{name} of kubectl is not there" for name in kubectl.there if name not in have]
        ok(not wrong, f"everything acknowledged is on {server}", *wrong[:20])


def check_watchers(api, watchers):
    for w in watchers:
        have = {name: o["metadata"]["resourceVersion"] for name, o in items(api, w.server, CONFIGMAPS).items()}
        for _ in range(100):
            if w.mirror == have:
                break
            time.sleep(0.1)
        differences = [f"{n}: {w.mirror.get(n)} seen, {have.get(n)} there" for n in {*have, *w.mirror}
                       if w.mirror.get(n) != have.get(n)]
        ok(not w.complaints and not differences, f"a watch of {w.server} has seen everything once, in order",
           *w.complaints[:10], *differences[:10])


def check_pods(api, observer):
    """Over all of history: also a pod that was made and taken away again is one too many."""
    deployments = items(api, "s1", "/apis/apps/v1/namespaces/default/deployments")
    made = {name: len(observer.events(lambda e: is_pod_of(name)(e) and e.is_create)) for name in deployments}
    ok(all(n == 1 for n in made.values()), "two leaders have not both made pods", made)
    gone = [e.key for e in observer.events(lambda e: "/pods/default/" in e.key)
            if e.is_delete or "deletionTimestamp" in e.object["metadata"]]
    ok(not gone, "no pod was evicted", *gone)
    nodes = observer.events(lambda e: e.key.endswith(f"/nodes/{Node.name}"))
    lost = [e.object for e in nodes if e.object["spec"].get("taints") and
            any("unreachable" in t["key"] for t in e.object["spec"]["taints"])]
    ok(nodes and not lost, "the node was never taken for lost", *lost)


def check_services(api):
    """Both servers give addresses at the same time, and none twice."""
    path, given, refused = "/api/v1/namespaces/default/services", [], []

    def make(server, n):
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"{server}-{n}"},
                "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
        status, doc = api.call(server, "POST", path, body)
        if status == 201:
            given.append((doc["spec"]["clusterIP"], doc["spec"]["ports"][0]["nodePort"]))
        else:
            refused.append(doc.get("message"))

    threads = [threading.Thread(target=lambda s=s, t=t: [make(s, f"{t}-{n}") for n in range(10)])
               for s in SERVERS for t in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    unique = len({g[0] for g in given}) == len({g[1] for g in given}) == len(given) == 60
    ok(unique, "addresses and ports are given once", f"{len(given)} given", *refused[:5])


def check_endpoints(api):
    for _ in range(150):
        status, doc = api.call("s1", "GET", "/api/v1/namespaces/default/endpoints/kubernetes")
        found = sorted(a["ip"] for s in doc.get("subsets") or [] for a in s.get("addresses", [])) if status == 200 else []
        if found == sorted(SERVERS.values()):
            break
        time.sleep(0.2)
    ok(found == sorted(SERVERS.values()), "the kubernetes Service has the addresses of both servers", found)


def check_handover(api, observer):
    """A leader that is told to end gives its lease up: nobody waits for it to run out."""
    victim = leading_server(observer)
    begin = time.monotonic()
    kill(victim, signal.SIGTERM)
    processes[victim].wait()
    is_written = write_deployment(api, "handover")
    pod = observer.wait(is_pod_of("handover"), 4 * LEASE) if is_written else None
    back = pod and pod.at - begin
    note(f"after the end of {victim}: a pod after {back} s")
    ok(back is not None and back < LEASE, "a leader that ends hands over before its lease would", f"{back} s")
    start(victim)


def etcd_context():
    context = ssl.create_default_context(cafile=f"{dir_}/ca.crt")
    context.load_cert_chain(f"{dir_}/etcd.crt", f"{dir_}/etcd.key")
    return context


def main():
    make_network()
    enter(f"{TAG}-hub")
    make_certificates()
    for name in MEMBERS:
        start(name)
    leading_member()
    observer = Observer(MEMBERS, etcd_context(), "/registry/")
    for name in SERVERS:
        start(name)
    api = wait_for_servers()
    check_endpoints(api)
    check_services(api)

    stop, stop_watching = threading.Event(), threading.Event()
    writers = [Writer(api, n, stop) for n in range(4)]
    watchers = [Watcher(api, s, stop_watching) for s in SERVERS]
    kubectl = Kubectl(stop)
    for t in [stalls, *writers, *watchers, kubectl, Node(api, stop)]:
        t.start()
    figures = all_faults(api, observer)
    check_handover(api, observer)
    stop.set()
    for t in [*writers, kubectl]:
        t.join()
    note_figures(figures)
    note(f"{sum(w.acknowledged for w in writers)} calls done, {sum(w.failed for w in writers)} not; "
         f"kubectl {len(kubectl.there)} done, {kubectl.failed} not; lists of watchers {[w.lists for w in watchers]}")
    check_writers(api, writers, kubectl)
    check_watchers(api, watchers)
    stop_watching.set()
    check_pods(api, observer)


if __name__ == "__main__":
    socket.setdefaulttimeout(15)
    run(main, ("etcd", "etcdctl", "kubectl", "openssl", "ip"), remove_network, needs_root=True)
