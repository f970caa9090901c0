#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# etcd.sh - Debian's etcd and our store under the same load, both with fsync, on the same disk.
#
#   test/bench/etcd.sh [BUILD_FOLDER]
#
#   ROUNDS=5        rounds; the table has medians over them.  Each has two fresh stores
#   SECONDS_EACH=2  how long a row is measured on each server, in turn
#   ROWS=           only rows with this in their name, for instance "put 256 B"
#   DISK=/tmp       the disk to write to
#   OTHER=          another build folder: its store is measured as a third server, "other"
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build} rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-2} rows=${ROWS:-} other=${OTHER:-}
work=$(mktemp -d "${DISK:-/tmp}/etcd_bench.XXXXXX")
pids=()
stop_servers() {
    [ "${#pids[@]}" = 0 ] || kill "${pids[@]}"
    wait
    pids=()
}
trap 'stop_servers; rm -rf "$work"' EXIT
ninja -C "$build" --quiet etcd_store etcd_bench

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
start_etcd() { # PORT FOLDER
    local url="http://127.0.0.1:$1" peer
    peer="http://127.0.0.1:$(free_port)"
    etcd --data-dir "$2" --listen-client-urls "$url" --advertise-client-urls "$url" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" \
        --quota-backend-bytes 8589934592 > "$2.log" 2>&1 &
}
start_store() { # PORT FOLDER BUILD_FOLDER
    "$3/test/etcd/etcd_store" "$2" 127.0.0.1 "$1" > "$2.log" 2>&1 &
}
start() { # NAME START [BUILD_FOLDER]: adds to servers and pids
    local port folder="$work/$1"
    port=$(free_port)
    "$2" "$port" "$folder" "${3:-}"
    pids+=($!)
    servers+=("$1=127.0.0.1:$port,$!")
    for _ in $(seq 100); do
        ETCDCTL_API=3 etcdctl --endpoints "127.0.0.1:$port" endpoint health > /dev/null 2>&1 && return
        sleep 0.1
    done
    echo "$1 does not start:" && tail "$folder.log" && exit 1
}

# What the disk gives a client that waits for each of its writes.
measure_disk() {
    local start end
    dd if=/dev/zero of="$work/raw" bs=4k count=2000 conv=fsync status=none
    start=$(date +%s%N)
    dd if=/dev/zero of="$work/raw" bs=4k count=2000 conv=notrunc oflag=dsync status=none
    end=$(date +%s%N)
    printf 'synced writes of 4 KB\tdisk\t%d\t0\t0\t0\t0\n' "$((2000 * 1000000000 / (end - start)))" >> "$work/figures"
}

for round in $(seq "$rounds"); do
    measure_disk
    servers=()
    start etcd start_etcd
    start ours start_store "$build"
    [ -z "$other" ] || start other start_store "$other"
    # Who comes second finds warmer caches and a tired disk: take turns.
    [ $((round % 2)) = 1 ] || mapfile -t servers < <(printf '%s\n' "${servers[@]}" | tac)
    echo "round $round of $rounds" >&2
    "$build/test/etcd/etcd_bench" "$seconds" "$rows" "${servers[@]}" >> "$work/figures"
    for server in "${servers[@]}"; do
        kib=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/${server##*,}/status")
        printf 'peak memory, MB\t%s\t%d\t0\t0\t0\t0\n' "${server%%=*}" "$((kib / 1024))" >> "$work/figures"
    done
    stop_servers
    find "$work" -mindepth 1 ! -name figures -delete
done
test/bench/etcd_table.py < "$work/figures"
