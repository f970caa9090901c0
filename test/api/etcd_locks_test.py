#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""etcd's Lock and Election services: the same script to Debian's etcd and to our store, and what each call came to.

    test/api/etcd_locks_test.py [Class[.test]]...     ETCD_STORE=build/test/etcd/etcd_store
"""
import re
import shutil
import time
import unittest

try:
    import grpc
    import etcd_pair
    problem = None
except ImportError as e:
    problem = str(e)
from server import main

CALL_SECONDS = 60
WAIT_SECONDS = 30
WAITERS = 300

CALLS = {
    "Lock": "v3lockpb.Lock/Lock", "Unlock": "v3lockpb.Lock/Unlock",
    "Campaign": "v3electionpb.Election/Campaign", "Proclaim": "v3electionpb.Election/Proclaim",
    "Leader": "v3electionpb.Election/Leader", "Resign": "v3electionpb.Election/Resign",
    "LeaseGrant": "etcdserverpb.Lease/LeaseGrant", "LeaseRevoke": "etcdserverpb.Lease/LeaseRevoke",
    "Range": "etcdserverpb.KV/Range", "DeleteRange": "etcdserverpb.KV/DeleteRange", "Put": "etcdserverpb.KV/Put",
}


class Side:
    """One of the two servers, and what it has said."""

    def __init__(self, pb, server):
        self.pb, self.server, self.told = pb, server, []

    def note(self, *what):
        self.told.append(" ".join(str(w) for w in what))

    def show(self, message):
        return " ".join(etcd_pair.tell(message, {}))

    def begin(self, name, /, **fields):
        request = getattr(self.pb, name + "Request")(**fields)
        call = self.server.channel.unary_unary("/" + CALLS[name])
        return call.future(request.SerializeToString(), timeout=CALL_SECONDS)

    def end(self, name, future):
        try:
            message = getattr(self.pb, name + "Response").FromString(future.result())
        except grpc.RpcError as e:
            self.note(name, e.code().name, e.details())
            return None
        self.note(name, self.show(message))
        return message

    def call(self, name, /, **fields):
        return self.end(name, self.begin(name, **fields))

    def keys(self, prefix):
        data = self.begin("Range", key=prefix, range_end=prefix[:-1] + bytes([prefix[-1] + 1])).result()
        return [kv.key for kv in self.pb.RangeResponse.FromString(data).kvs]

    def until(self, condition, what):
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"{self.server.name}: {what} did not come: {self.told}")
            time.sleep(0.01)

    def has_keys(self, prefix, n):
        self.until(lambda: len(self.keys(prefix)) == n, f"{n} keys under {prefix}")

    def lease(self, number, seconds=600):
        self.begin("LeaseGrant", ID=number, TTL=seconds).result()


class Observer:
    def __init__(self, side, name):
        self.side = side
        self.stream = side.server.channel.unary_stream("/v3electionpb.Election/Observe")(
            side.pb.LeaderRequest(name=name).SerializeToString(), timeout=CALL_SECONDS)

    def next(self):
        self.side.note("Observe", self.side.show(self.side.pb.LeaderResponse.FromString(next(self.stream))))


class Locks(unittest.TestCase):
    maxDiff = 6000

    @classmethod
    def setUpClass(cls):
        if problem:
            raise unittest.SkipTest(problem)
        try:
            cls.work, cls.pb = etcd_pair.prepare()
        except etcd_pair.Missing as e:
            raise unittest.SkipTest(str(e))
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)

    def setUp(self):
        self.pair = etcd_pair.Pair(self.pb, self.work)
        self.addCleanup(self.pair.stop)

    def same(self, script):
        sides = [Side(self.pb, server) for server in self.pair.servers()]
        for side in sides:
            script(side)
            self.assertTrue(side.server.is_alive())
        self.assertEqual(sides[0].told, sides[1].told)
        return sides[1]

    # ---- locks ----

    def test_a_lock_goes_from_one_to_the_next(self):
        def script(s):
            for lease in (0x77, 0x78, 0x79):
                s.lease(lease)
            s.call("Lock", name=b"m", lease=0x77)
            s.call("Lock", name=b"m", lease=0x77)
            waiting = []
            for lease in (0x78, 0x79):
                waiting.append(s.begin("Lock", name=b"m", lease=lease))
                s.has_keys(b"m/", len(waiting) + 1)
            s.call("Lock", name=b"other", lease=0x78)
            s.note(waiting[0].done(), waiting[1].done())
            s.call("Unlock", key=b"m/77")
            s.end("Lock", waiting[0])
            s.note(waiting[1].done())
            s.call("LeaseRevoke", ID=0x78)
            s.end("Lock", waiting[1])
            s.call("Unlock", key=b"m/79")
            s.call("Unlock", key=b"m/79")
            s.call("Range", key=b"\0", range_end=b"\0")
        self.same(script)

    def test_who_leaves_the_queue_leaves_no_key(self):
        def script(s):
            for lease in (1, 2, 3):
                s.lease(lease)
            s.call("Lock", name=b"m", lease=1)
            second = s.begin("Lock", name=b"m", lease=2)
            s.has_keys(b"m/", 2)
            third = s.begin("Lock", name=b"m", lease=3)
            s.has_keys(b"m/", 3)
            second.cancel()
            s.has_keys(b"m/", 2)
            s.note(third.done(), s.keys(b"m/"))
            s.call("Unlock", key=b"m/1")
            s.end("Lock", third)
        self.same(script)

    def test_keys_of_others_count(self):
        def script(s):
            s.lease(5)
            s.call("Put", key=b"m/somebody", value=b"x")
            waiting = s.begin("Lock", name=b"m", lease=5)
            s.has_keys(b"m/", 2)
            s.call("Put", key=b"m/somebody", value=b"y")  # is not gone by this
            s.call("Put", key=b"m/later", value=b"x")     # nor before us
            s.note(waiting.done())
            s.call("DeleteRange", key=b"m/somebody")
            s.end("Lock", waiting)
        self.same(script)

    def test_without_a_lease(self):
        def script(s):
            key = self.pb.LockResponse.FromString(s.begin("Lock", name=b"m").result()).key
            lease = int(key.split(b"/")[1], 16)
            ttl = self.pb.LeaseTimeToLiveResponse.FromString(
                s.server.channel.unary_unary("/etcdserverpb.Lease/LeaseTimeToLive")(
                    self.pb.LeaseTimeToLiveRequest(ID=lease).SerializeToString(), timeout=CALL_SECONDS))
            s.note(re.sub(b"[0-9a-f]{5,}", b"LEASE", key), ttl.granted_ttl)
        self.same(script)

    def test_errors(self):
        def script(s):
            s.call("Lock", name=b"m", lease=404)
            s.call("Lock", name=b"m", lease=-5)
            s.call("Unlock", key=b"")
            s.call("Unlock", key=b"nothing")
            s.call("Leader", name=b"e")
            s.call("Proclaim", value=b"v")
            s.call("Resign")
            leader = self.pb.LeaderKey(name=b"e", key=b"e/1", rev=3, lease=7)
            s.call("Proclaim", leader=leader, value=b"v")
            s.call("Resign", leader=leader)
            s.call("Proclaim", leader=self.pb.LeaderKey(), value=b"v")
            s.call("Resign", leader=self.pb.LeaderKey())
            s.call("Campaign", name=b"e", lease=404, value=b"v")
            s.call("Range", key=b"\0", range_end=b"\0")
        self.same(script)

    def test_a_name_may_be_empty_or_of_any_bytes(self):
        def script(s):
            s.lease(9)
            for name in (b"", b"/", b"\0\xff", b"m" * 100000):
                s.call("Lock", name=name, lease=9)
            s.call("Range", key=b"\0", range_end=b"\0", keys_only=True)
        self.same(script)

    # ---- elections ----

    def test_a_leader_follows_another(self):
        def script(s):
            for lease in (1, 2):
                s.lease(lease)
            first = s.call("Campaign", name=b"e", lease=1, value=b"first").leader
            waiting = s.begin("Campaign", name=b"e", lease=2, value=b"second")
            s.has_keys(b"e/", 2)
            s.call("Leader", name=b"e")
            s.call("Proclaim", leader=first, value=b"still the first")
            s.call("Campaign", name=b"e", lease=1, value=b"again")
            s.call("Leader", name=b"e")
            s.note(waiting.done())
            s.call("Resign", leader=first)
            second = s.end("Campaign", waiting).leader
            s.call("Leader", name=b"e")
            s.call("Proclaim", leader=first, value=b"not any more")
            s.call("Resign", leader=first)
            s.call("Resign", leader=second)
            s.call("Leader", name=b"e")
            s.call("Range", key=b"\0", range_end=b"\0")
        self.same(script)

    def test_who_leaves_an_election_leaves_no_key(self):
        def script(s):
            for lease in (1, 2):
                s.lease(lease)
            s.call("Campaign", name=b"e", lease=1, value=b"first")
            waiting = s.begin("Campaign", name=b"e", lease=2, value=b"second")
            s.has_keys(b"e/", 2)
            waiting.cancel()
            s.has_keys(b"e/", 1)
            s.call("Leader", name=b"e")
        self.same(script)

    def test_observers(self):
        def script(s):
            for lease in (1, 2):
                s.lease(lease)
            first = s.call("Campaign", name=b"e", lease=1, value=b"1").leader
            seen, early = Observer(s, b"e"), Observer(s, b"f")
            seen.next()
            s.call("Proclaim", leader=first, value=b"2")
            seen.next()
            s.call("Proclaim", leader=first, value=b"3")
            seen.next()
            waiting = s.begin("Campaign", name=b"e", lease=2, value=b"of the second")
            s.has_keys(b"e/", 2)
            s.call("Resign", leader=first)
            seen.next()
            s.call("DeleteRange", key=s.end("Campaign", waiting).leader.key)
            s.call("Campaign", name=b"e", lease=1, value=b"of the third")
            seen.next()
        self.same(script)

    def test_an_observer_may_come_first(self):
        s = Side(self.pb, self.pair.ours)  # etcd does not tell when it watches
        s.lease(1)
        early = Observer(s, b"e")
        s.call("Campaign", name=b"e", lease=1, value=b"v")
        early.next()
        self.assertIn("value = b'v'", s.told[-1])

    # ---- ours alone ----

    def test_who_lost_the_lease_has_not_the_lock(self):
        """As newer etcd; Debian's says that the lock is held."""
        s = Side(self.pb, self.pair.ours)
        for lease in (1, 2):
            s.lease(lease)
        s.call("Lock", name=b"m", lease=1)
        waiting = s.begin("Lock", name=b"m", lease=2)
        s.has_keys(b"m/", 2)
        s.call("LeaseRevoke", ID=2)
        s.call("Unlock", key=b"m/1")
        s.end("Lock", waiting)
        self.assertEqual(s.told[-1], "Lock UNKNOWN mutex: session is expired")

    def test_who_waits_costs_no_thread(self):
        s = Side(self.pb, self.pair.ours)
        for lease in range(1, WAITERS + 1):
            s.lease(lease)
        s.call("Lock", name=b"m", lease=1)
        waiting = [(lease, s.begin("Lock", name=b"m", lease=lease)) for lease in range(2, WAITERS + 1)]
        s.has_keys(b"m/", WAITERS)
        with open(f"/proc/{self.pair.ours.process.pid}/status", encoding="ascii") as status:
            threads = int(next(line for line in status if line.startswith("Threads:")).split()[1])
        self.assertLess(threads, 60)
        s.call("Unlock", key=b"m/1")
        held = 0
        while waiting:
            done = []
            s.until(lambda: any(future.done() for _, future in waiting), "the next owner")
            done = [(lease, future) for lease, future in waiting if future.done()]
            self.assertEqual(len(done), 1)
            waiting.remove(done[0])
            held += 1
            s.end("Lock", done[0][1])
            s.call("Unlock", key=b"m/%x" % done[0][0])
        self.assertEqual(held, WAITERS - 1)


if __name__ == "__main__":
    main()
