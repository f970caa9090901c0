#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""etcd's v3 API to the letter: the same requests, valid and not, to Debian's etcd and to our store, and their answers
field by field, the codes and texts of errors included.

    test/api/etcd_diff_test.py [Class[.test]]...     ETCD_STORE=build/test/etcd/etcd_store

Random sequences come from a fixed seed.  ETCD_DIFF_SEED=N takes another one, ETCD_DIFF_SEED=random a new one, which is
printed, ETCD_DIFF_ROUNDS=N more sequences, and ETCD_DIFF_SECONDS=N begins none after that time: a soak.  What differs is shrunk and printed as a short sequence.
"""
import os
import random
import shutil
import sys
import time
import unittest

try:
    import grpc
    import etcd_pair
    from etcd_requests import Requests, text
    from etcd_watches import Watches
    problem = None
except ImportError as e:
    problem = str(e)
from server import main

SEED = os.environ.get("ETCD_DIFF_SEED", "3")
SEED = random.SystemRandom().randrange(1 << 32) if SEED == "random" else int(SEED)
ROUNDS = int(os.environ.get("ETCD_DIFF_ROUNDS", "4"))
SECONDS = float(os.environ.get("ETCD_DIFF_SECONDS", "inf"))
BEGAN = time.monotonic()
STEPS = 400           # of a random sequence
RESTART = "restart"   # a step that is no request
SHRINKING_SECONDS = 90

work, pb = None, None

# Where etcd 3.4 and what we follow differ: (method, how 3.4 begins, how we begin, where it is written).
LATER_ETCD = (
    ("KV/", "OK", "INVALID_ARGUMENT etcdserver: invalid sort option", "3.5.10: v3rpc/key.go, checkRangeRequest"),
    ("/", "RESOURCE_EXHAUSTED malformed method name", "UNIMPLEMENTED malformed method name", "gRPC 1.39: issue 4464"),
    ("", "UNAUTHENTICATED etcdserver: invalid auth token", "OK", "3.6: auth/store.go, AuthInfoFromCtx looks first whether it is on"),
    ("", "UNAUTHENTICATED etcdserver: invalid auth token", "NOT_FOUND etcdserver: requested lease not found", "the same"),
    ("Maintenance/HashKV", "OUT_OF_RANGE etcdserver: mvcc: required revision has been compacted", "OK",
     "3.5.10: mvcc/kvstore.go, hashByRev takes the compacted revision itself"),
)


def is_later_etcd(method, lines):
    return any(method.startswith(m) and lines[0][0].startswith(etcd) and lines[1][0].startswith(ours)
               for m, etcd, ours, _ in LATER_ETCD)



def setUpModule():
    global work, pb
    if problem:
        raise unittest.SkipTest(problem)
    try:
        work, pb = etcd_pair.prepare()
    except etcd_pair.Missing as e:
        raise unittest.SkipTest(str(e))


def tearDownModule():
    if work:
        shutil.rmtree(work, ignore_errors=True)


def difference(lines):
    etcd, ours = lines
    return "\n".join([f"  etcd: {line}" for line in etcd if line not in ours] +
                     [f"  ours: {line}" for line in ours if line not in etcd]) or f"  etcd: {etcd}\n  ours: {ours}"


class Compared(unittest.TestCase):
    """A pair of new servers for each test."""

    def same(self, method, request=b"", **how):
        lines, messages = self.pair.call(method, request, **how)
        self.note(f"{method} {text(request)}", lines)
        return messages[1]

    def note(self, what, lines):
        for server in self.pair.servers():
            if not server.is_alive():
                self.fail(f"{server.name} died of {what}")
        if lines[0] != lines[1] and not is_later_etcd(what, lines):
            self.differences.append(f"{what}\n{difference(lines)}")

    def setUp(self):
        self.differences = []
        self.pair = etcd_pair.Pair(pb, work)
        self.addCleanup(self.pair.stop)

    def tearDown(self):
        if self.differences:
            self.fail(f"{len(self.differences)} differences\n" + "\n".join(self.differences[:40]))

    def revision(self):
        return self.same("KV/Range", pb.RangeRequest(key=b"?")).header.revision

    def put(self, key, value=b"v", **more):
        return self.same("KV/Put", pb.PutRequest(key=key, value=value, **more))

    def txn(self, *success, compare=(), failure=()):
        return self.same("KV/Txn", pb.TxnRequest(compare=compare, success=success, failure=failure))


def put(key, value=b"v", **more):
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, **more))


def get(key, end=b"", **more):
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=end, **more))


def delete(key, end=b"", **more):
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=end, **more))


def nested(*success, compare=(), failure=()):
    return pb.RequestOp(request_txn=pb.TxnRequest(compare=compare, success=success, failure=failure))


class Keys(Compared):
    def test_ranges_with_every_option(self):
        for n, key in enumerate((b"a", b"a\0", b"b", b"ba", b"c", b"\xff", b"\xff\xff", b"\0")):
            for _ in range(n % 3 + 1):
                self.put(key, b"value %d" % (n % 4))
        self.same("KV/DeleteRange", pb.DeleteRangeRequest(key=b"ba"))
        now = self.revision()
        requests = Requests(pb, random.Random(SEED))
        requests.revision = now
        for _ in range(600):
            self.same("KV/Range", requests.range())
        for target in range(5):  # one that there is not ends etcd 3.4
            for order in range(3):
                for limit in (-1, 0, 1, 3, 100):
                    self.same("KV/Range", pb.RangeRequest(key=b"\0", range_end=b"\0", sort_target=target, sort_order=order,
                                                          limit=limit))
        for odd in ({"sort_order": 3}, {"sort_order": -1}):
            self.same("KV/Range", pb.RangeRequest(key=b"a", **odd))
        for odd in ({"sort_target": 5}, {"sort_target": -1}):
            self.assertEqual(self.pair.ask(self.pair.ours, "KV/Range", pb.RangeRequest(key=b"a", **odd)),
                             ("INVALID_ARGUMENT", "etcdserver: invalid sort option"))
        for revision in (-1, 1, 2, now, now + 1, 1 << 62):
            for more in ({}, {"count_only": True}, {"serializable": True}, {"limit": 1}):
                self.same("KV/Range", pb.RangeRequest(key=b"a", range_end=b"z", revision=revision, **more))
        for bound in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
            for revision in (-1, 1, 5, now, now + 1):
                for more in ({}, {"limit": 2}, {"count_only": True}):
                    self.same("KV/Range", pb.RangeRequest(key=b"\0", range_end=b"\0", **{bound: revision}, **more))

    def test_puts_of_every_kind(self):
        self.same("Lease/LeaseGrant", pb.LeaseGrantRequest(ID=50, TTL=1000))
        for key in (b"", b"new", b"\0", b"\xff" * 300):
            for value in (b"", b"x"):
                for lease in (0, 50, 51, -1):
                    for flags in range(8):
                        self.same("KV/Put", pb.PutRequest(key=key, value=value, lease=lease, prev_kv=bool(flags & 1),
                                                          ignore_value=bool(flags & 2), ignore_lease=bool(flags & 4)))
        self.same("KV/Range", pb.RangeRequest(key=b"\0", range_end=b"\0"))
        self.same("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=50, keys=True))

    def test_deletions_of_every_kind(self):
        ends = (b"", b"\0", b"d", b"d\0", b"da", b"e", b"c", b"\xff")
        for key in (b"", b"d", b"da", b"\0"):
            for end in ends:
                for prev_kv in (False, True):
                    for n, name in enumerate((b"d", b"da", b"db")):
                        self.put(name, b"%d" % n)
                    self.same("KV/DeleteRange", pb.DeleteRangeRequest(key=key, range_end=end, prev_kv=prev_kv))
                    self.same("KV/DeleteRange", pb.DeleteRangeRequest(key=key, range_end=end, prev_kv=prev_kv))

    def test_large_requests(self):
        for size in (1 << 20, 1500000, 1600000, 2000000, 2096000, 2097152, 3000000):
            self.put(b"large", b"x" * size)
            self.txn(put(b"large", b"x" * size))
            self.same("KV/Range", pb.RangeRequest(key=b"x" * size))
            self.same("KV/DeleteRange", pb.DeleteRangeRequest(key=b"x" * size))
            self.txn(get(b"x" * size))

    def test_garbage(self):
        # Not for Alarm: raising one of no kind ends etcd.
        for data in (b"\xff", b"\x0a\x05ab", b"\x08\x01", b"\x0a", b"\x0a\x01a\x12", b"\x07", b"\x0f\x01", b"\x00\x01",
                     b"\x0a\x01a\xf8\x07\x01", b"\x0a\x01a\xf2\x06\x03abc", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x01a\x0a\x01b",
                     b"\x0b\x0c\x0a\x01a", b"\x0a\x01a\x18" + b"\xff" * 10):
            for method in ("KV/Range", "KV/Put", "KV/DeleteRange", "KV/Txn", "KV/Compact", "Lease/LeaseTimeToLive"):
                lines, _ = self.pair.call(method, data)
                lines = [[line.split("request: ")[0] for line in told] for told in lines]  # then each parser's own words
                self.note(f"{method} {data!r}", lines)


class Transactions(Compared):
    def test_compares(self):
        self.same("Lease/LeaseGrant", pb.LeaseGrantRequest(ID=60, TTL=1000))
        self.put(b"a", b"m", lease=60)
        self.put(b"a", b"m", lease=60)
        self.put(b"b", b"n")
        unions = [{}]
        for field in ("version", "create_revision", "mod_revision", "lease"):
            unions += [{field: n} for n in (-1, 0, 1, 2, 3, 60)]
        unions += [{"value": v} for v in (b"", b"m", b"n", b"z")]
        for key, end in ((b"a", b""), (b"a", b"c"), (b"none", b""), (b"none", b"nz"), (b"a", b"\0"), (b"b", b"a"), (b"", b"")):
            for target in range(-1, 7):
                for result in range(-1, 6):
                    compare = [pb.Compare(key=key, range_end=end, target=target, result=result, **u) for u in unions]
                    failure = [pb.TxnRequest(compare=[c]) for c in compare]
                    for request in failure[:3] if not key else failure:
                        self.same("KV/Txn", request)

    def test_the_same_key_twice(self):
        # No deletion with an open end: etcd takes it for an empty one here.
        ops = (put(b"k"), put(b"l"), delete(b"k"), delete(b"j", b"l"), delete(b"l", b"z"), delete(b"z", b"a"), delete(b"j", b"k"),
               nested(put(b"k")), nested(failure=[put(b"k")]), nested(put(b"k"), failure=[put(b"k")]), nested(delete(b"k")),
               nested(failure=[delete(b"a", b"z")]), nested(put(b"k"), failure=[delete(b"k")]), nested(put(b"k"), put(b"k")),
               nested(nested(put(b"k"))), nested(nested(put(b"k"), failure=[put(b"k")]), failure=[nested(put(b"k"))]))
        for first in ops:
            self.txn(first)
            for second in ops:
                self.txn(first, second)
                self.same("KV/Txn", pb.TxnRequest(success=[first], failure=[second]))
                self.same("KV/Txn", pb.TxnRequest(compare=[pb.Compare(key=b"k", version=0, result=1)], success=[first, get(b"k")],
                                                  failure=[second, get(b"k")]))
        self.same("KV/Range", pb.RangeRequest(key=b"\0", range_end=b"\0"))

    def test_what_a_transaction_sees(self):
        self.put(b"s", b"0")
        now = self.revision()
        for revision in (-1, 0, 1, now - 1, now, now + 1, now + 2):
            self.txn(get(b"s", revision=revision))
            self.txn(put(b"s", b"1"), get(b"s", revision=revision))
            self.txn(get(b"s", revision=revision), put(b"s", b"1"), get(b"s", b"t", count_only=True))
            self.txn(nested(put(b"s", b"2"), get(b"s", revision=revision)), get(b"s"))
        self.txn(put(b"s", b"3", prev_kv=True), nested(get(b"s"), compare=[pb.Compare(key=b"s", target=3, value=b"3")],
                                                       failure=[get(b"none")]))
        self.txn(delete(b"s", prev_kv=True), get(b"s"), get(b"s", revision=now), delete(b"s"), delete(b"s", prev_kv=True))
        self.txn(delete(b"none"), get(b"s"))
        self.txn(delete(b"none"), put(b"s"), delete(b"q"))
        self.txn(put(b"s1"), put(b"s2"), put(b"s3"), get(b"s", b"t"), delete(b"x", b"z"))
        self.txn(nested(get(b"s1"), nested(put(b"s9"), failure=[])), nested(delete(b"s1", b"s3"), get(b"s", b"t")))

    def test_errors_inside(self):
        self.put(b"e")
        bad = (put(b""), put(b"e", lease=404), put(b"none", b"", ignore_value=True), put(b"e", b"x", ignore_value=True),
               put(b"e", b"", ignore_value=True), put(b"none", b"", ignore_lease=True), put(b"e", lease=404, ignore_lease=True),
               get(b""), delete(b""), pb.RequestOp(), get(b"e", revision=10000), get(b"e", revision=-5), nested(put(b"")),
               nested(get(b"e", revision=10000)), nested(put(b"e", lease=404)), nested(failure=[put(b"e", lease=404)]),
               nested(failure=[put(b"")]), nested(compare=[pb.Compare(key=b"")]))
        for one in bad:
            self.txn(one)
            self.same("KV/Txn", pb.TxnRequest(failure=[one]))
            self.txn(put(b"f"), one)
            self.txn(one, put(b"f"))
            for other in bad:
                self.txn(one, other)
        self.same("KV/Range", pb.RangeRequest(key=b"e", range_end=b"g"))

    def test_how_many_operations(self):
        for n in (127, 128, 129, 200):
            keys = [b"n%d" % i for i in range(n)]
            self.txn(*[get(k) for k in keys])
            self.txn(*[put(k) for k in keys])
            self.same("KV/Txn", pb.TxnRequest(compare=[pb.Compare(key=k) for k in keys]))
            self.same("KV/Txn", pb.TxnRequest(failure=[get(k) for k in keys]))
        for outer, inner in ((64, 64), (64, 65), (1, 127), (1, 128), (127, 1), (128, 1), (127, 2), (128, 0)):
            many = [get(b"n%d" % i) for i in range(inner)]
            self.txn(nested(*many), *[get(b"o%d" % i) for i in range(outer - 1)])
            self.txn(*[nested(*many) for i in range(min(outer, 3))], *[get(b"o") for i in range(outer - min(outer, 3))])
            self.txn(nested(failure=many), *[get(b"o%d" % i) for i in range(outer - 1)])
        deep = put(b"deep")
        for _ in range(7):
            deep = nested(deep, get(b"deep"))
        self.txn(deep)
        self.txn()
        self.txn(nested(), nested())


class Compactions(Compared):
    def test_compactions(self):
        for n in range(10):
            self.put(b"c", b"%d" % n)
            self.put(b"d%d" % n)
        self.same("KV/DeleteRange", pb.DeleteRangeRequest(key=b"d3", range_end=b"d6"))
        now = self.revision()
        # Once: etcd remembers that it has compacted at 0, we do not.
        self.same("KV/Compact", pb.CompactionRequest())
        for revision in (-1, 1, 5, 5, 4, now + 1, now + 100):
            for physical in (False, True):
                self.same("KV/Compact", pb.CompactionRequest(revision=revision, physical=physical))
        for compacted in (now - 2, now):
            for revision in range(-1, now + 2):
                self.same("KV/Range", pb.RangeRequest(key=b"c", revision=revision))
                self.same("KV/Range", pb.RangeRequest(key=b"d", range_end=b"e", revision=revision, count_only=True))
                self.txn(get(b"c", revision=revision))
                self.txn(put(b"other"), get(b"c", revision=revision)) if revision < 5 else None
                self.same("Maintenance/HashKV", pb.HashKVRequest(revision=revision))
            self.same("KV/Compact", pb.CompactionRequest(revision=compacted, physical=True))
            self.same("Maintenance/HashKV")
        self.same("KV/Compact", pb.CompactionRequest(revision=self.revision(), physical=True))
        self.same("KV/Range", pb.RangeRequest(key=b"\0", range_end=b"\0"))
        self.same("Maintenance/HashKV")

    def test_hashes_of_history(self):
        requests = Requests(pb, random.Random(SEED + 1))
        requests.revision = self.revision()
        for _ in range(40):
            self.same("KV/Txn", requests.txn())
        now = self.revision()
        for revision in range(0, now + 2):
            self.same("Maintenance/HashKV", pb.HashKVRequest(revision=revision))


class Leases(Compared):
    def test_grants(self):
        for lease in (0, 1, 1, -1, -(1 << 63), (1 << 63) - 1, 7):
            for ttl in (-1, 0, 1, 2, 3, 1000, 9000000000, 9000000001, 1 << 62):
                self.same("Lease/LeaseGrant", pb.LeaseGrantRequest(ID=lease, TTL=ttl))
        for lease in (1, -1, 0, 404, 7):
            self.same("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=lease))

    def test_their_keys(self):
        for lease in (70, 71):
            self.same("Lease/LeaseGrant", pb.LeaseGrantRequest(ID=lease, TTL=1000 + lease))
        for key, lease in ((b"b", 70), (b"a", 70), (b"c", 70), (b"c", 71), (b"d", 70)):
            self.put(key, lease=lease)
        self.put(b"d")
        for keys in (False, True):
            for lease in (70, 71, 404, 0, -1):
                self.same("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=lease, keys=keys))
        self.same("KV/DeleteRange", pb.DeleteRangeRequest(key=b"a"))
        self.same("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=70, keys=True))
        self.txn(put(b"a", lease=71), put(b"e", lease=71), delete(b"b"))
        self.same("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=71, keys=True))
        self.same("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=71))
        self.same("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=71, keys=True))
        self.same("KV/Range", pb.RangeRequest(key=b"a", range_end=b"z"))
        self.same("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=71))
        for key in (b"m", b"l", b"z", b"f", b"k", b"g"):
            self.put(key, lease=70)
        watches = Watches(self.pair)
        watches.create(key=b"a", range_end=b"zz")
        watches.settle()
        self.same("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=70))  # the keys go in their order
        problem = watches.compare()
        watches.stop()
        self.assertIsNone(problem)
        self.same("Maintenance/HashKV")
        self.same("KV/Range", pb.RangeRequest(key=b"a", range_end=b"z"))

    def test_lists(self):
        for n, ttl in enumerate((5000, 3000, 4000, 3500)):
            self.same("Lease/LeaseGrant", pb.LeaseGrantRequest(ID=100 + n, TTL=ttl))
        self.same("Lease/LeaseLeases")
        self.same("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=101))
        self.same("Lease/LeaseLeases")

    def test_the_end_of_one(self):
        self.same("Lease/LeaseGrant", pb.LeaseGrantRequest(ID=80, TTL=4))  # long enough to write the key on a slow machine
        self.put(b"short", lease=80)
        end = time.monotonic() + 120
        while time.monotonic() < end:
            left = [self.pair.ask(s, "KV/Range", pb.RangeRequest(key=b"short", count_only=True)) for s in self.pair.servers()]
            if all(pb.RangeResponse.FromString(data).count == 0 for _, data in left):
                break
            time.sleep(0.1)
        self.same("KV/Range", pb.RangeRequest(key=b"short"))
        self.same("Lease/LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=80, keys=True))
        self.same("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=80))
        self.put(b"short", lease=80)

    def test_keeping_alive(self):
        self.same("Lease/LeaseGrant", pb.LeaseGrantRequest(ID=90, TTL=500))
        told = []
        for server in self.pair.servers():
            stream = server.channel.stream_stream(
                "/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseKeepAliveRequest.SerializeToString,
                pb.LeaseKeepAliveResponse.FromString)
            answers = stream(iter([pb.LeaseKeepAliveRequest(ID=lease) for lease in (90, 404, 0, 90, -1)]), timeout=120)
            try:
                told.append([etcd_pair.tell(m, {}) for m in answers] + [answers.code().name])
            except grpc.RpcError as e:
                told.append([e.code().name, e.details()])
        self.assertEqual(told[0], told[1])


class Others(Compared):
    def test_alarms(self):
        # Raising one of no kind ends etcd, and one for a member that there is not is a matter of clusters.
        for alarm in (0, 1, 2, 3):
            for action in (0, 2):
                for member in (0, etcd_pair.ME, 12345):
                    self.same("Maintenance/Alarm", pb.AlarmRequest(action=action, alarm=alarm, member_id=member))
        for _ in range(2):
            self.same("Maintenance/Alarm", pb.AlarmRequest(action=1, alarm=1, member_id=etcd_pair.ME))
            self.same("Maintenance/Alarm", pb.AlarmRequest())
        for alarm in (1, 2):
            self.same("Maintenance/Alarm", pb.AlarmRequest(alarm=alarm))
            self.same("Maintenance/Alarm", pb.AlarmRequest(alarm=alarm, member_id=12345))
        for member in (12345, etcd_pair.ME, etcd_pair.ME):
            self.same("Maintenance/Alarm", pb.AlarmRequest(action=2, alarm=1, member_id=member))
        self.same("Maintenance/Alarm", pb.AlarmRequest())

    def test_what_an_alarm_refuses(self):
        self.put(b"before")
        self.same("Lease/LeaseGrant", pb.LeaseGrantRequest(ID=30, TTL=1000))
        self.same("Maintenance/Alarm", pb.AlarmRequest(action=1, alarm=1, member_id=etcd_pair.ME))
        self.same("Maintenance/Status")
        self.put(b"after")
        self.put(b"")
        self.put(b"after", lease=404)
        self.same("KV/Range", pb.RangeRequest(key=b"before"))
        self.same("Lease/LeaseGrant", pb.LeaseGrantRequest(ID=31, TTL=1000))
        self.same("Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=30))
        self.txn(put(b"x"))
        self.txn(get(b"before"))
        self.txn(delete(b"before"))
        self.txn(get(b"before"), failure=[put(b"x")])
        self.txn(nested(get(b"before")))  # a put there is refused by us only: etcd does not look so deep
        self.same("KV/DeleteRange", pb.DeleteRangeRequest(key=b"before"))
        self.same("KV/Compact", pb.CompactionRequest(revision=self.revision()))
        self.same("Maintenance/Defragment")
        self.same("Maintenance/Alarm", pb.AlarmRequest(action=2, alarm=1, member_id=etcd_pair.ME))
        self.same("Maintenance/Alarm", pb.AlarmRequest())
        self.put(b"after")

    def test_maintenance(self):
        self.same("Maintenance/Status")
        self.same("Maintenance/Defragment")
        for target in (0, 1, 12345, etcd_pair.ME):
            self.same("Maintenance/MoveLeader", pb.MoveLeaderRequest(target_id=target))

    def test_members(self):
        self.same("Cluster/MemberList")
        self.same("Cluster/MemberList", pb.MemberListRequest(linearizable=True))
        for urls in ([], [""], ["nonsense"], ["http://"], ["http://127.0.0.1"], ["ftp://127.0.0.1:1"], ["http://127.0.0.1:1/path"],
                     ["http://name:1"], ["http://127.0.0.1:x"]):
            self.same("Cluster/MemberUpdate", pb.MemberUpdateRequest(ID=12345, peer_urls=urls))
            if urls not in (["http://127.0.0.1"], ["http://name:1"]):
                self.same("Cluster/MemberAdd", pb.MemberAddRequest(peer_urls=urls))
                self.same("Cluster/MemberAdd", pb.MemberAddRequest(peer_urls=urls, is_learner=True))
        self.same("Cluster/MemberRemove", pb.MemberIdRequest(ID=12345))
        self.same("Cluster/MemberRemove", pb.MemberIdRequest())
        self.same("Cluster/MemberPromote", pb.MemberIdRequest(ID=12345))
        self.same("Cluster/MemberRemove", pb.MemberIdRequest(ID=etcd_pair.ME))

    def test_auth_that_is_off(self):
        for method in etcd_pair.SERVICES["Auth"]:
            if method not in ("UserAdd", "RoleAdd", "AuthStatus"):  # users can be made there; 3.4 has no status
                self.same(f"Auth/{method}", pb.AuthNameRequest(name="nobody"))
                self.same(f"Auth/{method}")

    def test_tokens_mean_nothing(self):
        for metadata in ([("token", "nonsense")], [("authorization", "Bearer x")], [("hasleader", "true")],
                         [("token", "name.1")], [("x-bin", b"\x00\xff")]):
            self.same("KV/Range", pb.RangeRequest(key=b"a"), metadata=metadata)
            self.same("KV/DeleteRange", pb.DeleteRangeRequest(key=b"none"), metadata=metadata)

    def test_methods_that_are_not(self):
        for path in ("/etcdserverpb.KV/Nothing", "/etcdserverpb.Nothing/Range", "/nothing", "/", "/a/b/c", "/KV/Range",
                     "/etcdserverpb.KV/", "/etcdserverpb.Watch/Nothing",
                     "/grpc.health.v1.Health/Nothing", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"):
            answers = [self.pair.ask(s, path, b"") for s in self.pair.servers()]
            self.note(path, [[" ".join(answer)] for answer in answers])

    def test_health(self):
        for service in ("", "etcdserverpb.KV", "nothing"):
            request = pb.HealthCheckRequest(service=service)
            answers = [self.pair.ask(s, "/grpc.health.v1.Health/Check", request) for s in self.pair.servers()]
            watched = []
            for server in self.pair.servers():
                stream = server.channel.unary_stream("/grpc.health.v1.Health/Watch", None, None)(
                    request.SerializeToString(), timeout=120)
                try:
                    watched.append(next(stream))
                except grpc.RpcError as e:
                    watched.append((e.code().name, e.details()))
                stream.cancel()
            self.assertEqual(answers[0], answers[1])
            self.assertEqual(watched[0], watched[1], service)

    def test_clients_that_do_not_wait(self):
        for _ in range(20):
            for server in self.pair.servers():
                call = server.channel.unary_unary("/etcdserverpb.KV/Range").future(
                    pb.RangeRequest(key=b"\0", range_end=b"\0").SerializeToString())
                call.cancel()
                self.pair.ask(server, "KV/Range", pb.RangeRequest(key=b"a"), timeout=1e-6)
                self.pair.ask(server, "Lease/LeaseLeases", pb.LeaseLeasesRequest(), timeout=1e-9)
        self.same("KV/Range", pb.RangeRequest(key=b"a"))


class Histories(Compared):
    def finish(self, watches):
        problem = watches.compare()
        if problem:
            self.differences.append(problem)
        watches.stop()

    def write(self, steps, seed):
        requests = Requests(pb, random.Random(seed))
        requests.revision = self.revision()
        for _ in range(steps):
            answer = self.same(*requests.write())
            requests.learn(answer)

    def test_from_every_revision(self):
        self.write(60, SEED + 2)
        now = self.revision()
        for more in ({}, {"prev_kv": True}, {"filters": [0]}, {"filters": [1], "prev_kv": True}, {"filters": [0, 1]},
                     {"fragment": True, "prev_kv": True}):
            watches = Watches(self.pair)
            for revision in range(now + 3):
                watches.create(key=b"\0", range_end=b"\0", start_revision=revision, **more)
                watches.create(key=b"a", start_revision=revision, **more)
                watches.create(key=b"a", range_end=b"c", start_revision=revision, **more)
            watches.settle()
            self.put(b"a", b"the end")
            self.txn(put(b"z"), delete(b"a"), put(b"b"), delete(b"\0", b"a"))
            self.finish(watches)

    def test_while_it_is_written(self):
        watches = Watches(self.pair)
        for more in ({}, {"prev_kv": True}, {"filters": [0]}, {"filters": [1]}):
            for key, end in ((b"", b""), (b"", b"\0"), (b"a", b""), (b"a", b"b"), (b"a", b"\0"), (b"b", b"\xff"), (b"\0", b"")):
                watches.create(key=key, range_end=end, **more)
        watches.settle()
        self.write(80, SEED + 3)
        self.finish(watches)

    def test_after_compaction(self):
        self.write(40, SEED + 4)
        now = self.revision()
        for compacted in (now - 10, now - 1, now):
            self.same("KV/Compact", pb.CompactionRequest(revision=compacted))
            watches = Watches(self.pair)
            # Not from the compacted revision itself: etcd before 3.5.18 forgets what was deleted in it (issue 19179).
            for revision in (*range(compacted - 3, compacted), *range(compacted + 1, now + 2)):
                watches.create(key=b"\0", range_end=b"\0", start_revision=revision, prev_kv=True)
                watches.create(key=b"none", start_revision=revision)
            watches.settle()
            self.put(b"a")
            self.finish(watches)

    def test_before_the_first_revision(self):
        self.write(10, SEED + 5)
        for compacted in (0, self.revision() - 2):
            if compacted:
                self.same("KV/Compact", pb.CompactionRequest(revision=compacted))
            for revision in (-1, -2, -1 << 63):  # each alone: beside a watch from -1 etcd's others miss what was
                watches = Watches(self.pair)
                watches.create(key=b"\0", range_end=b"\0", start_revision=revision)
                watches.settle()
                self.put(b"a")
                self.finish(watches)

    def test_clients_that_say_no_more(self):
        watches = Watches(self.pair)
        watches.create(key=b"\0", range_end=b"\0", prev_kv=True)
        watches.settle()
        watches.say_no_more()
        for value in (b"1", b"2"):
            self.put(b"a", value)
        self.finish(watches)

    def test_ids(self):
        watches = Watches(self.pair)
        for watch_id in (0, 7, 7, 0, 1, 2, 0, -1, -5, -5, 1 << 40):
            watches.create(key=b"w", watch_id=watch_id)
        watches.settle()
        for watch_id in (404, 7, 7, 0, 0, -1, -5):
            watches.cancel(watch_id)
        watches.settle()
        for watch_id in (7, 0, 0):
            watches.create(key=b"w", watch_id=watch_id)
        watches.create(key=b"w", range_end=b"a")
        watches.create(key=b"w", range_end=b"w")
        watches.create(key=b"", range_end=b"\0", filters=[5])
        watches.nothing()
        watches.settle()
        watches.progress()
        watches.settle()
        self.put(b"w")
        self.finish(watches)

    def test_garbage(self):
        answers = []
        for server in self.pair.servers():
            stream = server.channel.stream_stream("/etcdserverpb.Watch/Watch", None, None)(iter([b"\xff\xff"]), timeout=120)
            try:
                answers.append(list(stream))
            except grpc.RpcError as e:
                answers.append((e.code().name, e.details().split(" received")[0]))
        self.assertEqual(answers[0], answers[1])

    def test_large_events(self):
        watches = Watches(self.pair)
        watches.create(key=b"\0", range_end=b"\0", fragment=True)
        watches.create(key=b"\0", range_end=b"\0")
        watches.settle()
        self.put(b"one", b"x" * 1400000)
        self.txn(*[put(b"f%d" % n, b"x" * 100000) for n in range(14)])
        self.txn(delete(b"\0", b"\0"))
        watches.create(key=b"\0", range_end=b"\0", fragment=True, prev_kv=True, start_revision=1)
        self.finish(watches)


class Random(unittest.TestCase):
    """Sequences of random requests to new servers, and what watches are told meanwhile."""

    @staticmethod
    def watch(pair):
        watches = Watches(pair)
        watches.create(key=b"\0", range_end=b"\0", prev_kv=True)
        watches.create(key=b"a", range_end=b"b", filters=[0])
        watches.create(key=b"b")
        watches.settle()
        return watches

    def run_steps(self, steps):
        """What differs first, and at which step; steps: an iterable of method, request, and who learns of the answer."""
        pair = etcd_pair.Pair(pb, work)
        watches = self.watch(pair)
        n = 0
        try:
            for n, (method, request, learn) in enumerate(steps):
                if method == RESTART:
                    problem = watches.compare()
                    watches.stop()
                    pair.restart()
                    watches = self.watch(pair)
                    if problem:
                        return n, problem
                    continue
                lines, messages = pair.call(method, request)
                if lines[0] != lines[1] and not is_later_etcd(method, lines):
                    return n, difference(lines)
                if learn:
                    learn(messages[1])
            problem = watches.compare()
            return (n, problem) if problem else (None, None)
        finally:
            watches.stop()
            pair.stop()

    def shrink(self, steps, found):
        """Leaves out what does not matter, the larger parts first."""
        end = time.monotonic() + SHRINKING_SECONDS
        part = max(1, len(steps) // 2)
        while time.monotonic() < end:
            at = 0
            while at < len(steps) - 1 and time.monotonic() < end:
                fewer = steps[:at] + steps[min(at + part, len(steps) - 1):]
                n, now = self.run_steps([(m, r, None) for m, r in fewer])
                if n is None:
                    at += part
                else:
                    steps, found = fewer[:n + 1], now
            if part == 1:
                break
            part //= 2
        return steps, found

    def one_sequence(self, seed, restarts=()):
        requests, done = Requests(pb, random.Random(seed)), []

        def steps():
            for step in range(STEPS):
                method, request = (RESTART, b"") if step in restarts else requests.any()
                done.append((method, request))
                yield method, request, requests.learn
        n, found = self.run_steps(steps())
        if n is None:
            return
        shrunk, found = self.shrink(done, found)
        again = "" if len(shrunk) < len(done) else ", which did not happen again"
        self.fail(f"seed {seed}, step {n}{again}\n" + "\n".join(f"{m} {text(r)}" for m, r in shrunk) + f"\n{found}")

    @staticmethod
    def rounds(wanted, seconds):
        """One at least."""
        for n in range(wanted):
            if n and time.monotonic() > BEGAN + seconds:
                print(f"# {n} of {wanted} sequences: there was no time for more")
                return
            yield n

    def test_sequences(self):
        print(f"# random sequences from seed {SEED}")
        for n in self.rounds(ROUNDS, SECONDS * 2 / 3):
            self.one_sequence(SEED + n)

    def test_sequences_over_restarts(self):
        for n in self.rounds((ROUNDS + 3) // 4, SECONDS):
            self.one_sequence(SEED + 1000000 + n, restarts=(STEPS // 3, STEPS // 2))


if __name__ == "__main__":
    main()
