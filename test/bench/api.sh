#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# api.sh - the API's figures: requests per second and 99th percentile, by h2load over TLS and HTTP/2.
#
#   test/bench/api.sh [OBJECTS]      default 3000; medians of ROUNDS (default 5) rounds
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
coracle=${CORACLE:-$top/build/coracle}
objects=${1:-3000}
rounds=${ROUNDS:-5}
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
k create namespace bench > /dev/null
until k -n bench get serviceaccount default > /dev/null 2>&1; do sleep 0.1; done
k create clusterrolebinding bench --clusterrole=cluster-admin --serviceaccount=bench:default > /dev/null
token=$(k -n bench create token default)
pods=$url/api/v1/namespaces/bench/pods

cat > "$data/pod.json" << 'E2'
{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"bench-","labels":{"app":"bench"}},"spec":{"schedulerName":"nobody","containers":[{"name":"web","image":"coracle.test/multi:1","env":[{"name":"A","value":"1"}],"ports":[{"containerPort":8080}],"resources":{"requests":{"cpu":"10m","memory":"16Mi"}}}]}}
E2
printf '{"status":{"message":"patched"}}' > "$data/patch.json"
maps=$url/api/v1/namespaces/bench/configmaps
printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"bench-"},"data":{"a":"0","b":"1"}}' > "$data/map.json"

# load CLIENTS REQUESTS ARGS...: "requests-per-second p99-ms failed"
load() {
    local clients=$1 requests=$2
    shift 2
    rm -f "$data/times"
    h2load -c "$clients" -m 1 -n "$requests" -t 1 --log-file="$data/times" -H "authorization: Bearer $token" "$@" \
        > "$data/load.out"
    local rate failed p99
    rate=$(sed -n 's/^finished in .*, \([0-9.]*\) req.*/\1/p' "$data/load.out")
    failed=$(sed -n 's/^status codes: .* \([0-9]*\) 4xx, \([0-9]*\) 5xx/\1 \2/p' "$data/load.out" | awk '{ print $1 + $2 }')
    p99=$(cut -f3 "$data/times" | sort -n | awk '{ a[NR] = $1 } END { printf "%.1f", a[int(NR * 0.99)] / 1000 }')
    echo "$rate $p99 $failed"
}
# The same with each of the URIs asked for once: h2load gives every client the whole list, so here each of 16
# clients is a process with a list of its own.
load_each() {
    local begin end part pids=()
    rm -f "$data"/part.* "$data"/times.*
    split -n l/16 "$data/uris" "$data/part."
    begin=$(date +%s%N)
    for part in "$data"/part.*; do
        h2load -c 1 -m 1 -n "$(wc -l < "$part")" --log-file="$data/times.${part##*.}" -i "$part" \
            -H "authorization: Bearer $token" "$@" > "$part.out" &
        pids+=($!)
    done
    wait "${pids[@]}"
    end=$(date +%s%N)
    cat "$data"/times.* | sort -n -k3 | awk -v ns=$((end - begin)) '{ t[NR] = $3; if ($2 >= 400) bad++ }
        END { printf "%.1f %.1f %d", NR / (ns / 1e9), t[int(NR * 0.99)] / 1000, bad }'
}
row() { printf '%-44s %10s req/s  p99 %7s ms  %s failed\n' "$1" $2; }
names() { k -n bench get pods --no-headers -o custom-columns=N:.metadata.name; }
uris() { names | sed "s|^|$pods/|; s|\$|$1|" > "$data/uris"; }
patch=(-H ':method: PATCH' -H 'content-type: application/merge-patch+json' -d "$data/patch.json")

load 16 "$objects" -H 'content-type: application/json' -d "$data/map.json" "$maps" > /dev/null
k -n bench get configmaps --no-headers -o custom-columns=N:.metadata.name | grep ^bench- > "$data/maps"
for round in $(seq "$rounds"); do
    echo "# round $round"
    row "create a pod, 16 clients" "$(load 16 "$objects" -H 'content-type: application/json' -d "$data/pod.json" "$pods")"
    uris ''
    row "get a pod, 16 clients" "$(load 16 $((objects * 5)) -i "$data/uris")"
    row "list all pods, 2 clients" "$(load 2 40 "$pods")"
    row "list limit=500, 16 clients" "$(load 16 400 "$pods?limit=500")"
    row "label selector, none match, 16 clients" "$(load 16 4000 "$pods?labelSelector=app%3Dnobody")"
    row "update (get+put) a pod, 16 clients" "$("$top/test/bench/update_load.py" "$pods" "$token" 200)"
    uris /status
    row "patch a pod's status, 16 clients" "$(load_each "${patch[@]}")"
    printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"app":"bench"}},"data":{"a":"%s"}}' "$round" > "$data/apply.json"
    sed "s|^|$maps/|; s|\$|?fieldManager=bench\&force=true|" "$data/maps" > "$data/uris"
    row "server-side apply of a ConfigMap, 16 clients" "$(load_each -H ':method: PATCH' \
        -H 'content-type: application/apply-patch+yaml' -d "$data/apply.json")"
    uris '?gracePeriodSeconds=0'
    row "delete a pod, 16 clients" "$(load_each -H ':method: DELETE')"
done | tee "$data/rows"
echo "# medians of $rounds"
grep -v '^#' "$data/rows" | awk '{
    i = index($0, "req/s"); name = substr($0, 1, 44); rate = substr($0, 45, i - 45) + 0
    split(substr($0, i), f, " "); n[name]++; r[name, n[name]] = rate; p[name, n[name]] = f[3] + 0
    if (!(name in seen)) { seen[name] = 1; order[++k] = name } }
    function median(v, name, c,   i, j, t, a) { for (i = 1; i <= c; i++) a[i] = v[name, i]
        for (i = 1; i <= c; i++) for (j = i + 1; j <= c; j++) if (a[j] < a[i]) { t = a[i]; a[i] = a[j]; a[j] = t }
        return a[int((c + 1) / 2)] }
    END { for (i = 1; i <= k; i++) printf "%s %10.0f req/s  p99 %7.1f ms\n", order[i],
        median(r, order[i], n[order[i]]), median(p, order[i], n[order[i]]) }'
if [ -x "$(dirname "$coracle")/test/bench/watch_bench" ]; then # ninja bench
    for load in "-w 100 -c 4 -e 5000" "-w 100 -c 16 -e 5000" "-w 1000 -c 16 -e 1000" "-w 5000 -c 16 -e 200"; do
        # shellcheck disable=SC2086
        "$(dirname "$coracle")/test/bench/watch_bench" $load -p "$server" "$url" "$token"
    done
fi
echo "resident memory after it: $(awk '/VmRSS/ { print $2 }' "/proc/$server/status") kB"
