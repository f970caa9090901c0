#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Servers on an etcd cluster: flags, shared keys and tokens, an etcd that goes away and comes back, history that is gone.

    CORACLE=build/coracle test/api/datastore_test.py
"""
import json
import os
import signal
import subprocess

from etcd_servers import (CONFIGMAPS, CORACLE, Api, dir_, end, etcd_command, etcdctl, eventually, free_port, log_of, ok,
                          processes, run, server_command, spawn)

ETCD_PORT, PEER_PORT = free_port(), free_port()
ENDPOINT, PEER = f"http://127.0.0.1:{ETCD_PORT}", f"http://127.0.0.1:{PEER_PORT}"
PORTS = {"s1": free_port(), "s2": free_port()}


def start_etcd():
    spawn("etcd", *etcd_command("etcd", ENDPOINT, PEER, "--initial-cluster", f"etcd={PEER}"))


def arguments(name, *more):
    return server_command(name, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", *more)


def start_server(name, *more):
    spawn(name, *arguments(name, "--https-listen-port", str(PORTS[name]), "--datastore-endpoint", ENDPOINT,
                           "--disable-scheduler", *more))


def refused(what, status, text, *args):
    p = subprocess.run(args, capture_output=True, text=True, timeout=300)
    said = p.stdout + p.stderr
    ok(p.returncode == status and text in said, what, f"status {p.returncode}", said)


def api_of(name, token=None):
    return Api(f"{dir_}/s1.kubeconfig", "127.0.0.1", PORTS[name], token)


def configmap(name, value):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": value}}


def check_files():
    """Whoever names a file that cannot be read is told at once, in one line with its name and where it was named."""
    missing = f"{dir_}/no-such-file"
    for flag, others in [("token-file", []), ("datastore-cafile", []), ("encryption-provider-config", []),
                         ("datastore-certfile", ["--datastore-keyfile", os.devnull]),
                         ("datastore-keyfile", ["--datastore-certfile", os.devnull]), ("config", [])]:
        refused(f"a missing file behind --{flag}", 2, f"--{flag}: read {missing}: No such file",
                *arguments("f", f"--{flag}", missing, *others))
    refused("a folder behind --token-file", 2, f"--token-file: {dir_} is a folder", *arguments("f", "--token-file", dir_))
    for flag in ("kubeconfig", "private-registry"):
        refused(f"a missing file behind --{flag} of a kubelet", 2, f"--{flag}: read {missing}", CORACLE, "kubelet",
                "--config", os.devnull, f"--{flag}", missing)
    settings = f"{dir_}/settings.yaml"
    with open(settings, "w") as f:
        f.write(f"token-file: {missing}\n")
    refused("a missing file in the settings", 2, f"{settings}: token-file: read {missing}",
            *arguments("f", "--config", settings))
    refused("a missing file in the environment", 2, f"CORACLE_TOKEN_FILE: read {missing}",
            "env", f"CORACLE_TOKEN_FILE={missing}", *arguments("f"))


def check_unreachable():
    """An etcd that does not answer is told of once by the store, and then by who waits for it."""
    spawn("lost", *arguments("lost", "--datastore-endpoint", f"http://127.0.0.1:{free_port()}"))
    ok(eventually(lambda: "waiting for the datastore" in log_of("lost")), "a server waits for its datastore")
    said = [line for line in log_of("lost").splitlines() if "connection refused" in line]
    ok(sum("component=storage" in line for line in said) == 1, "and says why once", "\n".join(said))
    end("lost")


def check_flags():
    for endpoint, text in [("mysql://root@tcp(db:3306)/kine", "begins with none of"), ("a:2379", "begins with none of"),
                           ("https://a:x", "is not like"), (",", "no datastore endpoint")]:
        refused(f"endpoint {endpoint}", 2, text, *arguments("f", "--datastore-endpoint", endpoint))
    refused("a certificate without its key", 2, "--datastore-certfile and --datastore-keyfile go together",
            *arguments("f", "--datastore-endpoint", "https://a:1", "--datastore-certfile", "x"))
    refused("two tokens", 2, "not both", *arguments("f", "--token", "a", "--token-file", "b"))
    refused("serving a store that is elsewhere", 2, "not with --datastore-endpoint",
            *arguments("f", "--datastore-endpoint", ENDPOINT, "--etcd-listen", "127.0.0.1:1"))
    refused("an authority that is no certificate", 1, f"{dir_}/none.yaml",
            *arguments("f", "--datastore-endpoint", "https://127.0.0.1:1", "--datastore-cafile", f"{dir_}/none.yaml"))
    check_files()
    refused("a leader's times that cannot be", 2, "must be longer", *arguments("f", "--leader-elect-lease-duration", "5s"))


def check_sharing():
    start_server("s1", "--token", "secret-1")
    ok(eventually(lambda: os.path.exists(f"{dir_}/s1.kubeconfig")), "the first server starts", log_of("s1"))
    with open(f"{dir_}/token", "w") as f:
        f.write("K10abcdef::server:secret-1\n")
    start_server("s2", "--token-file", f"{dir_}/token")
    ok(eventually(lambda: os.path.exists(f"{dir_}/s2.kubeconfig")), "the second one joins with the token in k3s' form",
       log_of("s2"))
    shared = ["tls/server-ca.key", "tls/service.key", "tls/request-header-ca.crt", "cred/encryption-config.json"]
    same = [open(f"{dir_}/s1/server/{f}").read() == open(f"{dir_}/s2/server/{f}").read() for f in shared]
    modes = [os.stat(f"{dir_}/s2/server/{f}").st_mode & 0o777 for f in shared]
    ok(all(same), "they have the same authorities and keys", same)
    ok(modes == [0o600, 0o600, 0o644, 0o600], "which nobody else may read", modes)
    stored = etcdctl(ENDPOINT, "get", "--prefix", "/bootstrap/")
    ok(stored.count(b"coracle-bootstrap:v1:") == 1 and b"PRIVATE" not in stored, "and are sealed in the datastore", stored[:80])
    refused("another token", 1, "another token", *arguments("s3", "--datastore-endpoint", ENDPOINT, "--token", "secret-2"))
    refused("no token", 1, "another token", *arguments("s3", "--datastore-endpoint", ENDPOINT))
    ok(not os.path.exists(f"{dir_}/s3/server/tls") and not os.path.exists(f"{dir_}/s3/server/token"), "leaves nothing behind")
    os.makedirs(f"{dir_}/s4/server/tls")
    with open(f"{dir_}/s4/server/tls/server-ca.crt", "w") as f:
        f.write("mine")
    refused("a server with keys of its own", 1, "is not what the cluster in the datastore has",
            *arguments("s4", "--datastore-endpoint", ENDPOINT, "--token", "secret-1"))


def check_api():
    first = api_of("s1")
    second = api_of("s2")
    ok(second.call("GET", "/api/v1/namespaces/default")[0] == 200, "the certificate of one is good for the other")
    stale = []
    for n in range(30):
        first.call("POST", CONFIGMAPS, configmap(f"c{n}", "1"))
        status, doc = second.call("GET", f"{CONFIGMAPS}/c{n}")
        listed = second.call("GET", CONFIGMAPS)[1]["items"]
        if status != 200 or f"c{n}" not in [o["metadata"]["name"] for o in listed]:
            stale.append(n)
        second.call("DELETE", f"{CONFIGMAPS}/c{n}")
        if first.call("GET", f"{CONFIGMAPS}/c{n}")[0] != 404:
            stale.append(n)
    ok(not stale, "what one has acknowledged the other one shows", stale)
    eventually(lambda: first.call("GET", "/api/v1/namespaces/default/serviceaccounts/default")[0] == 200)
    status, doc = first.call("POST", "/api/v1/namespaces/default/serviceaccounts/default/token",
                             {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    bearer = api_of("s2", doc["status"]["token"] if status == 201 else "none")
    ok(bearer.call("GET", "/api/v1/namespaces/default")[0] == 403, "a token of one names its account to the other", doc)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hush"}}
    first.call("POST", "/api/v1/namespaces/default/secrets", secret)
    status, doc = second.call("GET", "/api/v1/namespaces/default/secrets/s")
    stored = etcdctl(ENDPOINT, "get", "/registry/core/secrets/default/s")
    ok(status == 200 and doc["data"]["k"] == "aHVzaA==" and b"k8s:enc:" in stored and b"aHVzaA" not in stored,
       "a Secret is sealed there, and read by both", doc, stored)


def check_outage():
    """etcd goes while one server sleeps; when that wakes, the history that it needs has been compacted."""
    first = api_of("s1")
    second = api_of("s2")
    for name in "kept", "changed", "dropped":
        first.call("POST", CONFIGMAPS, configmap(name, "1"))
    revision = second.call("GET", CONFIGMAPS)[1]["metadata"]["resourceVersion"]
    watch = second.open("GET", f"{CONFIGMAPS}?watch=1&resourceVersion={revision}")
    end("etcd", signal.SIGKILL)
    processes["s2"].send_signal(signal.SIGSTOP)
    ok(eventually(lambda: first.call("GET", "/readyz")[0] == 500), "without etcd a server is not ready")
    ok(first.call("GET", f"{CONFIGMAPS}/kept?resourceVersion=0")[0] == 200, "and shows what it knows to who takes that")
    status, doc = first.call("POST", CONFIGMAPS, configmap("late", "1"))
    ok(status in (503, 504) and doc.get("kind") == "Status", "a write says that it cannot be done", status, doc)
    start_etcd()
    ok(eventually(lambda: first.call("GET", "/readyz")[0] == 200), "it is ready again when etcd is")
    first.call("PUT", f"{CONFIGMAPS}/changed", configmap("changed", "2"))
    first.call("DELETE", f"{CONFIGMAPS}/dropped")
    first.call("POST", CONFIGMAPS, configmap("added", "1"))
    for n in range(20):
        first.call("PUT", f"{CONFIGMAPS}/added", configmap("added", str(n)))
    newest = json.loads(etcdctl(ENDPOINT, "get", "x", "-w", "json"))["header"]["revision"]
    etcdctl(ENDPOINT, "compact", str(newest))
    processes["s2"].send_signal(signal.SIGCONT)
    ok(eventually(lambda: "filled anew" in log_of("s2")), "a server that missed compacted history starts over", log_of("s2"))
    have = {}

    def is_right():
        status, doc = second.call("GET", CONFIGMAPS)
        have.clear()
        if status == 200:
            have.update({o["metadata"]["name"]: o["data"].get("v") for o in doc["items"]})
        return (have.get("kept"), have.get("changed"), have.get("added")) == ("1", "2", "19") and "dropped" not in have

    ok(eventually(is_right), "and shows what is there", have)
    told = watch.read().decode()
    ok('"code":410' in told and "dropped" not in told, "its watches are told to list again", told)
    status, doc = second.call("GET", f"{CONFIGMAPS}?watch=1&timeoutSeconds=1&resourceVersion={revision}")
    ok("410" in json.dumps(doc), "and so is who asks for what was before", doc)


def check_election():
    """Two schedulers alone: one of them works."""
    for name in "e1", "e2":
        spawn(name, CORACLE, "scheduler", "--config", f"{dir_}/none.yaml", "--data-dir", f"{dir_}/{name}", "--node-name", name,
              "--kubeconfig", f"{dir_}/s1.kubeconfig", "--leader-elect")
    leaders = lambda: [n for n in ("e1", "e2") if "leads now" in log_of(n)]
    ok(eventually(leaders) and len(leaders()) == 1, "one of two schedulers leads", leaders())
    leader = leaders()[0]
    other = "e2" if leader == "e1" else "e1"
    lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler"
    api = api_of("s1")
    holder = api.call("GET", lease)[1]["spec"]["holderIdentity"]
    ok(holder.startswith(f"{leader}_"), "the Lease names it", holder)
    end(leader)
    ok(eventually(lambda: other in leaders()), "when it ends the other one does", log_of(other))
    end(other)
    ok(api.call("GET", lease)[1]["spec"]["holderIdentity"] == "", "and then nobody")


def main():
    check_flags()
    check_unreachable()
    start_etcd()
    check_sharing()
    check_api()
    check_election()
    check_outage()
    for name in "s1", "s2":
        end(name)
        ok(processes[name].returncode == 0, f"{name} ends well", log_of(name))


if __name__ == "__main__":
    run(main)
