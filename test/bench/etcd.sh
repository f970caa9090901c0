#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# etcd.sh - Debian's etcd and our store under the same load, both with fsync, on the same disk.
#
#   test/bench/etcd.sh [BUILD_FOLDER [SECONDS [FOLDER_ON_THE_DISK]]]
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build} seconds=${2:-3}
work=$(mktemp -d "${3:-/tmp}/etcd_bench.XXXXXX")
pid=
trap '[ -z "$pid" ] || kill "$pid"; wait; rm -rf "$work"' EXIT
ninja -C "$build" --quiet etcd_store etcd_bench

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
measure() {
    local port=$1
    for _ in $(seq 100); do
        ETCDCTL_API=3 etcdctl --endpoints "127.0.0.1:$port" endpoint health >/dev/null 2>&1 && break
        sleep 0.1
    done
    "$build/test/etcd/etcd_bench" "127.0.0.1:$port" "$seconds"
    grep -E 'VmHWM|VmRSS' "/proc/$pid/status" | tr -s '\t ' ' '
    kill "$pid"
    wait "$pid" || true
    pid=
}

port=$(free_port) peer=$(free_port)
echo "== etcd $(etcd --version | head -n 1 | cut -d' ' -f3)"
etcd --data-dir "$work/etcd" --listen-client-urls "http://127.0.0.1:$port" \
    --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "http://127.0.0.1:$peer" \
    --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer" \
    > "$work/etcd.log" 2>&1 &
pid=$!
measure "$port"

port=$(free_port)
echo "== ours"
"$build/test/etcd/etcd_store" "$work/ours" 127.0.0.1 "$port" > "$work/ours.log" 2>&1 &
pid=$!
measure "$port"
