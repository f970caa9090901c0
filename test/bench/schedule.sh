#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# schedule.sh [PODS] [NODES] - pods per second from creation to a node, creation included; no kubelets.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
coracle=${CORACLE:-$top/build/coracle}
pods=${1:-2000} nodes=${2:-100}
port=${PORT:-$((20000 + RANDOM % 10000))}
data=$(mktemp -d /tmp/coracle-bench.XXXXXX)
touch "$data/config.yaml"
"$coracle" server --disable-agent --data-dir "$data" --write-kubeconfig "$data/kubeconfig" --bind-address 127.0.0.1 \
    --https-listen-port "$port" --config "$data/config.yaml" 2> "$data/server.log" &
server=$!
trap 'kill $server; wait $server 2>/dev/null; rm -rf "$data"' EXIT
url=https://127.0.0.1:$port
until curl -sk -o /dev/null "$url/readyz"; do sleep 0.05; done
k() { kubectl --kubeconfig "$data/kubeconfig" "$@"; }
until k get serviceaccount default > /dev/null 2>&1; do sleep 0.1; done
k create clusterrolebinding bench --clusterrole=cluster-admin --serviceaccount=default:default > /dev/null
token=$(k create token default)
for i in $(seq "$nodes"); do
    echo "---
apiVersion: v1
kind: Node
metadata: { name: node-$i, labels: { kubernetes.io/hostname: node-$i } }
status:
  capacity: { cpu: '32', memory: 64Gi, pods: '110' }
  allocatable: { cpu: '32', memory: 64Gi, pods: '110' }
  conditions: [{ type: Ready, status: 'True', reason: KubeletReady }]"
done | k create -f - > /dev/null
for i in $(seq "$nodes"); do # status does not come with a create, and the node lifecycle wants leases
    echo "{\"status\":{\"capacity\":{\"cpu\":\"32\",\"memory\":\"64Gi\",\"pods\":\"110\"},\"allocatable\":{\"cpu\":\"32\",\"memory\":\"64Gi\",\"pods\":\"110\"},\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"reason\":\"KubeletReady\",\"lastHeartbeatTime\":\"$(date -u +%FT%TZ)\",\"lastTransitionTime\":\"$(date -u +%FT%TZ)\"}]}}" > "$data/status.json"
    curl -sk -o /dev/null -X PATCH -H "authorization: Bearer $token" -H 'content-type: application/merge-patch+json' \
        -d @"$data/status.json" "$url/api/v1/nodes/node-$i/status"
done
k wait --for=condition=Ready nodes --all > /dev/null
sleep 1
printf '{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"bench-"},"spec":{"containers":[{"name":"web","image":"coracle.test/multi:1","resources":{"requests":{"cpu":"10m","memory":"16Mi"}}}]}}' > "$data/pod.json"
pending() { curl -sk -H "authorization: Bearer $token" "$url/api/v1/pods?fieldSelector=spec.nodeName%3D&limit=1" | grep -c bench- || true; }
begin=$(date +%s%N)
h2load -c 16 -m 1 -n "$pods" -t 1 -H "authorization: Bearer $token" -H 'content-type: application/json' -d "$data/pod.json" \
    "$url/api/v1/namespaces/default/pods" > /dev/null
while [ "$(pending)" != 0 ]; do
    [ $(($(date +%s%N) - begin)) -lt 120000000000 ] || { echo "not all pods were scheduled"; exit 1; }
done
awk -v n="$pods" -v nodes="$nodes" -v ns=$(($(date +%s%N) - begin)) \
    'BEGIN { printf "%d pods on %d nodes: %.0f per second, creation included\n", n, nodes, n / (ns / 1e9) }'
