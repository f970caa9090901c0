# SPDX-License-Identifier: Apache-2.0
"""The same watches on one stream of etcd and one of ours, and what each of them was told."""
import queue
import threading
import time

import grpc

WAIT_SECONDS = 60
QUIET_SECONDS = 0.3  # more than etcd's pause between looks at watches that are behind
PROGRESS = -1


def show(kv):
    return (f"{kv.key!r} = {kv.value[:20]!r}{len(kv.value)} created {kv.create_revision} changed {kv.mod_revision} "
            f"version {kv.version} lease {kv.lease}")


class Stream:
    def __init__(self, pb, server):
        self.pb, self.server = pb, server
        self.requests = queue.Queue()
        self.lock = threading.Lock()
        self.told = {}     # watch id -> lines
        self.problems = []  # what is wrong whatever the other says
        self.last = {}     # watch id -> the revision of its last event
        self.open_fragment = {}
        self.changed = time.monotonic()
        self.created = 0
        call = server.channel.stream_stream("/etcdserverpb.Watch/Watch", pb.WatchRequest.SerializeToString,
                                            pb.WatchResponse.FromString)
        self.call = call(iter(self.requests.get, None))
        self.thread = threading.Thread(target=self.receive)
        self.thread.start()

    def receive(self):
        try:
            for response in self.call:
                with self.lock:
                    self.take(response)
                    self.changed = time.monotonic()
        except grpc.RpcError as e:
            with self.lock:
                self.told.setdefault("end", []).append(f"{e.code().name} {e.details()}")

    def take(self, r):
        lines = self.told.setdefault(r.watch_id, [])
        if not r.header.cluster_id or not r.header.member_id or not r.header.raft_term:
            self.problems.append(f"watch {r.watch_id}: a header with holes")
        self.created += r.created
        if r.created or r.canceled or not r.events:
            lines.append(f"created {r.created} canceled {r.canceled} compacted {r.compact_revision} "
                         f"reason {r.cancel_reason!r} header {r.header.revision}")
        for e in r.events:
            kind = "delete" if e.type else "put"
            before = f" before {show(e.prev_kv)}" if e.HasField("prev_kv") else ""
            lines.append(f"{kind} {show(e.kv)}{before}")
        if r.events:
            self.take_revisions(r)

    def take_revisions(self, r):
        revisions = [e.kv.mod_revision for e in r.events]
        last, is_rest = self.last.get(r.watch_id, 0), self.open_fragment.get(r.watch_id, False)
        if revisions != sorted(revisions):
            self.problems.append(f"watch {r.watch_id}: revisions out of order: {revisions}")
        if revisions[0] < last or (revisions[0] == last and not is_rest):
            self.problems.append(f"watch {r.watch_id}: revision {revisions[0]} after {last}")
        if r.header.revision < revisions[-1]:
            self.problems.append(f"watch {r.watch_id}: header {r.header.revision} is before its events {revisions}")
        self.last[r.watch_id], self.open_fragment[r.watch_id] = revisions[-1], r.fragment

    def snapshot(self):
        with self.lock:
            return {k: list(v) for k, v in self.told.items() if v}, list(self.problems), self.changed

    def has_created(self, n):
        with self.lock:
            return self.created >= n or "end" in self.told

    def stop(self):
        self.requests.put(None)
        self.call.cancel()
        self.thread.join()


class Watches:
    def __init__(self, pair):
        self.pb = pair.pb
        self.streams = [Stream(self.pb, server) for server in pair.servers()]
        self.sent, self.creates = [], 0

    def send(self, request):
        self.sent.append(" ".join(str(request).split()) or "nothing")
        for stream in self.streams:
            stream.requests.put(request)

    def create(self, **how):
        self.creates += 1
        self.send(self.pb.WatchRequest(create_request=self.pb.WatchCreateRequest(**how)))

    def cancel(self, watch_id):
        self.send(self.pb.WatchRequest(cancel_request=self.pb.WatchCancelRequest(watch_id=watch_id)))

    def progress(self):
        self.send(self.pb.WatchRequest(progress_request=self.pb.WatchProgressRequest()))

    def nothing(self):
        self.send(self.pb.WatchRequest())

    def say_no_more(self):
        """The client's side of the stream ends."""
        for stream in self.streams:
            stream.requests.put(None)

    def settle(self):
        """Waits until both have all watches, have said the same, and nothing more comes; True if so."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            time.sleep(0.03)
            (etcd, _, etcd_at), (ours, _, ours_at) = [s.snapshot() for s in self.streams]
            has_all = all(s.has_created(self.creates) for s in self.streams)
            if has_all and etcd == ours and etcd and time.monotonic() - max(etcd_at, ours_at) > QUIET_SECONDS:
                return True
        return False

    def compare(self):
        """What differs, or None."""
        same = self.settle()
        (etcd, _, _), (ours, problems, _) = [s.snapshot() for s in self.streams]
        lines = list(problems)
        if not same:
            for watch in sorted(set(etcd) | set(ours), key=str):
                one, other = etcd.get(watch, []), ours.get(watch, [])
                if one != other:
                    at = next((n for n, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), min(len(one), len(other)))
                    lines.append(f"watch {watch}, answer {at} of {len(one)} and {len(other)}\n"
                                 f"  etcd: {one[at:at + 2]}\n  ours: {other[at:at + 2]}")
        return "\n".join(lines[:12]) + "\nsent: " + "; ".join(self.sent[:12]) if lines else None

    def stop(self):
        for stream in self.streams:
            stream.stop()
