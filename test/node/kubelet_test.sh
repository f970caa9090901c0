#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kubelet_test.sh - the node's agent under pressure: many readers, a runtime that refuses, kills at a bad moment,
# and what it tells of all that.
. "$(dirname "$0")/lib.sh"

pod() { k apply -f - > /dev/null; }
ready() { k wait --for=condition=Ready "pod/$1" --timeout=90s > /dev/null; }
phase_is() { [ "$(k get pod "$1" -o 'jsonpath={.status.phase}')" = "$2" ]; }
messages() { k get events -A --field-selector "involvedObject.name=$1,reason=$2" -o 'jsonpath={range .items[*]}{.message}{"\n"}{end}'; }
told() { messages "$1" "$2" | grep -q -- "$3"; }
times_told() { k get events -A --field-selector "involvedObject.name=$1,reason=$2" -o 'jsonpath={.items[*].count}' | tr ' ' '\n' | awk '{ n += $1 } END { print n + 0 }'; }

# A runc that waits or refuses when told to, found before the real one.
runtime_to_hold() {
    mkdir -p "$data/bin"
    cat > "$data/bin/runc" << SCRIPT
#!/bin/bash
bundle=\$(grep -o -- '--bundle [^ ]*' <<< "\$*" | cut -d' ' -f2)
if [ -e "$data/hold" ] && grep -q '"io.kubernetes.cri.container-type":"container"' "\$bundle/config.json" 2> /dev/null; then
    echo \$\$ > "$data/held"
    exec sleep 3600
fi
if [ -e "$data/refuse" ] && grep -q ' kill ' <<< " \$* "; then
    echo "this one is not to be killed" >&2
    exit 1
fi
exec $(command -v runc) "\$@"
SCRIPT
    chmod +x "$data/bin/runc"
    PATH=$data/bin:$PATH
}

followers() {
    local kubelet
    k run talker --image=busybox --image-pull-policy=IfNotPresent -- sh -c 'echo hello; sleep 3600' > /dev/null
    ready talker
    for part in certificate key; do
        k config view --raw -o "jsonpath={.users[0].user.client-$part-data}" | base64 -d
    done > "$data/client.pem"
    kubelet=$(k get node node1 -o 'jsonpath={.status.daemonEndpoints.kubeletEndpoint.Port}')
    cat > "$data/follow.py" << 'PY'
# follow.py PORT CERTIFICATE PATH N: connections that follow a log, until one is refused or there are N.
import socket, ssl, sys, time
port, certificate, path, n = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.load_cert_chain(certificate)
held, status = [], "200"
while len(held) < n and status == "200":
    s = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
    s.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    answer = b""
    while b"hello" not in answer and b"readers of logs" not in answer:
        answer += s.recv(4096) or exit("closed after " + answer.decode())
    status = answer.split()[1].decode()
    held.append(s)
print(f"{len(held)} held, the last with {status}", flush=True)
time.sleep(3600)
PY
    nsenter --net="/run/netns/$node" python3 "$data/follow.py" "$kubelet" "$data/client.pem" \
        "/containerLogs/default/talker/talker?follow=true" 1000 > "$data/followers" 2>&1 &
    local follower=$!
    ok "followers of a log, until there are too many" eventually 120 grep -q held "$data/followers"
    like "which is told to the last one" '^513 held, the last with 429' cat "$data/followers"
    like "they keep nobody from a command" '^still here' timeout 30 nsenter --net="/run/netns/$node" "$KUBECTL" \
        --kubeconfig "$data/kubeconfig" exec talker -- echo still here
    kill "$follower"
    wait "$follower" 2> /dev/null
    ok "and make room when they leave" eventually 30 says talker hello
    k delete pod talker --grace-period=1 --wait=false > /dev/null
}
says() { k logs "$1" 2>&1 | grep -q -- "$2"; }

# What a node tells of itself: what has changed, no more.
node_events() {
    local ready starts
    ok "a node that becomes Ready says so" eventually 20 told node1 NodeReady 'Node node1 status is now: NodeReady'
    ready=$(times_told node1 NodeReady) starts=$(times_told node1 Starting)
    kill -9 "$server_pid"
    wait "$server_pid" 2> /dev/null
    server_start
    ok "a kubelet that starts says so" eventually 60 started_again "$starts"
    renewed=$(date -u +%FT%TZ)
    ok "and renews its lease" eventually 60 is_renewed
    like "but not that its node is Ready, as it was" "^$ready\$" times_told node1 NodeReady
    k cordon node1 > /dev/null
    ok "a node that is closed says so" eventually 20 told node1 NodeNotSchedulable 'Node node1 status is now: NodeNotSchedulable'
    k uncordon node1 > /dev/null
    ok "and one that is open again" eventually 20 told node1 NodeSchedulable 'Node node1 status is now: NodeSchedulable'
}
started_again() { [ "$(times_told node1 Starting)" -gt "$1" ]; }
is_renewed() { [ "$(k get lease node1 -n kube-node-lease -o 'jsonpath={.spec.renewTime}')" \> "$renewed" ]; }

static_readiness() {
    cat > "$data/agent/pod-manifests/fixed.yaml" << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: fixed }
spec:
  terminationGracePeriodSeconds: 1
  containers: [{ name: main, image: "coracle.test/multi:1", imagePullPolicy: IfNotPresent, readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 } }]
YAML
    ok "a static pod with a readiness probe" eventually 30 ready fixed-node1
    local before starts
    before=$(static_state) starts=$(times_told node1 Starting)
    kill -9 "$server_pid"
    wait "$server_pid" 2> /dev/null
    server_start
    ok "the kubelet starts again" eventually 60 started_again "$starts"
    ok "and probes again" eventually 30 has_probed
    like "the same container was Ready all the time" "^$before\$" static_state
    rm "$data/agent/pod-manifests/fixed.yaml"
}
static_state() {
    k get pod fixed-node1 -o 'jsonpath={.status.containerStatuses[0].containerID} {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastTransitionTime}'
}
# By then a verdict has reached the status: failing is told within a period, and so is healing.
has_probed() {
    local ip
    ip=$(k get pod fixed-node1 -o 'jsonpath={.status.podIP}')
    inside curl -s -o /dev/null "http://$ip:8080/"
}

# Killed between the making of a container and its start, server and runtime both.
half_done() {
    touch "$data/hold"
    k run half --image=busybox --image-pull-policy=IfNotPresent --restart=Never -- sh -c 'echo done' > /dev/null
    ok "a container that is made" eventually 30 [ -s "$data/held" ]
    kill -9 "$server_pid" "$(cat "$data/agent/containerd/containerd.pid")"
    wait "$server_pid" 2> /dev/null
    rm "$data/hold"
    kill -9 "$(cat "$data/held")" 2> /dev/null
    server_start
    ok "and not started before server and runtime are killed, is started, whatever the policy" eventually 90 phase_is half Succeeded
    k delete pod half --wait=false > /dev/null
}

refusal() {
    k run refused --image=busybox --image-pull-policy=IfNotPresent -- sleep 3600 > /dev/null
    ready refused
    touch "$data/refuse"
    k delete pod refused --grace-period=1 --wait=false > /dev/null
    ok "a runtime that does not stop a container is told of" eventually 60 \
        told refused FailedKillPod 'error killing pod: failed to "KillContainer" for "refused" with KillContainerError: "rpc error: code = Unknown desc = '
    rm "$data/refuse"
    ok "and asked again until it does" k wait --for=delete pod/refused --timeout=90s
}

# What upstream's messages keep of the runtime's errors, and what not.
words() {
    k create -f - > /dev/null << 'YAML'
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: { name: absent }
handler: absent
YAML
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: unsandboxed }
spec:
  runtimeClassName: absent
  containers: [{ name: main, image: busybox, imagePullPolicy: IfNotPresent }]
---
apiVersion: v1
kind: Pod
metadata: { name: wordless }
spec:
  restartPolicy: Never
  containers: [{ name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [/no/such/program] }]
---
apiVersion: v1
kind: Pod
metadata: { name: unprobed }
spec:
  terminationGracePeriodSeconds: 1
  containers: [{ name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, "3600"], readinessProbe: { exec: { command: [/no/such/program] }, periodSeconds: 1 } }]
YAML
    ok "a sandbox that fails: with the code" eventually 30 \
        told unsandboxed FailedCreatePodSandBox '^Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime'
    ok "a container that fails: without" eventually 30 told wordless Failed '^Error: failed to create containerd task'
    ok "a probe that cannot be made: with the code" eventually 30 \
        told unprobed Unhealthy '^Readiness probe errored and resulted in unknown state: rpc error: code = '
    k delete pod unsandboxed wordless unprobed --wait=false --grace-period=1 > /dev/null
}

# The log of what ended last, while its next start is waited for.
previous() {
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: counting }
spec:
  containers: [{ name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, "echo x >> /work/n; wc -l < /work/n"], volumeMounts: [{ name: work, mountPath: /work }] }]
  volumes: [{ name: work, emptyDir: {} }]
YAML
    ok "a container that ended twice" eventually 60 ended_twice
    like "its last log is the newest one that ended" '^2' k logs counting --previous
    k delete pod counting --wait=false --grace-period=1 > /dev/null
}
ended_twice() {
    [ "$(k get pod counting -o 'jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.waiting.reason}')" = '1 CrashLoopBackOff' ]
}

rules() {
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: ruled }
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "[ -e /work/n ] && exit 0; touch /work/n; exit 42"]
    restartPolicy: Never
    restartPolicyRules: [{ action: Restart, exitCodes: { operator: In, values: [42] } }]
    volumeMounts: [{ name: work, mountPath: /work }]
  volumes: [{ name: work, emptyDir: {} }]
YAML
    ok "a rule for an exit code wins over the policy" eventually 60 phase_is ruled Succeeded
    like "after one more start" '^1' k get pod ruled -o 'jsonpath={.status.containerStatuses[0].restartCount}'
    k delete pod ruled --wait=false > /dev/null
}

node_make kubelet
runtime_to_hold
server_start
ok "the node is Ready" eventually 60 node_is_ready
followers
node_events
static_readiness
half_done
refusal
words
previous
rules
