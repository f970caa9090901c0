#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two servers on three members of etcd, each in a network namespace of its own, under load: leaders are killed, stopped
and cut off in turn.  What was acknowledged is there afterwards, watches have missed nothing, and work goes on.

    CORACLE=build/coracle test/fault/servers_test.py [ROUNDS]      a round is every fault once; default: some of them, once
"""
import base64
import ctypes
import http.client
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CORACLE = os.path.abspath(os.environ.get("CORACLE", f"{TOP}/build/coracle"))
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 0
# The usual times in a long run; shorter ones where it shall not take long.
LEASE, RENEW, RETRY = (15, 10, 2) if ROUNDS else (6, 4, 1)
# A leader that is gone is replaced when its lease is out; a candidate whose own watch was hit as well learns of the last
# renewal at its next look.  Then controllers read their caches.
BACK_SECONDS = LEASE + 2.2 * RETRY + 5
MEMBERS = {"m1": "10.98.0.11", "m2": "10.98.0.12", "m3": "10.98.0.13"}
SERVERS = {"s1": "10.98.0.21", "s2": "10.98.0.22"}
TAG = f"cs{os.getpid()}"
CLONE_NEWNET = 0x40000000
dir_ = tempfile.mkdtemp(prefix="coracle-servers-")
processes = {}
tests = failures = 0


def ok(passed, what, *details):
    global tests, failures
    tests += 1
    failures += not passed
    print(f"{'ok' if passed else 'not ok'} {tests} - {what}", flush=True)
    for detail in details if not passed else []:
        print(f"# {detail}", flush=True)


def note(text):
    print(f"# {time.strftime('%T')} {text}", flush=True)


def run(*args, check=True):
    return subprocess.run(args, check=check, capture_output=True, text=True).stdout


# ---- the network: a bridge, and a namespace for each process ----

def enter(name):
    with open(f"/run/netns/{name}") as f:
        if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"enter {name}")


def make_network():
    hub = f"{TAG}-hub"
    run("ip", "netns", "add", hub)
    run("ip", "-n", hub, "link", "set", "lo", "up")
    run("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
    run("ip", "-n", hub, "addr", "add", "10.98.0.1/24", "dev", "br0")
    run("ip", "-n", hub, "link", "set", "br0", "up")
    for name, address in {**MEMBERS, **SERVERS}.items():
        ns = f"{TAG}-{name}"
        run("ip", "netns", "add", ns)
        run("ip", "-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", hub)
        run("ip", "-n", ns, "addr", "add", f"{address}/24", "dev", "eth0")
        for link in "lo", "eth0":
            run("ip", "-n", ns, "link", "set", link, "up")
        run("ip", "-n", hub, "link", "set", name, "master", "br0", "up")


def set_link(name, state):
    run("ip", "-n", f"{TAG}-hub", "link", "set", name, state)


def remove_network():
    for name in ["hub", *MEMBERS, *SERVERS]:
        subprocess.run(["ip", "netns", "del", f"{TAG}-{name}"], capture_output=True)


# ---- etcd and coracle ----

def make_certificates():
    """One authority, and one certificate that every member and client shows."""
    names = ",".join(f"IP:{a}" for a in MEMBERS.values())
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=etcd-ca", "-keyout", f"{dir_}/ca.key", "-out", f"{dir_}/ca.crt")
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=etcd",
        "-keyout", f"{dir_}/etcd.key", "-out", f"{dir_}/etcd.csr")
    with open(f"{dir_}/ext", "w") as f:
        f.write(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    run("openssl", "x509", "-req", "-in", f"{dir_}/etcd.csr", "-CA", f"{dir_}/ca.crt", "-CAkey", f"{dir_}/ca.key",
        "-CAcreateserial", "-days", "2", "-extfile", f"{dir_}/ext", "-out", f"{dir_}/etcd.crt")


def start(name):
    tls = ["--cert-file", f"{dir_}/etcd.crt", "--key-file", f"{dir_}/etcd.key", "--trusted-ca-file", f"{dir_}/ca.crt",
           "--client-cert-auth"]
    if name in MEMBERS:
        address = MEMBERS[name]
        command = ["etcd", "--name", name, "--data-dir", f"{dir_}/{name}",
                   "--listen-client-urls", f"https://{address}:2379", "--advertise-client-urls", f"https://{address}:2379",
                   "--listen-peer-urls", f"http://{address}:2380", "--initial-advertise-peer-urls", f"http://{address}:2380",
                   "--initial-cluster", ",".join(f"{m}=http://{a}:2380" for m, a in MEMBERS.items()),
                   "--initial-cluster-state", "new", "--log-level", "warn", *tls]
    else:
        command = [CORACLE, "server", "--disable-agent", "--data-dir", f"{dir_}/{name}", "--node-name", name,
                   "--config", f"{dir_}/none.yaml", "--advertise-address", SERVERS[name],
                   "--write-kubeconfig", f"{dir_}/{name}.kubeconfig", "--token", "test-token",
                   "--datastore-endpoint", ",".join(f"https://{a}:2379" for a in MEMBERS.values()),
                   "--datastore-cafile", f"{dir_}/ca.crt", "--datastore-certfile", f"{dir_}/etcd.crt",
                   "--datastore-keyfile", f"{dir_}/etcd.key", "--leader-elect-lease-duration", f"{LEASE}s",
                   "--leader-elect-renew-deadline", f"{RENEW}s", "--leader-elect-retry-period", f"{RETRY}s"]
    log = open(f"{dir_}/{name}.log", "a")
    processes[name] = subprocess.Popen(["nsenter", f"--net=/run/netns/{TAG}-{name}", *command], stdout=log, stderr=log)


def kill(name, number):
    processes[name].send_signal(number)


def etcdctl(*args):
    endpoints = ",".join(f"https://{a}:2379" for a in MEMBERS.values())
    env = dict(os.environ, ETCDCTL_API="3")
    command = ["etcdctl", "--endpoints", endpoints, "--cacert", f"{dir_}/ca.crt", "--cert", f"{dir_}/etcd.crt",
               "--key", f"{dir_}/etcd.key", "--command-timeout", "3s", *args]
    return subprocess.run(command, env=env, capture_output=True, text=True).stdout


def leading_member():
    for _ in range(40):
        for entry in json.loads(etcdctl("endpoint", "status", "-w", "json") or "[]"):
            status = entry["Status"]
            if status["header"]["member_id"] == status.get("leader"):
                address = entry["Endpoint"].split("//")[1].split(":")[0]
                return next(m for m, a in MEMBERS.items() if a == address)
        time.sleep(0.5)
    raise RuntimeError("no member leads")


# ---- clients ----

class Api:
    """HTTPS to one server after the other."""

    def __init__(self, kubeconfig):
        import yaml
        with open(kubeconfig) as f:
            config = yaml.safe_load(f)
        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        self.context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile(dir=dir_) as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"]))
            pem.flush()
            self.context.load_cert_chain(pem.name)

    def connect(self, server, timeout=12):
        return http.client.HTTPSConnection(SERVERS[server], 6443, timeout=timeout, context=self.context)

    def call(self, server, method, path, body=None, timeout=12):
        """The status and the document; 0 and why if there was no answer."""
        link = self.connect(server, timeout)
        try:
            link.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
            answer = link.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError) as e:
            return 0, {"message": repr(e)}
        finally:
            link.close()


CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


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
        body = {"data": {"n": str(n)}}
        link = self.api.connect(self.server())
        try:
            link.request("PATCH", f"{CONFIGMAPS}/{name}", json.dumps(body), {"Content-Type": "application/merge-patch+json"})
            status = link.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
        finally:
            link.close()
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
        link = self.api.connect(self.server, timeout=5)
        try:
            link.request("GET", f"{CONFIGMAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={self.revision}")
            answer = link.getresponse()
            while not self.stop.is_set() and answer.status == 200:
                line = answer.readline()
                if not line or not self.take(json.loads(line)):
                    return
            if answer.status == 410:
                self.revision = 0
        except (OSError, http.client.HTTPException, ValueError):
            time.sleep(0.2)
        finally:
            link.close()

    def run(self):
        while not self.stop.is_set():
            if self.revision:
                self.follow()
            else:
                self.list()


# ---- what goes wrong ----

def lease_holder(api, name):
    for server in SERVERS:
        status, doc = api.call(server, "GET", f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}", timeout=4)
        if status == 200 and doc["spec"].get("holderIdentity"):
            return doc["spec"]["holderIdentity"].split("_")[0]
    return None


def leading_server(api):
    while True:
        holder = lease_holder(api, "kube-controller-manager")
        if holder in SERVERS:
            return holder
        time.sleep(0.5)


def kill_member(api, hold):
    victim = leading_member()
    kill(victim, signal.SIGKILL)
    processes[victim].wait()
    return victim, lambda: start(victim)


def stop_member(api, hold):
    victim = leading_member()
    kill(victim, signal.SIGSTOP)
    return victim, lambda: kill(victim, signal.SIGCONT)


def cut_member(api, hold):
    victim = leading_member()
    set_link(victim, "down")
    return victim, lambda: set_link(victim, "up")


def kill_server(api, hold):
    victim = leading_server(api)
    kill(victim, signal.SIGKILL)
    processes[victim].wait()
    return victim, lambda: start(victim)


def stop_server(api, hold):
    victim = leading_server(api)
    kill(victim, signal.SIGSTOP)
    return victim, lambda: kill(victim, signal.SIGCONT)


def cut_server(api, hold):
    victim = leading_server(api)
    set_link(victim, "down")
    return victim, lambda: set_link(victim, "up")


FAULTS = {
    "a member of etcd that leads is killed": kill_member,
    "a server that leads is stopped": stop_server,
    "a member of etcd that leads is cut off": cut_member,
    "a server that leads is killed": kill_server,
    "a member of etcd that leads is stopped": stop_member,
    "a server that leads is cut off": cut_server,
}
SHORT = 3  # of them without an argument


def deployment(name):
    labels = {"app": name}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels},
                                  "spec": {"containers": [{"name": "c", "image": "none"}]}}}}


def pods_of(api, name):
    for server in SERVERS:
        status, doc = api.call(server, "GET", f"/api/v1/namespaces/default/pods?labelSelector=app%3D{name}", timeout=4)
        if status == 200:
            return [p for p in doc["items"] if "deletionTimestamp" not in p["metadata"]]
    return None


def seconds_until_work_goes_on(api, name):
    """From now until a new Deployment has its pod: that takes the API, the store, and controllers that lead."""
    begin, is_written = time.monotonic(), None
    while time.monotonic() - begin < 4 * BACK_SECONDS:
        if is_written is None:
            for server in SERVERS:
                status, _ = api.call(server, "POST", "/apis/apps/v1/namespaces/default/deployments", deployment(name), timeout=4)
                if status in (201, 409):
                    is_written = time.monotonic() - begin
                    break
        elif pods_of(api, name):
            return is_written, time.monotonic() - begin
        time.sleep(0.1)
    return is_written, None


def fault_round(api, faults, number):
    for i, (what, break_it) in enumerate(faults.items()):
        name = f"d-{number}-{i}"
        victim, mend = break_it(api, None)
        note(f"{what}: {victim}")
        written, back = seconds_until_work_goes_on(api, name)
        took = f"written after {written and round(written, 1)} s, a pod after {back and round(back, 1)} s"
        note(took)
        ok(back is not None and back <= BACK_SECONDS, f"{what}: work goes on", f"{took}, allowed are {BACK_SECONDS:.1f} s")
        mend()
        time.sleep(3)


# ---- all of it ----

def wait_for_servers(api_of):
    for name in SERVERS:
        for _ in range(300):
            if os.path.exists(f"{dir_}/{name}.kubeconfig"):
                break
            time.sleep(0.1)
    api = api_of(f"{dir_}/s1.kubeconfig")
    for name in SERVERS:
        for _ in range(300):
            if api.call(name, "GET", "/api/v1/namespaces/default")[0] == 200:
                break
            time.sleep(0.1)
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


def check_pods(api):
    deployments = items(api, "s1", "/apis/apps/v1/namespaces/default/deployments")
    for _ in range(100):
        counts = {name: len(pods_of(api, name) or []) for name in deployments}
        if all(n == 1 for n in counts.values()):
            break
        time.sleep(0.2)
    ok(all(n == 1 for n in counts.values()), "two leaders have not both made pods", counts)


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


def check_handover(api):
    """A leader that is told to end gives its lease up: nobody waits for it to run out."""
    victim = leading_server(api)
    kill(victim, signal.SIGTERM)
    processes[victim].wait()
    begin = time.monotonic()
    _, back = seconds_until_work_goes_on(api, "handover")
    note(f"after the end of {victim}: a pod after {back and round(back, 1)} s")
    ok(back is not None and back < LEASE, "a leader that ends hands over before its lease would", f"{back} s")
    start(victim)
    return time.monotonic() - begin


def main():
    make_network()
    enter(f"{TAG}-hub")
    make_certificates()
    with open(f"{dir_}/none.yaml", "w") as f:
        f.write("{}\n")
    for name in MEMBERS:
        start(name)
    leading_member()
    for name in SERVERS:
        start(name)
    api = wait_for_servers(Api)
    shutil.copy(f"{dir_}/s1.kubeconfig", f"{dir_}/client.kubeconfig")
    check_endpoints(api)
    check_services(api)

    stop, stop_watching = threading.Event(), threading.Event()
    writers = [Writer(api, n, stop) for n in range(4)]
    watchers = [Watcher(api, s, stop_watching) for s in SERVERS]
    kubectl = Kubectl(stop)
    for t in [*writers, *watchers, kubectl]:
        t.start()
    faults = FAULTS if ROUNDS else dict(list(FAULTS.items())[:SHORT])
    for number in range(max(ROUNDS, 1)):
        fault_round(api, faults, number)
    check_handover(api)
    stop.set()
    for t in [*writers, kubectl]:
        t.join()
    note(f"{sum(w.acknowledged for w in writers)} calls done, {sum(w.failed for w in writers)} not; "
         f"kubectl {len(kubectl.there)} done, {kubectl.failed} not; lists of watchers {[w.lists for w in watchers]}")
    check_writers(api, writers, kubectl)
    check_watchers(api, watchers)
    stop_watching.set()
    check_pods(api)


if __name__ == "__main__":
    for tool in "etcd", "etcdctl", "kubectl", "openssl", "ip":
        if not shutil.which(tool) or os.geteuid() != 0:
            print(f"1..0 # SKIP needs root and {tool}")
            sys.exit(0)
    socket.setdefaulttimeout(15)
    try:
        main()
    except Exception as e:  # noqa: the processes must go whatever happened
        ok(False, "the test itself", repr(e))
    finally:
        for p in processes.values():
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
                p.kill()
        for p in processes.values():
            p.wait()
        remove_network()
        print(f"1..{tests}")
        if failures:
            for name in SERVERS:
                print(f"# ---- {name}")
                with open(f"{dir_}/{name}.log") as f:
                    print("".join("# " + line for line in f.readlines()[-25:]), end="")
        if not failures or not os.environ.get("KEEP"):
            shutil.rmtree(dir_, ignore_errors=True)
    sys.exit(1 if failures else 0)
