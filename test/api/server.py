# SPDX-License-Identifier: Apache-2.0
"""The program on a free port without its node, and a small client that shows status, headers and body.

    CORACLE=build/coracle test/api/verbs_test.py [Class[.test]]...
"""
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
import unittest
import urllib.parse

from ports import free_port

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START_SECONDS = 120


class Answer:
    def __init__(self, response, body):
        self.code = response.status
        self.headers = response.headers
        self.text = body.decode()

    @property
    def json(self):
        return json.loads(self.text)


class Client:
    """One user over HTTPS; a connection per request, so that tests never depend on another's."""

    def __init__(self, port, context, headers=None):
        self.port, self.context, self.headers = port, context, headers or {}

    def connect(self, timeout=120):
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=timeout)

    def call(self, method, path, body=None, headers=None, **query):
        if query:
            path += "?" + urllib.parse.urlencode(query, doseq=True)
        sent = dict(self.headers)
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Answer(response, response.read())
        finally:
            connection.close()

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def post(self, path, body, **kw):
        return self.call("POST", path, body, **kw)

    def put(self, path, body, **kw):
        return self.call("PUT", path, body, **kw)

    def delete(self, path, body=None, **kw):
        return self.call("DELETE", path, body, **kw)

    def patch(self, path, body, kind="merge-patch", **kw):
        return self.call("PATCH", path, body, headers={"Content-Type": f"application/{kind}+json"}, **kw)

    def watch(self, path, **query):
        return Watch(self, path, query)


class Watch:
    """The events of a watch, one by one; ends with the stream."""

    def __init__(self, client, path, query):
        query.setdefault("watch", "true")
        query.setdefault("timeoutSeconds", "300")
        headers = dict(client.headers)
        headers["Accept"] = query.pop("accept", "application/json")
        self.connection = client.connect()
        self.connection.request("GET", path + "?" + urllib.parse.urlencode(query), headers=headers)
        self.response = self.connection.getresponse()
        self.code = self.response.status

    def next(self):
        line = self.response.readline()
        return json.loads(line) if line else None

    def take(self, n):
        return [self.next() for _ in range(n)]

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


class ApiTest(unittest.TestCase):
    """Every class gets a server of its own; every test a namespace of its own."""

    part = "apiserver"  # or "server": with the controllers
    flags = []  # more of the server's

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="coracle-api-")
        cls.kubeconfig = os.path.join(cls.dir, "admin.yaml")
        cls.port = free_port()
        cls.start()

    @classmethod
    def start(cls):
        program = os.environ.get("CORACLE", os.path.join(TOP, "build", "coracle"))
        command = [program, cls.part, "--data-dir", cls.dir, "--config", os.devnull,
                   "--bind-address", "127.0.0.1", "--https-listen-port", str(cls.port),
                   "--write-kubeconfig", cls.kubeconfig, *cls.flags]
        if cls.part == "server":
            command.append("--disable-agent")
        with open(os.path.join(cls.dir, "log"), "a") as log:
            cls.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        cls.wait_until_ready()
        cls.admin = Client(cls.port, cls.context_of_kubeconfig())

    @classmethod
    def wait_until_ready(cls):
        context = ssl._create_unverified_context()
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and cls.server.poll() is None:
            try:
                if os.path.exists(cls.kubeconfig) and Client(cls.port, context).get("/readyz").code == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        cls.kill()
        raise AssertionError("the server did not start:\n" + cls.log())

    @classmethod
    def log(cls):
        with open(os.path.join(cls.dir, "log")) as f:
            return f.read()[-4000:]

    @classmethod
    def context_of_kubeconfig(cls):
        fields = {}
        with open(cls.kubeconfig) as f:
            for line in f:
                key, _, value = line.strip().lstrip("- ").partition(": ")
                if key.endswith("-data"):
                    path = os.path.join(cls.dir, key)
                    with open(path, "wb") as out:
                        out.write(base64.b64decode(value))
                    fields[key] = path
        cls.ca = fields["certificate-authority-data"]
        context = ssl.create_default_context(cafile=cls.ca)
        context.load_cert_chain(fields["client-certificate-data"], fields["client-key-data"])
        return context

    @classmethod
    def anonymous(cls, **headers):
        return Client(cls.port, ssl.create_default_context(cafile=cls.ca), headers)

    @classmethod
    def stop(cls):
        cls.server.terminate()
        code = cls.server.wait(timeout=300)
        assert code == 0, f"the server ended with {code}:\n" + cls.log()

    @classmethod
    def kill(cls):
        cls.server.send_signal(signal.SIGKILL)
        cls.server.wait(timeout=300)

    @classmethod
    def tearDownClass(cls):
        cls.stop()
        shutil.rmtree(cls.dir)

    def setUp(self):
        name = self.id().split(".")[-1].replace("_", "-")[:55].strip("-")
        self.ns = name
        self.assertEqual(self.admin.post("/api/v1/namespaces", {"metadata": {"name": name}}).code, 201)
        self.admin.post(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})

    def path(self, plural, name="", group=""):
        prefix = f"/apis/{group}" if group else "/api/v1"
        return f"{prefix}/namespaces/{self.ns}/{plural}" + (f"/{name}" if name else "")

    def configmap(self, name, **data):
        answer = self.admin.post(self.path("configmaps"), {"metadata": {"name": name}, "data": data})
        self.assertEqual(answer.code, 201, answer.text)
        return answer.json

    def assertStatus(self, answer, code, reason, message=None):
        self.assertEqual(answer.code, code, answer.text)
        status = answer.json
        self.assertEqual(status["kind"], "Status")
        self.assertEqual(status.get("reason"), reason, answer.text)
        if message is not None:
            self.assertEqual(status["message"], message)
        return status


class Tap(unittest.TestResult):
    """A line for each test; why it failed goes before the line."""

    def line(self, test, ok, note=""):
        what = test.id().replace("__main__.", "").replace(".test_", ": ").replace("_", " ")
        print(f"{'ok' if ok else 'not ok'} {self.testsRun} - {what}{note}", flush=True)

    def addSuccess(self, test):
        self.line(test, True)

    def addSkip(self, test, reason):
        self.line(test, True, f" # SKIP {reason}")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            print("# " + (self.failures + self.errors)[-1][1].replace("\n", "\n# "))
            self.line(subtest, False)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        print("# " + self.failures[-1][1].replace("\n", "\n# "))
        self.line(test, False)

    def addError(self, test, err):
        super().addError(test, err)
        print("# " + self.errors[-1][1].replace("\n", "\n# "))
        self.line(test, False)


def main():
    loader = unittest.defaultTestLoader
    module = sys.modules["__main__"]
    names = sys.argv[1:]
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    result = suite.run(Tap())
    print(f"1..{result.testsRun}")
    sys.exit(not result.wasSuccessful())
