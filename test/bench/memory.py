#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What objects cost in the memory of a server: pods as a Deployment, the scheduler and kubelets make them.

    memory.py [PODS]        default 6000; CORACLE: the program; LATER=0: without the rows that wait

The controllers and the scheduler are the server's own; the kubelets' two status patches for each pod come from here.
Prints a row for each stage: resident and private memory, and that divided by the pods. Pages of the store's file
count as resident, not as private: the kernel takes them back whenever it likes."""
import base64
import http.client
import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CORACLE = os.environ.get("CORACLE", TOP + "/build/coracle")
PODS = int(sys.argv[1]) if len(sys.argv) > 1 else 6000
PODS_PER_NODE = 100
CLIENTS = 8
LATER = os.environ.get("LATER", "1") != "0"
LABELS = {"app.kubernetes.io/name": "shop", "app.kubernetes.io/component": "web"}
POD_SPEC = {
    "serviceAccountName": "default",
    "containers": [{
        "name": "web", "image": "registry.example.com/shop/web:1.27.3",
        "env": [{"name": "LISTEN", "value": ":8080"}, {"name": "DATABASE", "value": "db.shop.svc:5432"},
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/shop"}]}],
    "volumes": [{"name": "config", "configMap": {"name": "shop"}}]}


class Client:
    def __init__(self, port, identity):
        self.context = ssl._create_unverified_context()
        self.context.load_cert_chain(*identity)
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, context=self.context, timeout=120)

    def call(self, method, path, body=None, kind="application/json", agent="memory_bench"):
        self.connection.request(method, path, json.dumps(body) if body is not None else None,
                                {"content-type": kind, "user-agent": agent + "/v1"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return text

    def json(self, *args, **more):
        return json.loads(self.call(*args, **more))


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def conditions(ready):
    return [{"type": t, "status": "True" if ready or t in ("PodScheduled", "Initialized") else "False",
             "lastTransitionTime": now()}
            for t in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")]


def status(number, pod, ready):
    """What a kubelet says when it has seen the pod, and when the pod is ready."""
    container = {"name": "web", "image": POD_SPEC["containers"][0]["image"], "imageID": "", "restartCount": 0,
                 "ready": ready, "started": ready, "lastState": {},
                 "state": {"waiting": {"reason": "ContainerCreating"}}}
    out = {"phase": "Pending", "startTime": now(), "conditions": conditions(ready), "hostIP": "10.0.0.1",
           "hostIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [container]}
    if ready:
        ip = f"10.42.{number // 250 % 250}.{number % 250 + 1}"
        container.update(state={"running": {"startedAt": now()}},
                         imageID="registry.example.com/shop/web@sha256:" + "ab" * 32,
                         containerID="containerd://" + pod["metadata"]["uid"].replace("-", "") * 2)
        out.update(phase="Running", podIP=ip, podIPs=[{"ip": ip}])
    return {"status": out}


def kubelet(port, identity, pods):
    client = Client(port, identity)
    for ready in (False, True):
        for number, pod in pods:
            path = "/api/v1/namespaces/default/pods/" + pod["metadata"]["name"] + "/status"
            client.call("PATCH", path, status(number, pod, ready), "application/strategic-merge-patch+json", "kubelet")


def run_kubelets(port, identity, pods):
    numbered = list(enumerate(pods))
    workers = [multiprocessing.Process(target=kubelet, args=(port, identity, numbered[i::CLIENTS]))
               for i in range(CLIENTS)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
        assert w.exitcode == 0


def wait_for(what, done):
    until = time.monotonic() + 300
    while not done():
        assert time.monotonic() < until, "waited too long for " + what
        time.sleep(0.2)


def memory_of(process):
    with open(f"/proc/{process.pid}/smaps_rollup") as f:
        kb = dict(re.findall(r"^(\w+): +(\d+) kB", f.read(), re.M))
    return int(kb["Rss"]), int(kb["Pss_Anon"])


class Report:
    def __init__(self, process):
        self.process, self.idle = process, None

    def row(self, stage):
        time.sleep(2)
        rss, private = memory_of(self.process)
        self.idle = self.idle or (rss, private)
        print(f"{stage:42} RSS {rss / 1024:7.1f} MB  private {private / 1024:7.1f} MB"
              f"  per pod {(rss - self.idle[0]) / PODS:6.2f} / {(private - self.idle[1]) / PODS:6.2f} KB", flush=True)


def wait_two_minutes(client, report):
    """What has happened is kept for a while, for watches that resume."""
    if LATER:
        client.connection.close()  # the server would, and the next call opens it again
        time.sleep(120)
        report.row("two minutes later")


def make_nodes(client):
    for i in range(PODS // PODS_PER_NODE + 2):
        name = f"node-{i}"
        room = {"cpu": "32", "memory": "64Gi", "pods": str(PODS_PER_NODE)}
        client.call("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
        client.call("PATCH", f"/api/v1/nodes/{name}/status", {"status": {
            "capacity": room, "allocatable": room, "conditions": [
                {"type": "Ready", "status": "True", "reason": "KubeletReady",
                 "lastHeartbeatTime": now(), "lastTransitionTime": now()}]}}, "application/merge-patch+json")


def keep_nodes_alive(port, identity):
    """Leases, as kubelets renew them: else the controllers would take the nodes for lost."""
    client, path = Client(port, identity), "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    names = [f"node-{i}" for i in range(PODS // PODS_PER_NODE + 2)]
    for name in names:
        client.call("POST", path, {"metadata": {"name": name}, "spec": {
            "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now().replace("Z", ".000000Z")}})
    while True:
        time.sleep(10)
        for name in names:
            client.call("PATCH", path + "/" + name, {"spec": {"renewTime": now().replace("Z", ".000000Z")}},
                        "application/merge-patch+json")


def measure(client, port, identity, report):
    pods_path, events_path = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/events"
    make_nodes(client)
    multiprocessing.Process(target=keep_nodes_alive, args=(port, identity), daemon=True).start()
    report.row("idle")
    client.call("POST", "/apis/apps/v1/namespaces/default/deployments", {
        "metadata": {"name": "web"}, "spec": {"replicas": PODS, "selector": {"matchLabels": LABELS}, "template": {
            "metadata": {"labels": LABELS, "annotations": {"prometheus.io/scrape": "true"}}, "spec": POD_SPEC}}})

    def bound():
        return len(client.json("GET", pods_path + "?limit=1")["items"]) == 1 and \
            sum(1 for p in client.json("GET", pods_path)["items"] if p["spec"].get("nodeName")) == PODS

    wait_for("the scheduler", bound)
    report.row("created and bound")
    pods = client.json("GET", pods_path)["items"]
    run_kubelets(port, identity, pods)
    client.connection.close()  # on a busy machine that took longer than the server waits
    report.row("running")
    text = client.call("GET", pods_path)
    events = client.json("GET", events_path)["items"]
    report.row("all listed")
    wait_two_minutes(client, report)
    print(f"# JSON of a pod: {len(text) / PODS:.0f} bytes; {len(events)} events")
    client.call("DELETE", "/apis/apps/v1/namespaces/default/deployments/web")
    wait_for("the end of the ReplicaSet", lambda: not client.json(
        "GET", "/apis/apps/v1/namespaces/default/replicasets")["items"])
    client.call("DELETE", pods_path + "?gracePeriodSeconds=0")
    client.call("DELETE", events_path)
    wait_for("the end of the pods", lambda: not client.json("GET", pods_path + "?limit=1")["items"])
    report.row("deleted")
    wait_two_minutes(client, report)


def main():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    data = tempfile.mkdtemp(prefix="coracle-memory.")
    open(data + "/config.yaml", "w").close()
    with open(data + "/server.log", "w") as log:
        server = subprocess.Popen([CORACLE, "server", "--disable-agent", "--data-dir", data, "--write-kubeconfig",
                                   data + "/kubeconfig", "--bind-address", "127.0.0.1", "--https-listen-port",
                                   str(port), "--config", data + "/config.yaml"], stderr=log)
    try:
        wait_for("the kubeconfig", lambda: os.path.exists(data + "/kubeconfig"))
        with open(data + "/kubeconfig") as f:
            parts = dict(re.findall(r"(client-\w+-data): (\S+)", f.read()))
        identity = []
        for part in ("client-certificate-data", "client-key-data"):
            identity.append(f"{data}/{part}.pem")
            with open(identity[-1], "wb") as f:
                f.write(base64.b64decode(parts[part].strip('"')))

        def is_ready():
            try:
                Client(port, identity).call("GET", "/api/v1/namespaces/default/serviceaccounts/default")
                return True
            except (OSError, RuntimeError):
                return False

        wait_for("the server", is_ready)
        measure(Client(port, identity), port, identity, Report(server))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
        shutil.rmtree(data)


main()
