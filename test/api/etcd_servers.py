# SPDX-License-Identifier: Apache-2.0
"""What the tests of servers on an etcd cluster share: processes, calls to a server, and TAP.

Everything lies in a folder of the test's own; processes and folder are gone at the end, whatever happened.
"""
import atexit
import base64
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import traceback

from ports import free_port  # noqa: F401

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CORACLE = os.path.abspath(os.environ.get("CORACLE", f"{TOP}/build/coracle"))
WAIT_SECONDS = 120
LOG_LINES = 25  # of each server, when something failed
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"

dir_ = tempfile.mkdtemp(prefix="coracle-servers-")
processes = {}
tests = failures = 0


@atexit.register
def remove_folder():
    if not failures or not os.environ.get("KEEP"):
        shutil.rmtree(dir_, ignore_errors=True)


# ---- what the test says ----

def ok(passed, what, *details):
    global tests, failures
    tests += 1
    failures += not passed
    print(f"{'ok' if passed else 'not ok'} {tests} - {what}", flush=True)
    for detail in details if not passed else []:
        note(detail)


def note(text):
    print("# " + str(text).replace("\n", "\n# "), flush=True)


def eventually(condition, seconds=WAIT_SECONDS):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


# ---- processes ----

def spawn(name, *command):
    with open(f"{dir_}/{name}.log", "a") as log:
        processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def end(name, number=signal.SIGTERM):
    processes[name].send_signal(signal.SIGCONT)
    processes[name].send_signal(number)
    processes[name].wait()


def log_of(name):
    with open(f"{dir_}/{name}.log") as f:
        return f.read()


def etcd_command(name, client_url, peer_url, *more):
    return ["etcd", "--name", name, "--data-dir", f"{dir_}/{name}", "--log-level", "warn",
            "--listen-client-urls", client_url, "--advertise-client-urls", client_url,
            "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url, *more]


def server_command(name, *more):
    """A server without a node; its kubeconfig is there when its API is."""
    none = f"{dir_}/none.yaml"
    if not os.path.exists(none):
        with open(none, "w") as f:
            f.write("{}\n")
    return [CORACLE, "server", "--disable-agent", "--config", none, "--data-dir", f"{dir_}/{name}", "--node-name", name,
            "--write-kubeconfig", f"{dir_}/{name}.kubeconfig", *more]


def etcdctl(endpoints, *more):
    """What it prints; nothing when it fails."""
    return subprocess.run(["etcdctl", "--endpoints", endpoints, *more], env=dict(os.environ, ETCDCTL_API="3"),
                          capture_output=True).stdout


# ---- calls ----

class Api:
    """HTTPS to one server as the user of a kubeconfig, or by a token; a connection for each call."""

    def __init__(self, kubeconfig, host, port, token=None):
        import yaml
        with open(kubeconfig) as f:
            config = yaml.safe_load(f)
        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.host, self.port = host, port
        self.context = ssl.create_default_context(cadata=authority)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        if token:
            return
        with tempfile.NamedTemporaryFile(dir=dir_) as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"]))
            pem.flush()
            self.context.load_cert_chain(pem.name)

    def open(self, method, path, body=None, timeout=25, content_type="application/json"):
        """The response, whose body is still to be read: closing it closes the connection."""
        link = http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.context)
        headers = {**self.headers, "Content-Type": content_type, "Connection": "close"}
        try:
            link.request(method, path, json.dumps(body) if body is not None else None, headers)
            return link.getresponse()
        except BaseException:
            link.close()
            raise

    def call(self, method, path, body=None, timeout=25, content_type="application/json"):
        """The status and the document or text; 0 and why if there was no answer."""
        try:
            with self.open(method, path, body, timeout, content_type) as answer:
                text = answer.read().decode()
                return answer.status, json.loads(text) if text.startswith("{") else text
        except (OSError, http.client.HTTPException, ValueError) as e:
            return 0, {"message": repr(e)}


# ---- the whole ----

def run(main, tools=("etcd", "etcdctl"), cleanup=None, needs_root=False):
    """Runs MAIN where its tools are, cleans up, and exits."""
    missing = [t for t in tools if not shutil.which(t)] + (["root"] if needs_root and os.geteuid() else [])
    if missing:
        print(f"1..0 # SKIP needs {', '.join(missing)}")
        sys.exit(0)
    try:
        main()
    except Exception:  # the processes must go whatever happened
        ok(False, "the test itself", traceback.format_exc())
    finally:
        for p in processes.values():
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
                p.kill()
                p.wait()
        if cleanup:
            cleanup()
        print(f"1..{tests}")
        for name in processes if failures else []:
            note(f"---- {name}\n" + "\n".join(log_of(name).splitlines()[-LOG_LINES:]))
    sys.exit(1 if failures else 0)
