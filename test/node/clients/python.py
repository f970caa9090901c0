# SPDX-License-Identifier: Apache-2.0
# python.py - what the Python client does with a cluster: run by clients_test.sh, prints TAP without a plan.
import socket
import sys
import threading
import time

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

config.load_kube_config(sys.argv[1])
core, apps = client.CoreV1Api(), client.AppsV1Api()


def check(what, test):
    try:
        result = test()
        print(("ok" if result or result is None else "not ok"), "- python:", what, flush=True)
        if not (result or result is None):
            print("# result:", repr(result), flush=True)
    except Exception as e:
        print("not ok - python:", what, flush=True)
        print("#", repr(e).replace("\n", "\n# "), flush=True)


def configmaps():
    core.create_namespaced_config_map("default", {"metadata": {"name": "py", "labels": {"a": "b"}}, "data": {"x": "1"}})
    assert core.read_namespaced_config_map("py", "default").data == {"x": "1"}
    assert [c.metadata.name for c in core.list_namespaced_config_map("default", label_selector="a=b").items] == ["py"]
    assert core.patch_namespaced_config_map("py", "default", {"data": {"y": "2"}}).data == {"x": "1", "y": "2"}
    both = core.read_namespaced_config_map("py", "default")
    both.data = {"z": "3"}
    assert core.replace_namespaced_config_map("py", "default", both).data == {"z": "3"}
    try:
        core.replace_namespaced_config_map("py", "default", both)
        return False
    except ApiException as e:
        assert e.status == 409, e
    assert core.delete_namespaced_config_map("py", "default").status == "Success"
    try:
        core.read_namespaced_config_map("py", "default")
        return False
    except ApiException as e:
        return e.status == 404 and e.reason == "Not Found"


def watching():
    seen = []
    start = core.list_namespaced_config_map("default").metadata.resource_version

    def change():
        core.create_namespaced_config_map("default", {"metadata": {"name": "seen"}})
        core.patch_namespaced_config_map("seen", "default", {"data": {"a": "b"}})
        core.delete_namespaced_config_map("seen", "default")

    worker = threading.Thread(target=change)
    worker.start()
    w = watch.Watch()
    for event in w.stream(core.list_namespaced_config_map, "default", resource_version=start, timeout_seconds=20):
        seen.append(event["type"] + " " + event["object"].metadata.name)
        if event["type"] == "DELETED":
            w.stop()
    worker.join()
    return seen == ["ADDED seen", "MODIFIED seen", "DELETED seen"]


def pages():
    names, token = [], None
    for i in range(5):
        core.create_namespaced_config_map("default", {"metadata": {"name": f"page-{i}", "labels": {"page": "y"}}})
    while True:
        page = core.list_namespaced_config_map("default", limit=2, _continue=token, label_selector="page=y")
        names += [c.metadata.name for c in page.items]
        token = page.metadata._continue
        if not token:
            return names == [f"page-{i}" for i in range(5)]


def pod_runs():
    core.create_namespaced_pod("default", {
        "metadata": {"name": "py"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
            "name": "main", "image": "coracle.test/multi:1", "imagePullPolicy": "IfNotPresent"}]}})
    for event in watch.Watch().stream(core.list_namespaced_pod, "default", field_selector="metadata.name=py", timeout_seconds=30):
        if event["object"].status.phase == "Running":
            return True
    return False


def run(command, **options):
    return stream(core.connect_get_namespaced_pod_exec, "py", "default", command=command, stderr=True, stdout=True, **options)


def interactive():
    shell = run(["sh"], stdin=True, tty=False, _preload_content=False)
    shell.write_stdin("echo one; echo two >&2; exit 3\n")
    shell.run_forever(timeout=10)
    return (shell.read_stdout(), shell.read_stderr(), shell.returncode) == ("one\n", "two\n", 3)


def follows():
    core.create_namespaced_pod("default", {
        "metadata": {"name": "talk"},
        "spec": {"restartPolicy": "Never", "containers": [{
            "name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "sleep 1; for i in 1 2 3; do echo line $i; sleep 0.3; done"]}]}})
    for event in watch.Watch().stream(core.list_namespaced_pod, "default", field_selector="metadata.name=talk", timeout_seconds=30):
        if event["object"].status.phase in ("Running", "Succeeded"):
            break
    lines = [l for l in watch.Watch().stream(core.read_namespaced_pod_log, "talk", "default", follow=True)]
    return lines == ["line 1", "line 2", "line 3"]


def forwards():
    forward = portforward(core.connect_get_namespaced_pod_portforward, "py", "default", ports="8080")
    s = forward.socket(8080)
    s.settimeout(10)
    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = b""
    while True:
        try:
            part = s.recv(4096)
        except socket.timeout:
            break
        if not part:
            break
        answer += part
    return answer.startswith(b"HTTP/1.1 200") or answer.startswith(b"HTTP/1.0 200")


def deployment():
    labels = {"app": "py-web"}
    apps.create_namespaced_deployment("default", {
        "metadata": {"name": "py-web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                "name": "web", "image": "coracle.test/multi:1", "imagePullPolicy": "IfNotPresent"}]}}}})
    apps.patch_namespaced_deployment_scale("py-web", "default", {"spec": {"replicas": 2}})
    end = time.time() + 40
    while time.time() < end:
        if apps.read_namespaced_deployment_status("py-web", "default").status.ready_replicas == 2:
            apps.delete_namespaced_deployment("py-web", "default", propagation_policy="Foreground")
            return True
        time.sleep(0.2)
    return False


check("version", lambda: client.VersionApi().get_code().git_version.startswith("v1.36"))
check("groups of the API", lambda: "apps" in [g.name for g in client.ApisApi().get_api_versions().groups])
check("configmaps: create, read, list, patch, replace, conflict, delete", configmaps)
check("watch sees what changes", watching)
check("a list in pages", pages)
check("a pod runs", pod_runs)
check("exec over WebSocket", lambda: run(["echo", "hello"], stdin=False, tty=False) == "hello\n")
check("exec with a terminal, and its last output is not lost", lambda: all(
    run(["sh", "-c", "[ -t 1 ] && echo yes"], stdin=False, tty=True).startswith("yes") for _ in range(10)))
check("exec with input, both outputs and a status", interactive)
check("logs", lambda: core.read_namespaced_pod_log("py", "default") is not None)
check("logs that are followed", follows)
check("port-forward over WebSocket", forwards)
check("a deployment is made, scaled and deleted", deployment)
check("pods go", lambda: core.delete_namespaced_pod("py", "default", grace_period_seconds=0) and None)
