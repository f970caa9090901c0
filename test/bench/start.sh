#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# start.sh - start-up times, memory and CPU at rest, binary size, and a rollout beside the same CRI calls.
#
#   test/bench/start.sh      medians of ROUNDS (default 5); needs root and build/images
. "$(dirname "$0")/../node/lib.sh"
rounds=${ROUNDS:-5}
ninja -C "$(dirname "$coracle")" --quiet coracle pod_bench

now_ms() { echo $(($(date +%s%N) / 1000000)); }
median() { sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
ticks() { awk '{ print $14 + $15 }' "/proc/$server_pid/stat"; }

cp "$coracle" /tmp/coracle-stripped && strip /tmp/coracle-stripped
echo "stripped binary: $(stat -c %s /tmp/coracle-stripped) bytes"
rm -f /tmp/coracle-stripped

# The same without kubectl's own start-up, and the same CRI calls made directly, in turns.
rollouts_beside_cri() {
    local token
    k create clusterrolebinding bench --clusterrole=cluster-admin --serviceaccount=default:default > /dev/null
    token=$(k create token default)
    inside "$(dirname "$coracle")/test/bench/pod_bench" https://127.0.0.1:6443 "$token" \
        "unix:$data/agent/containerd/containerd.sock" coracle.test/multi:1 "$((4 * rounds))"
}

ready_url() { inside curl -sk -o /dev/null -f https://127.0.0.1:6443/readyz; }
for round in $(seq "$rounds"); do
    node_make bench "$images/multi-1.tar"
    begin=$(now_ms)
    server_start
    until ready_url; do sleep 0.01; done
    echo $(($(now_ms) - begin)) >> /tmp/bench-readyz.$$
    until node_is_ready; do sleep 0.02; done
    echo $(($(now_ms) - begin)) >> /tmp/bench-node.$$
    if [ "$round" = "$rounds" ]; then
        sleep 5
        before=$(ticks)
        sleep 60
        echo "idle CPU over a minute: $(($(ticks) - before)) ticks of 10 ms ($(awk -v t=$(($(ticks) - before)) 'BEGIN { print t / 60 }') % of a core)"
        echo "resident memory, node idle: $(awk '/VmRSS/ { print $2 }' "/proc/$server_pid/status") kB"
    fi
    eventually 10 k get serviceaccount default > /dev/null 2>&1
    cat > "$data/web.yaml" << 'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: web, image: "coracle.test/multi:1", imagePullPolicy: IfNotPresent }] }
YAML
    begin=$(now_ms)
    k apply -f "$data/web.yaml" > /dev/null
    k rollout status deployment/web --timeout=60s > /dev/null
    echo $(($(now_ms) - begin)) >> /tmp/bench-rollout.$$
    k delete deployment web --cascade=foreground --timeout=60s > /dev/null
    [ "$round" != "$rounds" ] || rollouts_beside_cri
    node_down > /dev/null
done
echo "start to /readyz: $(median < /tmp/bench-readyz.$$) ms"
echo "start to node Ready: $(median < /tmp/bench-node.$$) ms"
echo "kubectl apply of a Deployment of 2 to kubectl rollout status: $(median < /tmp/bench-rollout.$$) ms"
rm -f /tmp/bench-*.$$
