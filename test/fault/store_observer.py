# SPDX-License-Identifier: Apache-2.0
"""Who wrote what and when, as the store tells it: a watch at every member of etcd, by its JSON gateway.

A member that hangs or is cut off tells late; the time of an event is that of the member that told first.
"""
import base64
import http.client
import json
import threading
import time


class Event:
    def __init__(self, at, kv, is_delete):
        self.at, self.is_delete = at, is_delete  # AT: monotonic
        self.key = base64.b64decode(kv["key"]).decode()
        self.revision = int(kv["mod_revision"])
        self.is_create = kv.get("create_revision") == kv["mod_revision"]
        try:
            self.object = json.loads(base64.b64decode(kv.get("value", "")) or b"{}")
        except ValueError:  # sealed
            self.object = {}

    @property
    def name(self):
        return self.key.rsplit("/", 1)[1]


class Observer:
    """All events under a prefix, by revision."""

    def __init__(self, members, context, prefix):
        self.members, self.context, self.prefix = members, context, prefix
        self.lock = threading.Condition()  # guards what follows
        self.known = {}  # (revision, key) -> event
        self.next = {m: 1 for m in members}
        for m in members:
            threading.Thread(target=self.follow, args=(m,), daemon=True).start()

    def follow(self, member):
        while True:
            link = http.client.HTTPSConnection(self.members[member], 2379, timeout=20, context=self.context)
            try:
                end = self.prefix[:-1] + chr(ord(self.prefix[-1]) + 1)
                encode = lambda s: base64.b64encode(s.encode()).decode()
                create = {"key": encode(self.prefix), "range_end": encode(end), "start_revision": self.next[member]}
                link.request("POST", "/v3/watch", json.dumps({"create_request": create}))
                answer = link.getresponse()
                while answer.status == 200 and (line := answer.readline()):
                    self.take(member, json.loads(line).get("result", {}).get("events", []))
            except (OSError, http.client.HTTPException, ValueError):
                pass
            link.close()
            time.sleep(0.2)

    def take(self, member, events):
        at = time.monotonic()
        with self.lock:
            for e in events:
                event = Event(at, e["kv"], e.get("type") == "DELETE")
                self.known.setdefault((event.revision, event.key), event)
                self.next[member] = event.revision + 1
            self.lock.notify_all()

    def events(self, matches):
        with self.lock:
            return sorted((e for e in self.known.values() if matches(e)), key=lambda e: e.revision)

    def wait(self, matches, seconds):
        """The first event that matches; None after SECONDS."""
        end = time.monotonic() + seconds
        with self.lock:
            while True:
                found = [e for e in self.known.values() if matches(e)]
                if found:
                    return min(found, key=lambda e: e.revision)
                if not self.lock.wait(max(0, end - time.monotonic())) and time.monotonic() >= end:
                    return None
