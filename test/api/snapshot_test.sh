#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# snapshot_test - snapshots and migration key by key: to and from Debian's etcd, with damaged files,
# a full disk, and kill -9 at every step.
#
#   test/api/snapshot_test.sh [BUILD_FOLDER]     $CORACLE picks the program
set -uo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build}
[ -x "$build/test/etcd/etcd_store" ] && [ -n "${1:-}" ] || ninja -C "$build" --quiet etcd_store || exit 1
command -v etcd etcdctl jq >/dev/null || { echo "1..0 # skip etcd, etcdctl or jq is missing"; exit 0; }
program=$(realpath "${CORACLE:-$build/coracle}")

export ETCDCTL_API=3
work=$(mktemp -d /tmp/snapshot_test.XXXXXX)
declare -A pid=() endpoint=()
cleanup() {
    local name
    for name in "${!pid[@]}"; do kill -9 "${pid[$name]}" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

free_port() { python3 test/api/ports.py; }
ctl() { timeout 120 etcdctl --dial-timeout 60s --command-timeout 60s --endpoints "${endpoint[$1]}" "${@:2}"; }
answers() { # NAME: it does, within two minutes
    for _ in $(seq 1200); do
        ctl "$1" get x >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "$1 does not answer"
    return 1
}
start_etcd() { # NAME DATA_FOLDER
    local client peer
    client=$(free_port) peer=$(free_port)
    etcd --data-dir "$2" --listen-client-urls "http://127.0.0.1:$client" \
        --advertise-client-urls "http://127.0.0.1:$client" --listen-peer-urls "http://127.0.0.1:$peer" \
        --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
        --initial-cluster "default=http://127.0.0.1:$peer" >"$work/$1.log" 2>&1 &
    pid[$1]=$!
    endpoint[$1]=http://127.0.0.1:$client
    answers "$1"
}
start_ours() { # NAME DATA_FOLDER: a bare store on a data folder's
    mkdir -p "$2/server/db"
    endpoint[$1]=unix://$work/$1.sock
    "$build/test/etcd/etcd_store" "$2/server/db" "unix:$work/$1.sock" >"$work/$1.log" 2>&1 &
    pid[$1]=$!
    answers "$1"
}
stop() {
    kill "${pid[$1]}" && wait "${pid[$1]}" 2>/dev/null
    unset "pid[$1]"
    return 0
}
coracle() { timeout 300 "$program" "$@" --config /dev/null; }
status_of() { coracle snapshot status "$1" -w json; }

# All keys with all that belongs to them; or without revisions, which a cluster that runs gives anew.
dump() { ctl "$1" get "" --prefix "${@:2}" -w json | jq -S '.kvs'; }
dump_values() { ctl "$1" get "" --prefix -w json | jq -S '[.kvs[] | {key, value, lease}]'; }
revision() { ctl "$1" get x -w json | jq .header.revision; }
same() { cmp "$1" "$2" && [ -s "$1" ] && [ "$(cat "$1")" != null ]; }

# A history: changed, deleted and made again; transactions; leases; any bytes; compacted in between.
fill() {
    local i lease
    { echo; for i in $(seq 120); do echo "put many-$i \"value $i\""; done; echo; echo; } > "$work/txn"
    for i in 1 2 3; do ctl "$1" txn < "$work/txn"; done
    ctl "$1" del many-7
    ctl "$1" del many-8; ctl "$1" put many-8 again
    printf 'x\0y\377z' | ctl "$1" put binary
    head -c 300000 /dev/urandom | base64 -w0 | ctl "$1" put large
    ctl "$1" put empty ""
    lease=$(ctl "$1" lease grant 600 | cut -d' ' -f2)
    ctl "$1" put leased-1 a --lease "$lease"; ctl "$1" put leased-2 b --lease "$lease"
    ctl "$1" lease grant 3600
    ctl "$1" compact "$(($(revision "$1") - 5))"
    ctl "$1" put after-compaction x; ctl "$1" del many-9
} >/dev/null

tests=0 failures=0
holds() { # NAME: every command of the function NAME succeeds
    local status
    tests=$((tests + 1))
    (set -e; "$1") > "$work/out" 2>&1 # not in a condition: there -e would not count
    status=$?
    if [ $status = 0 ]; then
        echo "ok $tests - ${1//_/ }"
    else
        failures=$((failures + 1))
        echo "not ok $tests - ${1//_/ }"
        tail -n 30 "$work/out" | sed 's/^/# /'
    fi
}
says() { # PATTERN COMMAND...: which may fail
    local text
    text=$("${@:2}" 2>&1) || true
    grep -- "$1" <<< "$text" || { echo "$text"; return 1; }
}
exits() { # STATUS COMMAND...
    local status=0
    "${@:2}" || status=$?
    [ $status = "$1" ]
}
# What starts or stops servers must do so in this shell: `prepare X` is `holds X` without a subshell.
prepare() {
    "$@" > "$work/out" 2>&1 && return
    echo "Bail out! $*"
    cat "$work/out" "$work"/*.log
    exit 1
}

# ---- ours to ours and to etcd ----

prepare start_ours ours "$work/ours"
prepare fill ours
dump ours > "$work/ours.dump"
ours_revision=$(revision ours)
file=$work/saves/of-ours
save_ours() { ctl ours snapshot save "$work/by-etcdctl" && mkdir -p "$work/saves" && mv "$work/by-etcdctl" "$file"; }
prepare save_ours
prepare stop ours

a_stopped_store_is_saved() {
    coracle snapshot save --data-dir "$work/ours" --dir "$work/offline" --name off
    [ "$(status_of "$work/offline"/off-*)" = "$(status_of "$file")" ]
    [ "$(stat -c %a "$work/offline"/off-*)" = 600 ]
}
holds a_stopped_store_is_saved

status_is_what_etcdctl_says() {
    local form
    for form in simple json table; do
        coracle snapshot status "$file" -w $form > "$work/a"
        etcdctl snapshot status "$file" -w $form > "$work/b"
        diff "$work/a" "$work/b"
    done
    [ "$(status_of "$file" | jq .revision)" = "$ours_revision" ]
}
holds status_is_what_etcdctl_says

prepare coracle snapshot restore "$file" --data-dir "$work/restored"
prepare start_ours restored "$work/restored"
every_key_is_there_after_a_restore() { dump restored > "$work/a"; same "$work/a" "$work/ours.dump"; }
holds every_key_is_there_after_a_restore

revisions_go_on_above_all_that_were_given() {
    [ "$(revision restored)" = $((ours_revision + 1000000000)) ]
    says "has been compacted" ctl restored get x --rev "$ours_revision"
    ctl restored put new x -w json | jq -e ".header.revision == $ours_revision + 1000000001"
    says "has been compacted" timeout 60 etcdctl --endpoints "${endpoint[restored]}" watch new --rev "$ours_revision"
}
holds revisions_go_on_above_all_that_were_given

leases_and_their_keys_are_there() {
    [ "$(ctl restored lease list | wc -l)" = 3 ]
    local lease
    lease=$(ctl restored lease list | sed -n 2p)
    ctl restored lease timetolive "$lease" --keys -w json | grep -q '"keys":\["' ||
        lease=$(ctl restored lease list | sed -n 3p)
    ctl restored lease revoke "$lease"
    [ -z "$(ctl restored get leased --prefix)" ]
}
holds leases_and_their_keys_are_there
dump restored > "$work/restored.dump"
restored_revision=$(revision restored)
prepare ctl restored snapshot save "$work/of-restored"
prepare stop restored

# A store that is too far ahead to be followed by writes goes to etcd as a snapshot.
start_etcd_of() { # NAME SNAPSHOT
    local client peer url
    client=$(free_port) peer=$(free_port)
    url=http://127.0.0.1:$peer
    etcdctl snapshot restore "$2" --data-dir "$work/$1" --initial-cluster "default=$url" \
        --initial-advertise-peer-urls "$url"
    etcd --data-dir "$work/$1" --listen-client-urls "http://127.0.0.1:$client" \
        --advertise-client-urls "http://127.0.0.1:$client" --listen-peer-urls "$url" \
        --initial-advertise-peer-urls "$url" --initial-cluster "default=$url" >"$work/$1.log" 2>&1 &
    pid[$1]=$!
    endpoint[$1]=http://127.0.0.1:$client
    answers "$1"
}
prepare start_etcd_of ahead "$work/of-restored"
etcd_goes_on_from_our_revision() {
    dump ahead > "$work/a"
    same "$work/a" "$work/restored.dump"
    [ "$(revision ahead)" = "$restored_revision" ]
}
holds etcd_goes_on_from_our_revision
prepare stop ahead

prepare start_etcd_of eo "$file"
every_key_is_there_in_etcd() { dump eo > "$work/a"; same "$work/a" "$work/ours.dump"; }
holds every_key_is_there_in_etcd
prepare stop eo

# ---- etcd's to ours ----

prepare start_etcd etcd "$work/etcd"
prepare fill etcd
dump etcd > "$work/etcd.dump"
prepare ctl etcd snapshot save "$work/of-etcd"
etcd_status_is_what_etcdctl_says() {
    coracle snapshot status "$work/of-etcd" -w json > "$work/a"
    etcdctl snapshot status "$work/of-etcd" -w json > "$work/b"
    diff "$work/a" "$work/b"
}
holds etcd_status_is_what_etcdctl_says

prepare coracle snapshot save --datastore-endpoint "${endpoint[etcd]}" --dir "$work/wire" --data-dir "$work/none"
prepare coracle snapshot restore "$work"/wire/* --data-dir "$work/of-wire" --bump-revision 0
prepare start_ours of_wire "$work/of-wire"
a_cluster_is_saved_over_the_wire() {
    dump of_wire > "$work/a"
    same "$work/a" "$work/etcd.dump"
    [ "$(revision of_wire)" = "$(revision etcd)" ]
}
holds a_cluster_is_saved_over_the_wire
prepare stop of_wire

prepare coracle snapshot restore "$work/of-etcd" --data-dir "$work/from-etcd" --bump-revision 0
prepare start_ours from_etcd "$work/from-etcd"
every_key_of_etcd_is_there() {
    dump from_etcd > "$work/a"
    same "$work/a" "$work/etcd.dump"
    [ "$(revision from_etcd)" = "$(revision etcd)" ]
    [ "$(ctl from_etcd lease list | wc -l)" = 3 ]
}
holds every_key_of_etcd_is_there
prepare stop from_etcd

# ---- damage ----

damaged_files_are_refused() {
    local size at what
    size=$(stat -c %s "$work/of-etcd")
    for at in 100 5000 $((size / 2)) $((size - 40)) $((size - 1)); do
        cp "$work/of-etcd" "$work/damaged"
        what=$(dd if="$work/damaged" bs=1 skip="$at" count=1 status=none | od -An -tu1)
        printf "\\x$(printf %x $((what ^ 255)))" | dd of="$work/damaged" bs=1 seek="$at" conv=notrunc status=none
        exits 1 coracle snapshot status "$work/damaged"
        exits 1 coracle snapshot restore "$work/damaged" --data-dir "$work/of-damaged"
        [ ! -e "$work/of-damaged/server/db" ]
        [ ! -e "$work/of-damaged/server/db.partial" ]
    done
    for at in 0 1 511 4096 $((size / 2)) $((size - 32)) $((size - 1)); do
        head -c "$at" "$work/of-etcd" > "$work/damaged"
        exits 1 coracle snapshot status "$work/damaged"
        exits 1 coracle snapshot restore "$work/damaged" --data-dir "$work/of-damaged"
    done
    [ ! -e "$work/of-damaged/server/db" ]
}
holds damaged_files_are_refused

a_copied_database_needs_a_word() {
    head -c -32 "$work/of-etcd" > "$work/copied"
    exits 1 coracle snapshot restore "$work/copied" --data-dir "$work/of-copied"
    coracle snapshot restore "$work/copied" --data-dir "$work/of-copied" --skip-hash-check
}
holds a_copied_database_needs_a_word

a_store_is_replaced_only_by_force() {
    exits 1 coracle snapshot restore "$file" --data-dir "$work/of-copied"
    coracle snapshot restore "$file" --data-dir "$work/of-copied" --force
    ls "$work/of-copied/server" | grep '^db-old-'
}
holds a_store_is_replaced_only_by_force

# On a disk of its own, where that may be mounted.
save_on_small_disk() {
    mkdir -p "$work/small"
    unshare -mr bash -c "mount -t tmpfs -o size=200k none $work/small || exit 77
        $program snapshot save --data-dir $work/ours --dir $work/small --config /dev/null
        echo left: \$(ls -A $work/small)"
}
a_full_disk_leaves_no_file() {
    local text
    text=$(save_on_small_disk 2>&1) || return 0
    grep -i "no space left" <<< "$text"
    grep "^left:$" <<< "$text"
    coracle snapshot save --data-dir "$work/ours" --dir "$work/roomy"
}
holds a_full_disk_leaves_no_file

# ---- kill -9 ----

dies_at() { # FAILPOINT COMMAND...
    local status=0
    CORACLE_FAILPOINTS="$1=crash" coracle "${@:2}" || status=$?
    [ $status = 137 ]
}
a_killed_save_leaves_nothing() {
    local at
    for at in write front digest before_sync before_link; do
        dies_at storage.snapshot.$at snapshot save --data-dir "$work/ours" --dir "$work/killed"
        [ -z "$(ls -A "$work/killed")" ]
    done
    coracle snapshot save --data-dir "$work/ours" --dir "$work/killed"
    status_of "$work/killed"/*
}
holds a_killed_save_leaves_nothing

a_killed_restore_leaves_nothing_or_all() {
    local at to=$work/killed-restore
    for at in storage.flush.before_commit storage.flush.after_commit storage.import.before_rename; do
        dies_at $at snapshot restore "$file" --data-dir "$to"
        [ ! -e "$to/server/db" ]
        # A server there would begin with nothing, and stop all pods.
        says "db.partial is of a restore or a migration that did not end" \
            coracle server --disable-agent --data-dir "$to" --https-listen-port 0
        [ ! -e "$to/server/db" ]
    done
    coracle snapshot restore "$file" --data-dir "$to"
    [ ! -e "$to/server/db.partial" ]
    dies_at storage.import.before_rename snapshot restore "$work/of-etcd" --data-dir "$to" --force
    coracle snapshot save --data-dir "$to" --dir "$work/ks1"
    [ "$(status_of "$work"/ks1/* | jq .revision)" = $((ours_revision + 1000000000)) ]
    dies_at storage.import.after_rename snapshot restore "$work/of-etcd" --data-dir "$to" --force
    coracle snapshot save --data-dir "$to" --dir "$work/ks2"
    [ "$(status_of "$work"/ks2/* | jq .revision)" = $(($(revision etcd) + 1000000000)) ]
    # The one that was replaced is still there, and gets its name with the next restore.
    coracle snapshot restore "$file" --data-dir "$to" --force
    [ "$(ls -d "$to"/server/db-old-* | wc -l)" = 2 ]
    [ ! -e "$to/server/db.partial" ]
}
holds a_killed_restore_leaves_nothing_or_all

# ---- migration ----

prepare start_etcd target "$work/target"
migrate() { coracle datastore migrate --from "$1" --to "$2" "${@:3}"; }

a_store_moves_to_etcd_and_back() {
    migrate "$work/ours" "${endpoint[target]}"
    [ "$(revision target)" -gt "$ours_revision" ]
    says "has been compacted" ctl target get large --rev "$ours_revision"
    dump_values target > "$work/a"
    jq -S '[.[] | {key, value, lease}]' "$work/ours.dump" > "$work/b"
    same "$work/a" "$work/b"
    migrate "${endpoint[target]}" "$work/back"
    dump target > "$work/target.dump"
}
holds a_store_moves_to_etcd_and_back

prepare start_ours back "$work/back"
what_came_back_is_what_was_there() {
    dump back > "$work/a"
    same "$work/a" "$work/target.dump"
    [ "$(revision back)" = "$(revision target)" ]
    [ "$(ctl back lease list | wc -l)" = 3 ]
}
holds what_came_back_is_what_was_there
prepare stop back

a_target_that_is_not_empty_is_left_alone() {
    exits 3 migrate "$work/ours" "${endpoint[target]}"
    exits 3 migrate "${endpoint[target]}" "$work/back"
    exits 2 migrate "$work/ours" "$work/ours"
    exits 2 coracle datastore migrate --from "$work/ours"
    says "revisions behind" migrate "$work/restored" "${endpoint[target]}" --overwrite
    exits 1 migrate "$work/nowhere" "${endpoint[target]}"
    exits 1 migrate "${endpoint[target]}" "${endpoint[target]}/" --overwrite
    dump target > "$work/a"
    same "$work/a" "$work/target.dump"
}
holds a_target_that_is_not_empty_is_left_alone

a_killed_migration_starts_over() {
    local at
    for at in marked page before_unmark; do
        dies_at storage.migrate.$at datastore migrate --from "$work/ours" --to "${endpoint[target]}" --overwrite
        says "not finished" coracle apiserver --data-dir "$work/api" --https-listen-port 0 \
            --datastore-endpoint "${endpoint[target]}" --write-kubeconfig "$work/kc"
        exits 4 migrate "${endpoint[target]}" "$work/never"
    done
    migrate "$work/ours" "${endpoint[target]}" # the mark says that all there is are ours
    dump_values target > "$work/a"
    jq -S '[.[] | {key, value, lease}]' "$work/ours.dump" > "$work/b"
    same "$work/a" "$work/b"
    for at in storage.migrate.page storage.flush.before_commit storage.import.before_rename; do
        dies_at $at datastore migrate --from "${endpoint[target]}" --to "$work/never"
        [ ! -e "$work/never/server/db" ]
    done
    migrate "${endpoint[target]}" "$work/never"
}
holds a_killed_migration_starts_over

revisions_are_used_up_where_the_target_is_behind() {
    coracle snapshot restore "$file" --data-dir "$work/ahead" --bump-revision 30000
    migrate "$work/ahead" "${endpoint[target]}" --overwrite
    [ "$(revision target)" -gt $((ours_revision + 30000)) ]
    dump_values target > "$work/a"
    jq -S '[.[] | {key, value, lease}]' "$work/ours.dump" > "$work/b"
    same "$work/a" "$work/b"
}
holds revisions_are_used_up_where_the_target_is_behind

echo "1..$tests"
[ "$failures" = 0 ]
