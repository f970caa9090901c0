# SPDX-License-Identifier: Apache-2.0
"""Debian's etcd and our store side by side: the same requests to both, and answers that can be compared.

Messages are generated from storage/etcd.proto when a test starts.
"""
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import grpc

from ports import free_port

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START_SECONDS = 120
CALL_SECONDS = 120
ME = 0xfeed  # in a request: the member that is asked
TTL_SECONDS_OFF = 3  # what may lie between two leases that were granted one after the other

SERVICES = {
    "KV": {"Range": ("RangeRequest", "RangeResponse"), "Put": ("PutRequest", "PutResponse"),
           "DeleteRange": ("DeleteRangeRequest", "DeleteRangeResponse"), "Txn": ("TxnRequest", "TxnResponse"),
           "Compact": ("CompactionRequest", "CompactionResponse")},
    "Lease": {"LeaseGrant": ("LeaseGrantRequest", "LeaseGrantResponse"),
              "LeaseRevoke": ("LeaseRevokeRequest", "LeaseRevokeResponse"),
              "LeaseTimeToLive": ("LeaseTimeToLiveRequest", "LeaseTimeToLiveResponse"),
              "LeaseLeases": ("LeaseLeasesRequest", "LeaseLeasesResponse")},
    "Maintenance": {"Alarm": ("AlarmRequest", "AlarmResponse"), "Status": ("StatusRequest", "StatusResponse"),
                    "Defragment": ("DefragmentRequest", "DefragmentResponse"), "Hash": ("HashRequest", "HashResponse"),
                    "HashKV": ("HashKVRequest", "HashKVResponse"),
                    "MoveLeader": ("MoveLeaderRequest", "MoveLeaderResponse")},
    "Cluster": {"MemberList": ("MemberListRequest", "MemberListResponse"),
                "MemberAdd": ("MemberAddRequest", "MemberAddResponse"),
                "MemberRemove": ("MemberIdRequest", "MemberListResponse"),
                "MemberUpdate": ("MemberUpdateRequest", "MemberListResponse"),
                "MemberPromote": ("MemberIdRequest", "MemberListResponse")},
    "Auth": {name: ("AuthNameRequest", "AuthStatusResponse" if name == "AuthStatus" else "AuthEmptyResponse") for name in (
        "AuthEnable", "AuthDisable", "AuthStatus", "Authenticate", "UserAdd", "UserGet", "UserList", "UserDelete",
        "UserChangePassword", "UserGrantRole", "UserRevokeRole", "RoleAdd", "RoleGet", "RoleList", "RoleDelete",
        "RoleGrantPermission", "RoleRevokePermission")},
}


class Missing(Exception):
    """What the test needs is not installed."""


def generate(directory):
    """The module of messages, made from our own .proto file."""
    subprocess.run(["protoc", f"--python_out={directory}", f"--proto_path={TOP}/storage", "etcd.proto"], check=True)
    sys.path.insert(0, directory)
    return importlib.import_module("etcd_pb2")


class Server:
    def __init__(self, name, work):
        self.name, self.work = name, tempfile.mkdtemp(prefix=name + ".", dir=work)
        self.log = open(os.path.join(self.work, "log"), "w", encoding="utf-8")
        self.run()

    def run(self):
        self.process, self.address = self.start()
        self.channel = grpc.insecure_channel(self.address, options=[
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)])
        grpc.channel_ready_future(self.channel).result(START_SECONDS)

    def kill(self):
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def restart(self):
        self.kill()
        self.run()

    def stop(self):
        self.kill()
        self.log.close()
        shutil.rmtree(self.work, ignore_errors=True)

    def is_alive(self):
        return self.process.poll() is None


class Etcd(Server):
    def start(self):
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        process = subprocess.Popen(
            ["etcd", "--data-dir", self.work + "/data", "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"],
            stdout=self.log, stderr=self.log)
        return process, client.removeprefix("http://")


class Ours(Server):
    binary = None

    def start(self):
        process = subprocess.Popen([self.binary, self.work, "127.0.0.1"], stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = process.stdout.readline().split()
        return process, f"127.0.0.1:{ready[1]}"


# Fields whose values are each server's own, and why.  They are compared for being there at all.
OWN = {
    "cluster_id": "an identity", "ResponseHeader.member_id": "an identity", "raft_term": "nobody elects us",
    "raft_index": "we have no log of raft", "raft_applied_index": "we have no log of raft", "leader": "an identity",
    "Member.ID": "an identity", "client_urls": "an address", "version": "a version",
    "db_size": "another file", "db_size_in_use": "another file",
}
# Fields that etcd 3.4 does not have: what we say in them is left out.
LATER = {
    "StatusResponse.storage_version": "3.6", "StatusResponse.db_size_quota": "3.6", "HashKVResponse.hash_revision": "3.5.11",
    "AlarmResponse.header": "3.5",
}
# Lists whose order etcd takes from Go's maps.
UNORDERED = {"LeaseTimeToLiveResponse.keys"}
ID_FIELDS = ("ID", "lease", "member_id", "target_id")
# Fields that only a member of a cluster has.
PEERS = {"Member.peer_urls": "nobody is our peer"}
FIELDS_BY_MESSAGE = {"version": "StatusResponse"}  # KeyValue and Compare have a field of that name too


def is_own(message, field):
    if field in FIELDS_BY_MESSAGE and FIELDS_BY_MESSAGE[field] != message:
        return False
    return field in OWN or f"{message}.{field}" in OWN


def has_unknown_fields(message):
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    return copy.ByteSize() != message.ByteSize()


def tell(message, names):
    """A message as a list of lines, less what is each server's own.  NAMES: ids that a server chose -> a name for both."""
    lines = []

    def value(kind, field, v):
        if is_own(kind, field):
            return "OWN" if v else "NONE"
        if f"{kind}.{field}" == "StatusResponse.errors":
            return re.sub("memberID:[0-9]+", "memberID:OWN", v)
        return names.get(v, v) if isinstance(v, int) and not isinstance(v, bool) and field in ID_FIELDS else v

    def walk(m, path):
        kind = m.DESCRIPTOR.name
        for field, v in m.ListFields():
            full = f"{kind}.{field.name}"
            if full in LATER or full in PEERS:
                continue
            at = f"{path}.{field.name}"
            if field.label == field.LABEL_REPEATED:
                for i, item in enumerate(sorted(v) if full in UNORDERED else v):
                    if field.message_type:
                        lines.append(f"{at}[{i}]")
                        walk(item, f"{at}[{i}]")
                    else:
                        lines.append(f"{at}[{i}] = {value(kind, field.name, item)!r}")
            elif field.message_type:
                lines.append(at)
                walk(v, at)
            else:
                lines.append(f"{at} = {value(kind, field.name, v)!r}")

    walk(message, message.DESCRIPTOR.name)
    if has_unknown_fields(message):
        lines.append("and fields that storage/etcd.proto does not know")
    return lines


class Pair:
    """Both servers, new and empty."""

    def __init__(self, pb, work):
        self.pb, self.work, self.has_restarted = pb, work, False
        self.etcd = Etcd("etcd", work)
        try:
            self.ours = Ours("ours", work)
        except Exception:
            self.etcd.stop()
            raise
        self.names = {"etcd": {}, "ours": {}}  # ids that the server chose -> the name we give them
        self.settle()
        for server in self.servers():
            _, data = self.ask(server, "Cluster/MemberList", b"")
            self.names[server.name][pb.MemberListResponse.FromString(data).members[0].ID] = ME

    def settle(self):
        """etcd answers before it has chosen itself for a leader."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            status, _ = self.ask(self.etcd, "Lease/LeaseLeases", b"")
            if status == "OK":
                return
            time.sleep(0.05)
        raise RuntimeError("etcd does not start")

    def stop(self):
        self.etcd.stop()
        self.ours.stop()

    def restart(self):
        """Both die and come back with what they had."""
        for server in self.servers():
            server.restart()
        self.has_restarted = True
        self.settle()

    def servers(self):
        return self.etcd, self.ours

    # ---- names for the ids that servers choose ----

    def for_server(self, server, request):
        """The request with such names replaced by the ids that this server has given."""
        ids = {name: own for own, name in self.names[server.name].items()}
        copy = type(request)()
        copy.CopyFrom(request)

        def walk(m):
            for field, v in m.ListFields():
                if field.message_type:
                    for item in v if field.label == field.LABEL_REPEATED else [v]:
                        walk(item)
                elif field.name in ID_FIELDS and v in ids:
                    setattr(m, field.name, ids[v])
        walk(copy)
        return copy

    # ---- calls ----

    def ask(self, server, method, request, timeout=CALL_SECONDS, metadata=None):
        """(status, bytes or text)."""
        path = method if method.startswith("/") else f"/etcdserverpb.{method}"
        data = request if isinstance(request, bytes) else self.for_server(server, request).SerializeToString()
        call = server.channel.unary_unary(path)
        try:
            return "OK", call(data, timeout=timeout, metadata=metadata)
        except grpc.RpcError as e:
            return e.code().name, e.details()

    def response_type(self, method):
        service, _, name = method.partition("/")
        return getattr(self.pb, SERVICES[service][name][1])

    def call(self, method, request, **how):
        """What each of the two says: a list of lines, and the message or None."""
        answers = []
        for server in self.servers():
            status, data = self.ask(server, method, request, **how)
            message = self.response_type(method).FromString(data) if status == "OK" else None
            answers.append((status, data, message))
        self.learn_name(method, request, answers)
        lines = []
        for server, (status, data, message) in zip(self.servers(), answers):
            if message and method == "Lease/LeaseLeases" and self.has_restarted:
                # etcd's leases from before live an election's time longer, which changes their order.
                message.leases.sort(key=lambda lease, names=self.names[server.name]: names.get(lease.ID, lease.ID))
            told = [f"{status} {'' if message else data}".strip()]
            lines.append(told + (tell(message, self.names[server.name]) if message else []))
        messages = [a[2] for a in answers]
        if method == "Lease/LeaseTimeToLive" and all(messages):
            lines = self.nearly_same_time(lines)
        return lines, messages

    def learn_name(self, method, request, answers):
        if method != "Lease/LeaseGrant" or isinstance(request, bytes) or request.ID:
            return
        name = -(1000 + len(self.names["ours"]))
        for server, (_, _, message) in zip(self.servers(), answers):
            if message:
                self.names[server.name][message.ID] = name

    @staticmethod
    def nearly_same_time(lines):
        left = [[int(line.split()[-1]) for line in told if ".TTL = " in line] for told in lines]
        if left[0] and left[1] and abs(left[0][0] - left[1][0]) <= TTL_SECONDS_OFF and min(left[0][0], left[1][0]) > 0:
            return [[line.split("=")[0] if ".TTL = " in line else line for line in told] for told in lines]
        return lines


def prepare():
    """(the folder to work in, the module of messages)."""
    for program in ("etcd", "protoc"):
        if not shutil.which(program):
            raise Missing(f"{program} is missing")
    Ours.binary = os.environ.get("ETCD_STORE", os.path.join(TOP, "build/test/etcd/etcd_store"))
    if "ETCD_STORE" not in os.environ:
        subprocess.run(["ninja", "-C", os.path.join(TOP, "build"), "--quiet", "etcd_store"], check=True)
    work = tempfile.mkdtemp(prefix="etcd_diff.")
    return work, generate(work)
