#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# etcd_memory.sh - what a million keys of 1 KB cost in Debian's etcd and in our store: memory (the
# process's own, and pages of its database's file), disk, and the time of a restart.
#
#   test/bench/etcd_memory.sh [BUILD_FOLDER [KEYS [FOLDER_ON_THE_DISK]]]
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build} keys=${2:-1000000}
work=$(mktemp -d "${3:-/tmp}/etcd_memory.XXXXXX")
pid=
trap '[ -z "$pid" ] || kill "$pid"; wait; rm -rf "$work"' EXIT
ninja -C "$build" --quiet etcd_store etcd_fill

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
start_etcd() {
    etcd --data-dir "$work/etcd" --listen-client-urls "http://127.0.0.1:$port" --quota-backend-bytes 8589934592 \
        --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$peer" \
        --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" \
        > "$work/etcd.log" 2>&1 &
    pid=$!
}
start_ours() {
    "$build/test/etcd/etcd_store" "$work/ours" 127.0.0.1 "$port" > "$work/ours.log" 2>&1 &
    pid=$!
}
ctl() { ETCDCTL_API=3 etcdctl --endpoints "127.0.0.1:$port" --command-timeout 60s "$@"; }
# Until one key can be read.
wait_ready() {
    python3 - "$port" <<'END'
import socket, sys, time
end = time.time() + 60
while time.time() < end:
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
        break
    except OSError:
        time.sleep(0.002)
END
    until ctl get /registry/pods/namespace-00/ --prefix --limit 1 --keys-only > "$work/one" 2>&1 && [ -s "$work/one" ]; do :; done
}
memory() {
    awk -v what="$1" '/^Rss(Anon|File)|^VmHWM/ { sub(":", "", $1); v[$1] = $2 / 1024 }
        END { printf "%-26s own %5.0f MB   file pages %5.0f MB   most at once %5.0f MB\n", what, v["RssAnon"], v["RssFile"], v["VmHWM"] }' \
        "/proc/$pid/status"
}
measure() {
    local start
    port=$(free_port) peer=$(free_port)
    mkdir -p "$work/$1"
    "start_$1"
    until ctl endpoint health >/dev/null 2>&1; do sleep 0.1; done
    "$build/test/etcd/etcd_fill" "127.0.0.1:$port" "$keys"
    sleep 5
    memory "after the writes"
    ctl get "" --prefix --limit 1 --keys-only -w fields | grep -E "Revision|Count" | paste -s
    kill "$pid"
    wait "$pid" || true
    start=$(date +%s.%N)
    "start_$1"
    wait_ready
    awk -v s="$start" -v e="$(date +%s.%N)" 'BEGIN { printf "restart to the first read   %.2f s\n", e - s }'
    memory "after a restart"
    du -sh --apparent-size "$work/$1" | cut -f1
    kill "$pid"
    wait "$pid" || true
    pid=
    rm -rf "${work:?}/$1"
}

echo "== etcd $(etcd --version | head -n 1 | cut -d' ' -f3)"
measure etcd
echo "== ours"
measure ours
