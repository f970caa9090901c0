# SPDX-License-Identifier: Apache-2.0
"""What python3-etcd3 is told; the same lines are expected of every server.

    python.py HOST:PORT
"""
import io
import itertools
import sys
import threading

import etcd3

host, port = sys.argv[1].rsplit(":", 1)
c = etcd3.client(host=host, port=int(port), timeout=10)


def show(what, *values):
    print(what, *values, flush=True)


def kv(pair):
    value, meta = pair
    return (value, meta and (meta.key, meta.create_revision, meta.mod_revision, meta.version, meta.lease_id))


def outcome(txn):
    succeeded, responses = txn
    return succeeded, [[kv(p) for p in r] if isinstance(r, list) else " ".join(str(r).split()) for r in responses]


def fails(what, call):
    try:
        show(what, "no error", call())
    except Exception as e:  # whatever its class, it must be the same with every server
        show(what, type(e).__name__, getattr(e, "details", lambda: str(e))())


def reading_and_writing():
    show("get nothing", kv(c.get("a")))
    show("put", c.put("a", "1").header.revision)
    show("put prev", c.put("a", "2", prev_kv=True).prev_kv.value)
    for n in range(5):
        c.put(f"p/{n}", str(9 - n))
    show("get", kv(c.get("a")), kv(c.get("a", serializable=True)))
    show("prefix", [kv(p) for p in c.get_prefix("p/")])
    show("sorted", [kv(p)[0] for p in c.get_prefix("p/", sort_order="ascend", sort_target="value")])
    show("keys only", [kv(p) for p in c.get_prefix("p/", keys_only=True)])
    show("range", [kv(p) for p in c.get_range("p/1", "p/3")])
    show("all", len(list(c.get_all())))
    show("delete", c.delete("p/0"), c.delete("p/0"),
         [p.value for p in c.delete("p/1", prev_kv=True, return_response=True).prev_kvs])
    show("delete prefix", c.delete_prefix("p/").deleted)
    fails("empty key", lambda: c.put("", "x"))
    show("replace", c.replace("a", "2", "3"), c.replace("a", "2", "4"), c.put_if_not_exists("a", "5"),
         c.put_if_not_exists("b", "6"))


def transactions():
    t = c.transactions
    compare = [t.value("a") == "3", t.version("a") > 1, t.create("none") == 0, t.mod("a") != 0]
    show("txn", outcome(c.transaction(compare=compare, success=[t.put("a", "t"), t.get("b"), t.delete("none")],
                                      failure=[t.put("a", "f")])))
    show("txn else", outcome(c.transaction(compare=[t.version("none") > 0], success=[], failure=[t.get("a"), t.get("none")])))
    inner = t.txn(compare=[t.value("a") == "t"], success=[t.put("n", "1")], failure=[])
    show("txn nested", outcome(c.transaction(compare=[], success=[inner], failure=[])))
    fails("txn twice", lambda: c.transaction(compare=[], success=[t.put("d", "1"), t.put("d", "2")], failure=[]))


def leases():
    lease = c.lease(1000, lease_id=77)
    show("lease", lease.id, lease.ttl, lease.granted_ttl, 998 <= lease.remaining_ttl <= 1000)
    c.put("leased", "x", lease=lease)
    show("lease keys", list(lease.keys))
    show("refresh", [r.TTL for r in lease.refresh()])
    show("revoke", lease.revoke() is None, kv(c.get("leased")))
    fails("revoke again", lambda: c.revoke_lease(77))
    fails("lease taken", lambda: (c.lease(1000, lease_id=78), c.lease(1000, lease_id=78)))
    fails("lease unknown", lambda: c.put("leased", "x", lease=404))
    show("lock", end_of_lock())


def end_of_lock():
    with c.lock("mutex", ttl=60) as lock:
        other = c.lock("mutex", ttl=60)
        return lock.is_acquired(), other.acquire(timeout=0)


def watching():
    seen, done = [], threading.Event()

    def take(response):
        for e in response.events:
            seen.append((type(e).__name__, e.key, e.value, e.version, e.mod_revision, e.prev_value))
        if len(seen) >= 3:
            done.set()
    watch = c.add_watch_prefix_callback("w/", take, prev_kv=True)
    c.put("w/1", "a")
    c.put("other", "a")
    c.put("w/1", "b")
    c.delete("w/1")
    show("watch", done.wait(10), seen)
    c.cancel_watch(watch)
    events, cancel = c.watch_prefix("w/", start_revision=1)
    show("watch from the past", [(type(e).__name__, e.key, e.value) for e in itertools.islice(events, 3)])
    cancel()
    c.compact(c.get("a")[1].mod_revision)
    events, cancel = c.watch("a", start_revision=1)
    fails("watch of what is compacted", lambda: next(iter(events)).key)
    cancel()


def upkeep():
    fails("compacted", lambda: c.compact(2))
    show("members", [(m.name, len(m.client_urls)) for m in c.members])
    show("status", c.status().leader.name, c.status().db_size > 0)
    show("hash", type(c.hash()).__name__)
    show("alarms", list(c.list_alarms()), len(c.create_alarm()), len(list(c.list_alarms())), len(c.disarm_alarm()),
         list(c.list_alarms()))
    c.defragment()
    snapshot = io.BytesIO()
    c.snapshot(snapshot)
    show("snapshot", snapshot.tell() > 4096)
    fails("member", lambda: c.add_member(["nonsense"]))


for part in (reading_and_writing, transactions, leases, watching, upkeep):
    part()
show("end")
c.close()
