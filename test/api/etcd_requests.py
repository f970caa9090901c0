# SPDX-License-Identifier: Apache-2.0
"""Random requests to a store, most of them valid, over few keys so that they meet."""

KEYS = (b"a", b"a\0", b"aa", b"b", b"ba", b"c", b"\xff")
LEASES = (1, 2, 3, 404)


def text(request):
    if isinstance(request, bytes):
        return repr(request[:60])
    shown = " ".join(str(request).split())
    return shown if len(shown) < 600 else f"{shown[:80]} ... {len(shown)} characters"


class Requests:
    def __init__(self, pb, rng):
        self.pb, self.rng = pb, rng
        self.revision, self.compacted = 1, 0

    def learn(self, answer):
        header = getattr(answer, "header", None)
        if header is not None and header.revision:
            self.revision = header.revision

    def chance(self, percent):
        return self.rng.randrange(100) < percent

    # ---- parts ----

    def key(self):
        return b"" if self.chance(1) else self.rng.choice(KEYS)

    def end(self, key):
        return self.rng.choice((b"", b"", b"", b"\0", key + b"\0", b"b", b"c", b"\xff", b"a", self.rng.choice(KEYS)))

    def past(self, percent):
        """A revision: as a rule 0, else one around those that there are."""
        if not self.chance(percent):
            return 0
        if self.chance(20):
            return self.rng.choice((-1, self.revision + 1, self.revision + 2, 1 << 40, self.compacted, self.compacted - 1))
        return self.rng.randint(max(1, self.compacted), self.revision)

    def value(self):
        return self.rng.choice((b"", b"1", b"2", b"3", b"x" * 50))

    # ---- KV ----

    def range(self):
        r, key = self.pb.RangeRequest(), self.key()
        r.key, r.range_end, r.revision = key, self.end(key), self.past(30)
        r.limit = self.rng.choice((0, 0, 0, 1, 2, 3, -1, 100))
        if self.chance(40):
            r.sort_target, r.sort_order = self.rng.randrange(5), self.rng.randrange(3)
        r.serializable, r.keys_only, r.count_only = self.chance(20), self.chance(20), self.chance(15)
        for bound in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
            setattr(r, bound, self.past(12))
        return r

    def put(self):
        r = self.pb.PutRequest(key=self.key(), prev_kv=self.chance(30), ignore_value=self.chance(8), ignore_lease=self.chance(8))
        if not r.ignore_value or self.chance(10):
            r.value = self.value()
        # Of two errors, a lease and a key that are not there, etcd tells a put the first and a transaction the second.
        if self.chance(25) and not r.ignore_value and (not r.ignore_lease or self.chance(10)):
            r.lease = self.rng.choice(LEASES)
        return r

    def delete(self):
        key = self.key()
        return self.pb.DeleteRangeRequest(key=key, range_end=self.end(key) if self.chance(40) else b"", prev_kv=self.chance(40))

    def compare(self):
        key = self.key()
        c = self.pb.Compare(key=key, target=self.rng.randrange(5), result=self.rng.randrange(4))
        if self.chance(25):
            c.range_end = self.end(key)
        if self.chance(95):
            field = ("version", "create_revision", "mod_revision", "value", "lease")[
                c.target if self.chance(95) else self.rng.randrange(5)]
            number = self.rng.choice((0, 1, 2, self.revision, self.revision - 1, self.rng.randint(1, self.revision)))
            setattr(c, field, self.value() if field == "value" else number)
        return c

    def op(self, depth):
        kind = self.rng.choice(("range", "put", "put", "delete", "txn") if depth else ("range", "put", "delete"))
        if self.chance(1):
            return self.pb.RequestOp()
        if kind == "range":
            return self.pb.RequestOp(request_range=self.range())
        if kind == "put":
            return self.pb.RequestOp(request_put=self.put())
        if kind == "delete":
            return self.pb.RequestOp(request_delete_range=self.inner_delete())
        return self.pb.RequestOp(request_txn=self.txn(depth - 1))

    def inner_delete(self):
        """With no open end: etcd overlooks that such a deletion and a put of the same transaction overlap."""
        r = self.delete()
        if r.range_end == b"\0":
            r.range_end = b"\xff\xff"
        return r

    def txn(self, depth=2):
        few = (0, 1, 1, 2, 3)
        return self.pb.TxnRequest(compare=[self.compare() for _ in range(self.rng.choice((0, 0, 1, 2)))],
                                  success=[self.op(depth) for _ in range(self.rng.choice(few))],
                                  failure=[self.op(depth) for _ in range(self.rng.choice(few))])

    def compaction(self):
        # Physical, so that etcd is done with it: a hash after the last key is gone counts what is still to be removed.
        # Not at 0: etcd remembers that it has compacted there, we do not.
        r = self.pb.CompactionRequest(revision=self.past(100) or 1, physical=True)
        if self.compacted < r.revision <= self.revision:
            self.compacted = r.revision
        return r

    # ---- leases ----

    def lease_id(self):
        return self.rng.choice(LEASES[:3]) if self.chance(90) else self.rng.choice((0, -1, 404))

    def grant(self):
        lease = self.lease_id()
        return self.pb.LeaseGrantRequest(ID=0 if lease == 404 else lease, TTL=self.rng.choice((1000, 2000, 3000, 10**10)))

    # ---- whole requests ----

    def write(self):
        """(method, request) of something that as a rule makes events."""
        if self.chance(8):
            return "Lease/LeaseGrant", self.grant()
        if self.chance(4):
            return "Lease/LeaseRevoke", self.pb.LeaseRevokeRequest(ID=self.lease_id())
        method, make = self.rng.choice((("KV/Put", self.put), ("KV/Put", self.put), ("KV/DeleteRange", self.delete),
                                        ("KV/Txn", self.txn), ("KV/Txn", self.several)))
        return method, make()

    def several(self):
        keys = self.rng.sample(KEYS, self.rng.randint(2, 5))
        ops = [self.pb.RequestOp(request_put=self.pb.PutRequest(key=k, value=self.value())) if self.chance(65) else
               self.pb.RequestOp(request_delete_range=self.pb.DeleteRangeRequest(key=k)) for k in keys]
        return self.pb.TxnRequest(success=ops)

    def any(self):
        kind = self.rng.randrange(100)
        if kind < 35:
            return "KV/Range", self.range()
        if kind < 87:
            return self.write()
        if kind < 90:
            return "KV/Compact", self.compaction()
        if kind < 94:
            return "Lease/LeaseTimeToLive", self.pb.LeaseTimeToLiveRequest(ID=self.lease_id(), keys=self.chance(70))
        if kind < 97:
            return "Lease/LeaseLeases", self.pb.LeaseLeasesRequest()
        return "Maintenance/HashKV", self.pb.HashKVRequest(revision=self.past(60))
