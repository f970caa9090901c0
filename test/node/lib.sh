# SPDX-License-Identifier: Apache-2.0
# lib.sh - a node in a network namespace of its own, and TAP: sourced by the node tests.
#
#   node_make NAME         makes the namespaces NAME and NAME-out and the data folder, after those that a killed test left
#   node_up NAME [flags]   the same, starts the server with the test images, waits for Ready
#   node_down              stops it with its pods and removes everything
#   k ARGS                 kubectl inside the namespace ($KUBECTL picks the release)
#   ok DESCRIPTION CMD...  passes when CMD succeeds
#   like DESCRIPTION REGEX CMD...   passes when the output of CMD matches (^ and $ are those of a line)
#   eventually SECONDS CMD...       succeeds once CMD does
#   seen REGEX NUDGE ARGS           what `kubectl ARGS` prints until REGEX is in it; NUDGE is done every now and then

set -uo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
coracle=${CORACLE:-$top/build/coracle}
images=${IMAGES:-$top/build/images}
KUBECTL=${KUBECTL:-kubectl}
tests_n=0
exec 3>&1

say() { echo "$@" >&3; }

ok() {
    local what=$1 output
    shift
    tests_n=$((tests_n + 1))
    if output=$("$@" 2>&1); then
        say "ok $tests_n - $what"
    else
        say "not ok $tests_n - $what"
        say "# command: $*"
        echo "$output" | tail -n 30 | sed 's/^/# /' >&3
        return 1
    fi
}

like() {
    local what=$1 regex=$2 output status=0
    shift 2
    tests_n=$((tests_n + 1))
    output=$("$@" 2>&1) || status=$?
    if grep -qzP -- "(?m)$regex" <<< "$output"; then
        say "ok $tests_n - $what"
    else
        say "not ok $tests_n - $what"
        say "# command: $* (status $status)"
        say "# no match for: $regex"
        echo "$output" | tail -n 30 | sed 's/^/# /' >&3
        return 1
    fi
}

skip() { tests_n=$((tests_n + 1)); say "ok $tests_n - $1 # SKIP $2"; }

eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}

# For commands that follow something: nobody knows how soon they begin to.
seen() {
    local regex=$1 nudge=$2 output pid
    shift 2
    output=$(mktemp "$data/seen.XXXXXX")
    (exec nsenter --net="/run/netns/$node" "$KUBECTL" --kubeconfig "$data/kubeconfig" "$@") > "$output" 2>&1 < /dev/null &
    pid=$!
    eventually 60 nudged "$nudge" grep -qzP -- "$regex" "$output"
    kill "$pid"
    wait "$pid"
    cat "$output"
}
nudged() {
    "$1" > /dev/null 2>&1
    shift
    "$@"
}

# Not `ip netns exec`: that mounts another /sys, and the cgroups would be gone.
inside() { nsenter --net="/run/netns/$node" "$@"; }
outside() { nsenter --net="/run/netns/$node-out" "$@"; }
k() { inside "$KUBECTL" --kubeconfig "$data/kubeconfig" "$@"; }

node_net() {
    ip netns add "$node"
    ip netns add "$node-out"
    ip -n "$node" link add eth0 type veth peer name eth0 netns "$node-out"
    ip -n "$node" addr add 10.99.0.1/24 dev eth0
    ip -n "$node-out" addr add 10.99.0.2/24 dev eth0
    local ns
    for ns in "$node" "$node-out"; do
        ip -n "$ns" link set lo up
        ip -n "$ns" link set eth0 up
    done
    ip -n "$node" route add default via 10.99.0.2
}

server_start() {
    nsenter --net="/run/netns/$node" "$coracle" server --data-dir "$data" --write-kubeconfig "$data/kubeconfig" \
        --node-name node1 --config "$data/config.yaml" "$@" >> "$data/server.log" 2>&1 3>&- &
    server_pid=$!
}

# k3s' way to give a node its images: archives in agent/images.
node_make() { # NAME [ARCHIVE...]: all of the test images if none is named
    node=$1
    shift
    [ $# -gt 0 ] || set -- "$images"/*.tar
    node_sweep
    data=$(mktemp -d /tmp/coracle-test.XXXXXX)
    server_pid=
    trap node_down EXIT
    echo "$$ $node" > "$data/owner"
    mkdir -p "$data/agent/images"
    cp "$@" "$data/agent/images/"
    : > "$data/config.yaml"
    node_net
}

node_up() {
    node_make "$1"
    shift
    server_start "$@"
    eventually 60 node_is_ready || {
        say "Bail out! the node did not become Ready"
        tail -n 40 "$data/server.log" >&3
        exit 1
    }
}

node_is_ready() { k get node node1 2> /dev/null | grep -q ' Ready '; }

server_stop() {
    [ -n "$server_pid" ] || return
    kill "$server_pid" 2> /dev/null
    wait "$server_pid" 2> /dev/null
}

# Everything that a node started: what names its data folder, what is in its namespace, and what is in another
# mount namespace that has the folder mounted (the containers).
node_pids() { # DATA NAME
    local own pid
    own=$(readlink /proc/self/ns/mnt)
    {
        pgrep -f -- "$1/"
        ip netns pids "$2" 2> /dev/null
        for pid in /proc/[0-9]*; do
            [ "$(readlink "$pid/ns/mnt" 2> /dev/null)" = "$own" ] || ! grep -q -- "$1/" "$pid/mountinfo" 2> /dev/null ||
                echo "${pid#/proc/}"
        done
    } | sort -un | grep -vx "$$"
}

unmount_below() {
    local mount
    tac /proc/mounts | awk -v d="$1/" 'index($2 "/", d) == 1 { print $2 }' | while read -r mount; do
        umount -l "$mount" 2> /dev/null
    done
}

node_remove() { # DATA NAME
    local pid pass state
    for pass in TERM KILL; do
        for pid in $(node_pids "$1" "$2"); do
            kill -s "$pass" "$pid" 2> /dev/null
        done
        sleep 0.3
    done
    unmount_below "$1"
    state=$(sed -n 's/^state = "\(.*\)"$/\1/p' "$1/agent/etc/containerd/config.toml" 2> /dev/null)
    if [ -n "$state" ]; then # outside the data folder: mounts left there slow down every later runc
        unmount_below "$state"
        rm -rf --one-file-system "$(dirname "$state")"
    fi
    ip netns del "$2" 2> /dev/null
    ip netns del "$2-out" 2> /dev/null
    for pid in $(ip netns list 2> /dev/null | grep -o '^cni-[^ ]*'); do # of pods: those in which nothing runs any more
        [ -n "$(ip netns pids "$pid" 2> /dev/null)" ] || ip netns del "$pid" 2> /dev/null
    done
    rm -f "$1/owner"
    [ -n "${KEEP:-}" ] || rm -rf --one-file-system "$1"
}

# What tests left that were killed before they could clean up.
node_sweep() {
    local left owner name
    for left in /tmp/coracle-test.*; do
        read -r owner name 2> /dev/null < "$left/owner" || continue
        grep -qs bash "/proc/$owner/cmdline" || node_remove "$left" "$name" # that of a dead one is empty
    done
}

node_down() {
    trap - EXIT
    server_stop
    node_remove "$data" "$node"
    say "1..$tests_n"
}
