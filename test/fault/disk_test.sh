#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# disk_test.sh - the whole API server on a disk that refuses writes, stands still, is full, and turns read-only for good.
#
#     CORACLE=build/coracle test/fault/disk_test.sh
#
# Real file systems, on a loop device in a mount namespace of its own: ext4 that was told to take no writes to the store's
# files (chattr +i) and takes them again; that is frozen; that is full; and that has met an error of its own, after which
# Linux lets nobody write until it was unmounted and checked (a plain remount is refused while files are open).
if [ -z "${DISK_TEST_MOUNTS:-}" ]; then
    if [ "$(id -u)" != 0 ] || ! unshare -m true 2> /dev/null; then
        echo "ok 1 - the disk's bad days # SKIP needs root and mount namespaces"
        exit 0
    fi
    DISK_TEST_MOUNTS=1 exec unshare -m --propagation private "$0" "$@"
fi
. "$(dirname "$0")/../node/lib.sh"
# Other tests take whoever has their folders mounted for one of their containers.
awk '$2 ~ "^/(tmp|run)/" { print $2 }' /proc/self/mounts | sort -r | xargs -r -n 1 umount -l 2> /dev/null
node=cdisk$$
dir=$(mktemp -d /tmp/coracle-disk.XXXXXX)
data=$dir/disk/data

clean_up() {
    thaw 2> /dev/null
    {
        kill -9 $(jobs -p) $(ip netns pids "$node")
        wait
    } 2> /dev/null
    ip netns del "$node" 2> /dev/null
    ip netns del "$node-out" 2> /dev/null
    umount -l "$dir/disk" 2> /dev/null
    rm -rf "$dir"
}
freeze() { fsfreeze -f "$dir/disk"; }
thaw() { fsfreeze -u "$dir/disk"; }
trap clean_up EXIT
# No trap sees a SIGKILL, and a disk that stays frozen, or that a server holds, keeps its loop device for good.
setsid bash -c "$(declare -f clean_up thaw); node=$node dir=$dir; tail --pid=$$ -f /dev/null; clean_up" \
    < /dev/null > /dev/null 2>&1 3>&- &
disown
refuse_writes() { find "$data/server/db" -type f -exec chattr +i {} +; }
take_writes() { find "$data/server/db" -type f -exec chattr -i {} +; }

truncate -s 512M "$dir/image"
mkdir "$dir/disk"
if ! mkfs.ext4 -q -F "$dir/image" 2> /dev/null || ! mount -o loop "$dir/image" "$dir/disk" 2> /dev/null; then
    skip "the disk's bad days" "no ext4 on a loop device here"
    exit 0
fi
mkdir -p "$data"
: > "$data/config.yaml"

start() { server_start --disable-agent --token test-token --etcd-listen "unix:$dir/etcd"; }
is_up() { eventually 60 k get --raw /readyz > /dev/null 2>&1; }
create() { k create configmap "$1" --from-literal=a="$1" --request-timeout=20s 2>&1; }
exists() { k get configmap "$1" -o name --request-timeout=5s; }
lease() { ETCDCTL_API=3 etcdctl --endpoints "unix://$dir/etcd" "$@"; }

# Everything that was acknowledged is in a file: it is written in subshells.
made() { create "$1" > /dev/null && echo "$1" >> "$dir/acknowledged"; }
all_there() {
    k get configmaps -o name --request-timeout=5s | sed 's,.*/,,' | sort > "$dir/have" || return 1
    [ -z "$(sort "$dir/acknowledged" | comm -23 - "$dir/have")" ] || { echo "something is lost"; return 1; }
}
# At once: as many as the API server has threads for them, and more.
writers=300
write_many() {
    local i
    for part in certificate key; do
        k config view --raw -o jsonpath="{.users[0].user.client-$part-data}" | base64 -d > "$dir/client.$part"
    done
    for ((i = 1; i <= writers; i++)); do
        cat << END
url = "https://10.99.0.1:6443/api/v1/namespaces/default/configmaps"
cert = "$dir/client.certificate"
key = "$dir/client.key"
header = "Content-Type: application/json"
data = "{\"metadata\":{\"name\":\"slow-$i\"}}"
write-out = "slow-$i %{http_code}\n"
output = "/dev/null"
insecure
no-progress-meter
END
        [ "$i" = $writers ] || echo next
    done > "$dir/curl"
    inside curl -sZ --parallel-immediate --parallel-max $writers -K "$dir/curl" > "$dir/slow"
}
# What a watch has seen: WATCHED.
watch_start() {
    k get configmaps --watch-only -o name > "$dir/watched" 2>&1 3>&- &
}
watched() { grep -q "^configmap/$1\$" "$dir/watched"; }

node_net
start
ok "the server starts" is_up
ok "an object is made" made first
lease lease grant 8 > "$dir/lease"
lease put of/lease x --lease="$(awk '{ print $2 }' "$dir/lease")" > /dev/null
lease lease keep-alive "$(awk '{ print $2 }' "$dir/lease")" > "$dir/kept" 2>&1 3>&- &
watch_start

# ---- writes are refused ----
sync # so that nothing is left in memory which the disk's refusal would not meet
refuse_writes
like "a refused write is told" 'commit log: Operation not permitted' create refused
ok "reads go on" exists first
ok "lists go on" all_there
take_writes
ok "writes go on by themselves" eventually 30 made second
ok "a refused write was not made" bash -c "! grep -q refused <<< \"$(k get configmaps -o name)\""
ok "a watch goes on" eventually 10 watched second

# ---- the disk stands still ----
freeze
write_many 3>&- &
many_pid=$!
sleep 12
ok "reads go on while writes wait" exists first
ok "lists go on while writes wait" all_there
ok "tables go on while writes wait" k get clusterroles --request-timeout=5s
like "the server is alive" '^ok$' k get --raw /livez --request-timeout=5s
ok "no write is answered before it is on the disk" [ ! -s "$dir/slow" ]
thaw
wait $many_pid
ok "all writes are done once it moves again" [ "$(grep -c ' 201$' "$dir/slow")" = $writers ]
sed 's/ .*//' "$dir/slow" >> "$dir/acknowledged"
ok "and are there" all_there
ok "the watch has seen them" eventually 10 watched slow-$writers
like "a lease that was kept alive is there" 'of/lease' lease get of/lease

# ---- the disk is full ----
fill() {
    head -c $((1 << 20)) /dev/zero | tr '\0' x > "$dir/large"
    dd if=/dev/zero of="$dir/disk/ballast" bs=1M status=none 2> /dev/null
    for i in {1..80}; do
        k create configmap "large-$i" --from-file=a="$dir/large" --request-timeout=20s 2>&1 || return 0
    done
    return 1
}
like "a full disk is told" '(?i)no space left|space exceeded' fill
ok "reads go on" all_there
rm "$dir/disk/ballast"
ok "writes go on by themselves" eventually 30 made third
ok "the watch goes on" eventually 10 watched third

# ---- the file system has given up ----
sync
mount -o remount,abort "$dir/disk"
like "a read-only disk is told" 'commit log: Read-only file system' create after
ok "reads go on" all_there
like "the server is alive" '^ok$' k get --raw /livez --request-timeout=5s
server_stop
umount "$dir/disk"
fsck.ext4 -p "$dir/image" > "$dir/fsck" 2>&1
ok "it is mounted again" mount -o loop "$dir/image" "$dir/disk"
start
ok "the server starts again" is_up
ok "everything that was acknowledged is there" all_there
ok "writes go on" made fourth
server_stop
say "1..$tests_n"
