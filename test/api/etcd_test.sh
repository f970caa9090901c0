#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# etcd_test - the same etcdctl commands against Debian's etcd and against our store; the outputs,
# less what names a server or an instant, must be the same.
#
#   test/api/etcd_test.sh [BUILD_FOLDER]
set -uo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build}
[ -x "$build/test/etcd/etcd_store" ] && [ -n "${1:-}" ] || ninja -C "$build" --quiet etcd_store || exit 1
command -v etcd etcdctl jq >/dev/null || { echo "1..0 # skip etcd, etcdctl or jq is missing"; exit 0; }

export ETCDCTL_API=3
work=$(mktemp -d /tmp/etcd_test.XXXXXX)
pids=()
cleanup() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

free_port() { python3 test/api/ports.py; }

# start_etcd NAME: sets endpoint[NAME].
declare -A endpoint
start_etcd() {
    local name=$1 client peer
    client=$(free_port) peer=$(free_port)
    etcd --data-dir "$work/$name" --listen-client-urls "http://127.0.0.1:$client" \
        --advertise-client-urls "http://127.0.0.1:$client" --listen-peer-urls "http://127.0.0.1:$peer" \
        --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
        --initial-cluster "default=http://127.0.0.1:$peer" "${@:2}" >"$work/$name.log" 2>&1 &
    pids+=($!)
    endpoint[$name]=127.0.0.1:$client
}
start_ours() {
    local name=$1 line out
    mkdir -p "$work/$name"
    exec {out}< <(exec "$build/test/etcd/etcd_store" "$work/$name" 127.0.0.1 0 "${@:2}" 2>"$work/$name.log")
    pids+=($!)
    read -r -t 120 _ line <&"$out" || { cat "$work/$name.log" >&2; exit 1; }
    endpoint[$name]=127.0.0.1:$line
}

# Leases, members and hashes of ids differ by nature.
normalize() {
    sed -E 's/"(cluster_id|member_id|raft_term|ID|lease|Lease|leader)":-?[0-9]+/"\1":N/g
            s/"(remaining|remaining_ttl)":[0-9]+/"\1":N/g
            s/remaining\([0-9]+s\)/remaining(Ns)/
            s/"(ClusterID|MemberID|RaftTerm)" : [0-9]+/"\1" : N/
            s/\b[0-9a-f]{16}\b/ID/g
            s/memberID:[0-9]+/memberID:N/
            s/("ts":)("[^"]*"|[0-9.]+)/\1T/; s/endpoint:\/\/[^"]*"/endpoint"/
            s/127\.0\.0\.1:[0-9]+/ADDRESS/g' | grep -v '^{"level"' || true
}
# What waits for a server has minutes, and nothing is expected within a time: the machine may be slow.
ctl() { timeout 120 etcdctl --dial-timeout 60s --command-timeout 60s --endpoints "${endpoint[$target]}" "$@" 2>&1; }
# until_true COMMAND...: tries for two minutes.
until_true() {
    for _ in $(seq 1200); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "$target: never happened: $*" | tee /dev/stderr
    return 1
}
has_lines() { [ "$(wc -l < "$1")" -ge "$2" ]; }

tests=0 failures=0
# same NAME: runs the function NAME for both and compares.
same() {
    local name=$1
    tests=$((tests + 1))
    for target in etcd ours; do
        "$name" 2>&1 | normalize > "$work/$target.out"
    done
    if cmp -s "$work/etcd.out" "$work/ours.out" && [ -s "$work/ours.out" ]; then
        echo "ok $tests - ${name//_/ }"
    else
        failures=$((failures + 1))
        echo "not ok $tests - ${name//_/ }"
        diff "$work/etcd.out" "$work/ours.out" | sed 's/^/# /'
        [ -s "$work/ours.out" ] || echo "# no output"
    fi
}
# holds NAME: runs NAME, which is about us alone.
holds() {
    tests=$((tests + 1))
    target=ours
    if "$1" > "$work/out" 2>&1; then
        echo "ok $tests - ${1//_/ }"
    else
        failures=$((failures + 1))
        echo "not ok $tests - ${1//_/ }"
        sed 's/^/# /' "$work/out"
    fi
}

start_etcd etcd
start_ours ours
start_etcd etcd_small --quota-backend-bytes 16000000
start_ours ours_small 16000000
for target in etcd_small etcd; do
    until_true ctl endpoint health
done

# ---- KV ----

an_empty_store_has_revision_1() { ctl get nothing -w json; ctl get "" --prefix -w json; }
puts_and_gets() {
    ctl put a 1; ctl put a 2 -w json; ctl put a 3 --prev-kv; ctl put a 4 --prev-kv -w json
    ctl get a; ctl get a -w json; ctl get a --print-value-only; ctl get a --rev 3 -w json
    ctl get a --hex; ctl get a -w fields
}
values_of_any_bytes() {
    printf 'x\0y\377z' | ctl put binary; ctl get binary --hex
    ctl put empty ""; ctl get empty -w json
    head -c 500000 /dev/zero | tr '\0' v | ctl put large; ctl get large | md5sum
}
keys_of_any_length() {
    local begin n
    for n in 490 499 500 502 503 504 511 512 600 100000; do
        begin=$(head -c "$n" /dev/zero | tr '\0' k)
        ctl put "$begin" 1; ctl put "${begin}z" 2; ctl put "${begin}a" 3; ctl put "${begin}a" 4
        ctl get "${begin}a" -w json | normalize | md5sum; ctl get "$begin" --prefix | md5sum
    done
    ctl get kkk --prefix --keys-only | md5sum; ctl get "$begin" --from-key --limit 2 | md5sum
    ctl del "$begin" --prefix; ctl get kkk --prefix --count-only -w json
    ctl defrag >/dev/null; ctl get kkk --prefix | md5sum; ctl del kkk --prefix
}
ranges() {
    for key in k1 k2 k3 k3x k4 m1; do ctl put "$key" "v-$key"; done
    ctl put k2 again
    ctl get k1 k4; ctl get k --prefix --keys-only; ctl get k2 --from-key --limit 2 -w json
    ctl get "" --prefix --count-only -w json; ctl get k --prefix --limit 2 -w json
    ctl get k4 k1 -w json; ctl get "" --from-key --keys-only
}
sorted_ranges() {
    local order by
    for order in ASCEND DESCEND; do
        for by in CREATE KEY MODIFY VALUE VERSION; do
            ctl get k3 k9 --order "$order" --sort-by "$by" -w json
            ctl get k3 k9 --order "$order" --sort-by "$by" --limit 2 -w json
        done
    done
    ctl get k --prefix --sort-by MODIFY --keys-only
}
serializable_ranges() { ctl get k --prefix --consistency s; }
deletions() {
    ctl del nothing; ctl del m1 --prev-kv; ctl put d1 x; ctl put d2 y
    ctl del d --prefix --prev-kv -w json; ctl del d --prefix -w json; ctl get d --prefix -w json
    ctl put d1 again; ctl get d1 -w json; ctl del d1 dz; ctl del zz --from-key
}
old_revisions() {
    ctl put o 1; ctl put o 2; ctl del o; ctl put o 3
    local now
    now=$(ctl get o -w json | jq .header.revision)
    for back in 0 1 2 3; do ctl get o --rev $((now - back)) -w json; done
    ctl get o --rev $((now + 1))
}
put_errors() {
    ctl put "" x; ctl put absent --ignore-value; ctl put absent x --ignore-lease
    ctl put a x --ignore-value; ctl put a x --lease 1234; ctl get ""
    head -c 1600000 /dev/zero | tr '\0' v | ctl put large | sed 's/([0-9]* vs/(N vs/'
}
ignored_values_and_leases() {
    ctl put keep value; ctl put keep --ignore-value; ctl get keep -w json
    ctl put keep other --ignore-lease; ctl get keep -w json
}

# ---- transactions ----

transactions() {
    ctl put t 1
    printf 'value("t") = "1"\n\nput t 2\nget t\nput t2 x\nget t2\n\nget t\n\n' | ctl txn -i
    printf 'value("t") = "1"\n\nput t 3\n\nget t\nget k --prefix\n\n' | ctl txn
    printf 'version("t") > "1"\ncreate("t2") != "0"\nmod("t") < "99999"\n\ndel t2\nget t2\n\n\n' | ctl txn -w json
    printf 'create("never") = "0"\n\nput never 1\n\n\n' | ctl txn -w json
    printf 'value("none") = ""\n\n\nget t\n\n' | ctl txn -w json
    printf '\n\nget t\n\n' | ctl txn -w json
}
transaction_errors() {
    printf '\nput dup 1\nput dup 2\n\n\n' | ctl txn; printf '\nput dup 1\ndel dup\n\n\n' | ctl txn
    printf '\nput dup 1\ndel d e\n\n\n' | ctl txn; printf '\nput x 1\n\nput x 2\n\n' | ctl txn
    { echo; for i in $(seq 129); do echo "put many$i x"; done; printf '\n\n'; } | ctl txn
    { echo; for i in $(seq 128); do echo "put many$i x"; done; printf '\n\n'; } | ctl txn | tail -n 1
    printf '\nput "" x\n\n\n' | ctl txn; printf '\nput u 1\nput v x --lease=77\n\n\n' | ctl txn
    ctl get u -w json
}

# ---- watches ----

next_revision() { echo $(($(ctl get x -w json | jq .header.revision) + 1)); }
# watching OUT ARGUMENTS...: a watch in the background; ends with unwatch.  It begins with what is written next, however
# late it comes to it.
watching() {
    local out=$1
    shift
    [[ " $* " == *" --rev "* ]] || set -- "$@" --rev "$(next_revision)"
    etcdctl --endpoints "${endpoint[$target]}" watch "$@" > "$out" 2>&1 &
    watcher=$!
}
# unwatch OUT LINES: waits until the watch has printed that many.   unwatch OUT COMMAND...: until that is true.
unwatch() {
    if [ $# = 2 ]; then until_true has_lines "$1" "$2"; else until_true "${@:2}"; fi
    kill "$watcher" 2>/dev/null
    wait "$watcher" 2>/dev/null
    cat "$1"
}
a_watch_sees_what_comes() {
    watching "$work/w" w --prefix
    ctl put w1 1 >/dev/null; ctl put other 1 >/dev/null; ctl put w2 2 >/dev/null; ctl del w1 >/dev/null
    unwatch "$work/w" 8
}
a_watch_with_previous_values() {
    watching "$work/w" w --prefix --prev-kv
    ctl put w1 1 >/dev/null; ctl put w1 2 >/dev/null; ctl del w --prefix >/dev/null
    unwatch "$work/w" 18
}
has_events() { [ "$(jq -s '[.[].Events[]] | length' "$1")" -ge "$2" ]; }
a_watch_from_the_past() {
    local now
    now=$(ctl put h 0 -w json | jq .header.revision)
    for i in 1 2 3; do ctl put h "$i" >/dev/null; done
    ctl del h >/dev/null
    watching "$work/w" h --rev $((now + 1)) -w json
    ctl put h after >/dev/null
    unwatch "$work/w" has_events "$work/w" 5 | jq -cs '[.[].Events[]]'
}
a_transaction_is_one_message() {
    watching "$work/w" tx --prefix -w json
    printf '\nput tx1 1\nput tx2 2\nput ty 3\n\n\n' | ctl txn >/dev/null
    unwatch "$work/w" 1
}
interactive_watches() {
    local from
    from=$(next_revision)
    : > "$work/w"
    { echo "watch --rev $from i1"; echo "watch --rev $from i2 i5"; until_true has_lines "$work/w" 6; } |
        etcdctl --endpoints "${endpoint[$target]}" watch -i > "$work/w" 2>&1 &
    ctl put i1 1 >/dev/null; ctl put i3 1 >/dev/null; ctl put i5 1 >/dev/null
    wait $!
    sort "$work/w" # which of them comes first is not said
}

# ---- leases ----

leases() {
    local id
    ctl lease grant 60 | tee "$work/lease"
    id=$(cut -d' ' -f2 "$work/lease")
    ctl put l2 x --lease "$id"; ctl put l1 y --lease "$id"; ctl get l1 -w json
    ctl lease timetolive "$id"; ctl lease timetolive "$id" --keys | sed 's/\[l2 l1\]/[l1 l2]/'
    ctl lease list; ctl lease keep-alive --once "$id"
    ctl put l2 z; ctl lease timetolive "$id" --keys
    ctl lease revoke "$id"; ctl get l --prefix -w json
    ctl lease timetolive "$id"; ctl lease revoke "$id"; ctl lease keep-alive --once "$id"; ctl lease list
}
short_leases() { ctl lease grant 1; ctl lease grant 99999999999; }
a_lease_ends() {
    local id
    watching "$work/w" ending
    id=$(ctl lease grant 8 | cut -d' ' -f2) # long enough for the put
    ctl put ending x --lease "$id" >/dev/null
    unwatch "$work/w" 5
    ctl get ending -w json
}

# ---- maintenance ----

the_same_history_has_the_same_hash() {
    local now
    now=$(ctl get a -w json | jq .header.revision)
    ctl endpoint hashkv -w json; ctl endpoint hashkv --rev $((now - 3)) -w json; ctl endpoint hashkv --rev $((now + 3))
}
compaction() {
    local now
    now=$(ctl put c 1 -w json | jq .header.revision)
    ctl put c 2; ctl compaction $((now - 5)); ctl get c --rev $((now - 6)); ctl get c --rev $((now - 5)) -w json
    ctl compaction $((now - 5)); ctl compaction $((now + 500)); ctl compaction "$now" --physical
    ctl watch c --rev $((now - 3)) | sed -E 's/^watch was canceled.*$/canceled/'
    ctl get c --rev "$now" -w json; ctl endpoint hashkv -w json
}
alarms() {
    ctl alarm list; ctl alarm disarm; ctl endpoint health | sed 's/took = .*/took/'
}
has_alarm() { [ -n "$(ctl alarm list)" ]; }
# Until the quota is used up; how much that takes is each server's own.
a_quota() {
    target=${target}_small
    local i
    for i in $(seq 60); do
        head -c 1000000 /dev/zero | tr '\0' v | ctl put "large$i" >"$work/quota.out" || break
    done
    tail -n 1 "$work/quota.out" | sed 's/^{.*//; s/.*Error: //'
    until_true has_alarm
    ctl alarm list; ctl put small x | tail -n 1; ctl lease grant 100 | tail -n 1; ctl get small; ctl del large --prefix >/dev/null
    ctl compaction "$(ctl get x -w json | jq .header.revision)" | sed 's/[0-9]*$//'
    ctl defrag | sed 's/\[.*//'; ctl put small x | tail -n 1; ctl alarm list
    ctl alarm disarm; ctl alarm list; ctl put small x; ctl get small
    ctl endpoint status -w json | jq '.[0].Status.dbSize < 4000000'
}
defragmentation() { ctl defrag; ctl get k --prefix; }
members() {
    ctl member list -w json | jq -c '[.members[] | has("ID"), .name]'
    ctl move-leader 123 | tail -n 1
}
authentication_is_off() {
    ctl auth enable | tail -n 1; ctl user list; ctl role list; ctl user get nobody | tail -n 1; ctl role get none | tail -n 1
}
# Everything that etcdctl prints in more than one way, and every error that a user can make it tell.
in_every_format() {
    local w id
    for w in simple json fields table; do
        formatted "$w"
    done | sed -E 's/[0-9.]+[mµ]s/TIME/; s/[-+]{3,}/-/g; s/ +/ /g; s/"(cluster_id|member_id)":ID[0-9]*/"\1":N/g
        s/"(id|ttl)":[0-9]+/"\1":N/g; s/"(ID|TTL)" : [0-9]+/"\1" : N/; s/ttl\([0-9]+/ttl(N/'
}
formatted() {
    fctl() { ctl -w "$w" "$@"; echo "= $?"; }
    fctl put f 1; fctl put f 2 --prev-kv; fctl put f2 x; fctl get f --prefix; fctl get none
    fctl get f --prefix --keys-only; fctl get f --prefix --count-only; fctl get f --rev 99999
    fctl del f2 --prev-kv; fctl del none
    printf 'value("f") = "2"\n\nput f 3\nget f\ndel f2\n\nget f\n\n' | fctl txn -i
    printf 'value("f") = "2"\n\nput f 3\n\nget f\ndel none\nput g 1\n\n' | fctl txn
    id=$(ctl lease grant 200 | cut -d' ' -f2)
    fctl put leased x --lease "$id"
    fctl lease timetolive "$id" --keys; fctl lease keep-alive --once "$id"; fctl lease revoke "$id"
    fctl lease timetolive "$id"; fctl lease revoke "$id"; fctl lease keep-alive --once "$id"
    fctl endpoint health # no alarms: those of etcd 3.4 have no header, on which etcdctl dies in some formats
    fctl user list; fctl role list; fctl user get no; fctl role get no; fctl user delete no; fctl role delete no
    fctl user grant-role no no; fctl user revoke-role no no; echo secret | fctl user passwd no --interactive=false
    fctl role grant-permission no read a; fctl role revoke-permission no a; fctl auth enable; fctl auth disable
    fctl member remove 1234; fctl member update 1234 --peer-urls http://127.0.0.1:1; fctl member promote 1234
    fctl member add x --peer-urls nonsense; fctl move-leader 1234
    fctl compaction 99999; fctl compaction 3; fctl version
    ctl -w "$w" watch f --rev 2
}
status() { ctl endpoint status -w json | jq -c '.[0].Status | has("version"), has("leader"), .dbSize > 0, .header.revision'; }

plain_http_on_the_same_port() {
    curl -s --max-time 60 "http://${endpoint[$target]}/health"
    curl -s --max-time 60 "http://${endpoint[$target]}/version" | jq -c keys
    curl -s --max-time 60 "http://${endpoint[$target]}/metrics" | grep -c '^process_resident_memory_bytes [0-9]'
    curl -s --max-time 60 -o /dev/null -w '%{http_code}\n' "http://${endpoint[$target]}/nothing"
}

# ---- programs on top ----

locks() {
    ctl lock mutex echo held | tail -n 1
    etcdctl --endpoints "${endpoint[$target]}" lock mutex > "$work/lock" 2>&1 &
    until_true has_lines "$work/lock" 1
    kill $!; wait $!
    ctl lock mutex echo again
}
elections() {
    etcdctl --endpoints "${endpoint[$target]}" elect leader first > "$work/elect" 2>&1 &
    local first=$! observer
    until_true has_lines "$work/elect" 2
    etcdctl --endpoints "${endpoint[$target]}" elect -l leader > "$work/observed" 2>&1 &
    observer=$!
    until_true has_lines "$work/observed" 2
    kill "$observer"; wait "$observer"
    tail -n 1 "$work/observed"
    timeout 1 etcdctl --endpoints "${endpoint[$target]}" elect leader second | tail -n 1 # waits, as long as it may
    kill -INT "$first"; wait "$first"
    tail -n 1 "$work/elect"
}
is_mirrored() {
    local keys
    keys=$(ctl get k --prefix)
    [ -n "$keys" ] && [ "$keys" = "$(target=mirror-$target ctl get k --prefix)" ]
}
mirrors() {
    start_ours "mirror-$target"
    etcdctl --endpoints "${endpoint[$target]}" make-mirror "${endpoint[mirror-$target]}" --prefix k >/dev/null 2>&1 &
    local mirror=$!
    until_true is_mirrored
    ctl put k-mirrored now
    until_true is_mirrored
    kill "$mirror"; wait "$mirror"
    target=mirror-$target ctl get k --prefix
    kill "${pids[-1]}" # it was started in a subshell, whose list goes with it
}

snapshots_are_what_etcdctl_reads() {
    ctl snapshot save "$work/snapshot" >/dev/null || return 1
    etcdctl snapshot status "$work/snapshot" -w json | tee "$work/status"
    [ "$(jq .revision "$work/status")" = "$(ctl get a -w json | jq .header.revision)" ]
}
etcd_restores_our_snapshot() {
    ctl get "" --prefix --sort-by KEY | md5sum > "$work/before"
    etcdctl snapshot restore "$work/snapshot" --data-dir "$work/restored" >/dev/null 2>&1 || return 1
    start_etcd restored || return 1
    target=restored
    until_true ctl endpoint health
    ctl get "" --prefix --sort-by KEY | md5sum | diff - "$work/before"
}
etcdctl_reaches_a_unix_socket() {
    mkdir -p "$work/unix"
    "$build/test/etcd/etcd_store" "$work/unix" "unix:$work/unix/socket" >"$work/unix.log" 2>&1 &
    pids+=($!)
    until_true test -S "$work/unix/socket"
    [ "$(stat -c %a "$work/unix/socket")" = 600 ] || return 1
    [ "$(timeout 60 etcdctl --endpoints "unix://$work/unix/socket" put a b)" = OK ]
}
it_passes_check_datascale() {
    timeout 300 etcdctl --endpoints "${endpoint[ours]}" check datascale --load s 2>&1 | tee "$work/scale"
    grep -q ^PASS "$work/scale"
}
it_is_fast_enough_for_check_perf() {
    timeout 300 etcdctl --endpoints "${endpoint[ours]}" check perf --load s 2>&1 | tail -n 4 | tee "$work/perf"
    ! grep -q FAIL "$work/perf"
}

same an_empty_store_has_revision_1
for name in puts_and_gets values_of_any_bytes keys_of_any_length ranges sorted_ranges serializable_ranges deletions \
    old_revisions put_errors ignored_values_and_leases transactions transaction_errors \
    a_watch_sees_what_comes a_watch_with_previous_values a_watch_from_the_past \
    a_transaction_is_one_message interactive_watches the_same_history_has_the_same_hash \
    leases short_leases a_lease_ends compaction alarms a_quota defragmentation members status \
    authentication_is_off in_every_format plain_http_on_the_same_port locks elections mirrors; do
    same "$name"
done
holds snapshots_are_what_etcdctl_reads
holds etcd_restores_our_snapshot
holds etcdctl_reaches_a_unix_socket
holds it_passes_check_datascale
[ -z "${CHECK_PERF:-}" ] || holds it_is_fast_enough_for_check_perf
echo "1..$tests"
[ "$failures" = 0 ]
