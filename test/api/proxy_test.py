#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests that are passed on to a backend, and its answers: here a node's port, with a server of our own behind it."""
import gzip
import http.client
import http.server
import ssl
import threading

from server import ApiTest, main

WAIT_SECONDS = 60
PAGE = ('<html><head><link href="/style.css"><script src="/a.js">x = "<a href=/no>";</script></head><body>'
        "<!-- <a href='/comment'> --><a HREF='/x?a=1&amp;b#f'>x</a><a href=relative>r</a><a href=/bare>b</a>"
        '<a href="//elsewhere/y">y</a><a href="https://elsewhere/z">z</a><img alt="/no" src="https://{host}/pic">'
        "a < b <")


class Backend(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = {}
    may_go_on, has_left, has_begun = threading.Event(), threading.Event(), threading.Event()

    def log_message(self, *unused):
        pass

    def answer(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            for one in value if isinstance(value, list) else [value]:
                self.send_header(name.replace("_", "-"), one)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_GET(self):
        path, _, query = self.path.partition("?")
        Backend.seen = {"path": self.path, "method": self.command, "headers": self.headers}
        getattr(self, "get_" + path.strip("/").split("/")[0], self.get_)()

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Backend.seen = {"path": self.path, "method": self.command, "headers": self.headers, "body": body}
        self.answer(b"posted", 201)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST

    def get_(self):
        self.answer(b"here", Content_Type="text/plain")

    def get_odd(self):
        self.answer(b"short and stout", 418, X_Own="1", Set_Cookie=["a=1", "b=2"], Cache_Control="max-age=5",
                    Connection="x-hop", X_Hop="1", Access_Control_Allow_Origin="*", Content_Type="x/y")

    def get_empty(self):
        self.send_response(204)
        self.end_headers()

    def get_moved(self):
        self.answer(b"", 302, Location="/new/place?q#f", Content_Type="text/html")

    def get_page(self):
        self.answer(PAGE.replace("{host}", self.headers["Host"]).encode(), Content_Type="text/html; charset=utf-8")

    def get_packed(self):
        self.answer(gzip.compress(b'<a href="/x">x</a>'), Content_Type="text/html", Content_Encoding="gzip")

    def get_liar(self):
        self.answer(b"this is not packed", Content_Type="text/html", Content_Encoding="gzip")

    def get_large(self):
        self.answer(b'<a href="/x">x</a>' + b"." * (6 << 20), Content_Type="text/html")

    def begin_chunks(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.chunk(b"first\n")

    def get_slow(self):
        self.begin_chunks()
        Backend.may_go_on.wait(WAIT_SECONDS)
        self.chunk(b"second\n")
        self.chunk(b"")

    def get_broken(self):
        self.begin_chunks()
        self.close_connection = True

    def get_endless(self):
        self.begin_chunks()
        try:
            while True:
                self.chunk(b"x" * 65536)
        except OSError:
            Backend.has_left.set()
        self.close_connection = True

    def get_silent(self):
        Backend.has_begun.set()
        if self.rfile.read(1) == b"":
            Backend.has_left.set()
        self.close_connection = True

    def get_upgrade(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.end_headers()
        self.wfile.write(b"hello ")
        while data := self.connection.recv(100):
            self.wfile.write(data)
        self.close_connection = True


class Proxy(ApiTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
        cls.backend.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = f"{cls.dir}/server/tls/serving-kube-apiserver"
        context.load_cert_chain(files + ".crt", files + ".key")
        cls.backend.socket = context.wrap_socket(cls.backend.socket, server_side=True)
        threading.Thread(target=cls.backend.serve_forever, daemon=True).start()
        assert cls.admin.post("/api/v1/nodes", {"metadata": {"name": "n"}}).code == 201
        status = {"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {
            "kubeletEndpoint": {"Port": cls.backend.server_port}}}}
        assert cls.admin.patch("/api/v1/nodes/n/status", status).code == 200
        cls.place = "/api/v1/nodes/n/proxy"

    @classmethod
    def tearDownClass(cls):
        cls.backend.shutdown()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        for event in (Backend.may_go_on, Backend.has_left, Backend.has_begun):
            event.clear()

    def ask(self, path, method="GET", body=None, **headers):
        """The answer, with its body still to be read."""
        connection = self.admin.connect(timeout=WAIT_SECONDS)
        self.addCleanup(connection.close)
        connection.request(method, self.place + path, body=body,
                           headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        answer.connection = connection
        return answer

    def test_status_and_headers_go_through(self):
        answer = self.ask("/odd")
        self.assertEqual((answer.status, answer.reason, answer.read()), (418, "I'm a teapot", b"short and stout"))
        self.assertEqual(answer.headers.get_all("Set-Cookie"), ["a=1", "b=2"])
        self.assertEqual(answer.headers.get_all("Cache-Control"), ["no-cache, private", "max-age=5"])
        self.assertEqual((answer.headers["X-Own"], answer.headers["Content-Type"]), ("1", "x/y"))
        self.assertEqual(answer.headers["Content-Length"], "15")
        for name in ("X-Hop", "Access-Control-Allow-Origin"):
            self.assertNotIn(name, answer.headers)
        self.assertEqual(len(answer.headers.get_all("Date") or []) <= 1, True)

    def test_an_answer_without_a_body_has_none(self):
        answer = self.ask("/empty")
        self.assertEqual((answer.status, answer.read()), (204, b""))
        answer = self.ask("/", "HEAD")
        self.assertEqual((answer.status, answer.headers["Content-Length"], answer.read()), (200, "4", b""))

    def test_the_backend_learns_who_asks(self):
        self.ask("/a%20b/c?x=%2F&y", X_Own="1", Accept_Encoding="br", X_Forwarded_For="10.0.0.1", Connection="x-hop",
                 X_Hop="1", User_Agent="me", Authorization="Basic abc").read()
        self.assertEqual(Backend.seen["path"], "/a%20b/c?x=%2F&y")
        headers = Backend.seen["headers"]
        self.assertEqual((headers["X-Own"], headers["Accept-Encoding"], headers["User-Agent"]), ("1", "br", "me"))
        self.assertEqual(headers.get_all("X-Forwarded-For"), ["10.0.0.1, 127.0.0.1"])
        self.assertEqual(headers["X-Forwarded-Uri"], self.place + "/a b/c")
        self.assertEqual(headers.get_all("Host"), [f"127.0.0.1:{self.port}"])
        for name in ("X-Hop", "Authorization"):
            self.assertNotIn(name, headers)

    def test_every_method_has_its_body(self):
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            self.assertEqual(self.ask("/p", method, body=b"x" * 100000, Content_Type="x/y").status, 201, method)
            self.assertEqual((Backend.seen["method"], len(Backend.seen["body"])), (method, 100000))
            self.assertEqual(Backend.seen["headers"]["Content-Type"], "x/y")

    def test_links_lead_through_the_proxy(self):
        text = self.ask("/page").read().decode()
        p = self.place
        self.assertEqual(text, (
            f'<html><head><link href="{p}/style.css"><script src="{p}/a.js">x = "<a href=/no>";</script></head><body>'
            f"<!-- <a href='/comment'> --><a HREF='{p}/x?a=1&amp;b#f'>x</a><a href=relative>r</a><a href={p}/bare>b</a>"
            '<a href="//elsewhere/y">y</a><a href="https://elsewhere/z">z</a>'
            f'<img alt="/no" src="https://127.0.0.1:{self.port}{p}/pic">a < b <'))
        answer = self.ask("/packed", Accept_Encoding="gzip")
        self.assertEqual(gzip.decompress(answer.read()).decode(), f'<a href="{p}/x">x</a>')
        self.assertEqual(self.ask("/liar").read(), b"this is not packed")
        self.assertEqual(self.ask("/moved").headers["Location"], p + "/new/place?q#f")

    def test_a_page_that_is_too_large_goes_through_as_it_is(self):
        body = self.ask("/large").read()
        self.assertTrue(body.startswith(b'<a href="/x">'))
        self.assertEqual(len(body), (6 << 20) + 18)

    def test_who_asks_for_the_place_itself_is_sent_into_it(self):
        answer = self.ask("?a=b")
        self.assertEqual((answer.status, answer.headers["Location"]), (301, self.place + "/?a=b"))
        self.assertEqual(self.ask("", "POST", body=b"").status, 201)

    def test_a_body_comes_as_it_is_made(self):
        answer = self.ask("/slow")
        self.assertEqual(answer.readline(), b"first\n")
        Backend.may_go_on.set()
        self.assertEqual(answer.readline(), b"second\n")
        self.assertEqual(answer.read(), b"")

    def test_a_body_that_breaks_off_is_no_whole_one(self):
        with self.assertRaises((http.client.IncompleteRead, OSError)):
            self.ask("/broken").read()

    def test_the_backend_learns_that_the_client_has_left(self):
        answer = self.ask("/endless")
        answer.read(10)
        answer.connection.close()
        answer.close()
        self.assertTrue(Backend.has_left.wait(WAIT_SECONDS))

    def test_and_also_before_it_has_said_a_word(self):
        connection = self.admin.connect()
        connection.request("GET", self.place + "/silent")
        self.assertTrue(Backend.has_begun.wait(WAIT_SECONDS))
        connection.close()
        self.assertTrue(Backend.has_left.wait(WAIT_SECONDS))

    def test_an_upgrade_goes_through(self):
        connection = self.admin.connect(timeout=WAIT_SECONDS)
        connection.connect()
        s = connection.sock
        s.sendall(f"GET {self.place}/upgrade?x=1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: shouting\r\n"
                  "X-Own: 1\r\n\r\n".encode())
        said = b""
        while b"hello " not in said:
            said += s.recv(4096)
        self.assertTrue(said.startswith(b"HTTP/1.1 101 "), said)
        self.assertIn(b"shouting", said)
        self.assertEqual((Backend.seen["path"], Backend.seen["headers"]["X-Own"]), ("/upgrade?x=1", "1"))
        s.sendall(b"echo")
        self.assertEqual(s.recv(4), b"echo")
        connection.close()

    def test_an_upgrade_that_is_refused_says_why(self):
        answer = self.ask("/odd", Connection="Upgrade", Upgrade="x")
        self.assertEqual((answer.status, answer.read(), answer.headers["X-Own"]), (418, b"short and stout", "1"))
        answer = self.ask("/", Connection="Upgrade", Upgrade="x")
        self.assertEqual(answer.status, 500)
        self.assertIn(b"invalid upgrade response: status code 200", answer.read())

    def test_another_port_of_a_node_gets_no_certificate_of_ours(self):
        answer = self.admin.get("/api/v1/nodes/n:1/proxy/")
        self.assertStatus(answer, 400, "BadRequest", "address not allowed")  # it is this machine's own
        self.assertEqual(self.admin.get(f"/api/v1/nodes/n:{self.backend.server_port}/proxy/").text, "here")


main()
