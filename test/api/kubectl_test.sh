#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kubectl_test.sh - the control plane as stock kubectl releases use it; no containers.
set -uo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
program=${CORACLE:-$top/build/coracle}
dir=$(mktemp -d /tmp/coracle-kubectl.XXXXXX)
server= count=0 failed=0

finish() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null
    rm -rf "$dir"
}
trap finish EXIT

ok() { count=$((count + 1)); echo "ok $count - $1"; }
not_ok() { count=$((count + 1)) failed=1; echo "not ok $count - $1"; sed 's/^/# /' "$dir/out"; }

# does WHAT PATTERN ARGS...: kubectl ARGS succeeds and prints PATTERN.   fails: it does not, and says PATTERN.
does() {
    local what=$1 pattern=$2
    shift 2
    if timeout 300 "$kubectl" "$@" > "$dir/out" 2>&1 && grep -qE -- "$pattern" "$dir/out"; then ok "$release: $what"; else not_ok "$release: $what"; fi
}
fails() {
    local what=$1 pattern=$2
    shift 2
    if ! timeout 300 "$kubectl" "$@" > "$dir/out" 2>&1 && grep -qE -- "$pattern" "$dir/out"; then ok "$release: $what"; else not_ok "$release: $what"; fi
}
# shows WHAT PATTERN ARGS...: kubectl ARGS, which does not end, prints PATTERN.
shows() {
    local what=$1 pattern=$2 watcher
    shift 2
    "$kubectl" "$@" > "$dir/out" 2>&1 < /dev/null &
    watcher=$!
    for _ in $(seq 2400); do
        ! grep -qE -- "$pattern" "$dir/out" || break
        sleep 0.05
    done
    kill "$watcher"
    wait "$watcher" 2>/dev/null
    if grep -qE -- "$pattern" "$dir/out"; then ok "$release: $what"; else not_ok "$release: $what"; fi
}

releases=()
if first=$(command -v kubectl); then
    for file in "$(dirname "$(readlink -f "$first")")"/kubectl.1.{27,30,32,33}; do
        [ ! -x "$file" ] || releases+=("$file")
    done
    [ ${#releases[@]} -gt 0 ] || releases=("$first")
fi
[ ${#releases[@]} -gt 0 ] || { echo "ok 1 - kubectl # SKIP there is none"; exit 0; }

port=$(python3 "$top/test/api/ports.py")
export KUBECONFIG=$dir/kubeconfig HOME=$dir
"$program" server --disable-agent --data-dir "$dir/data" --config /dev/null --bind-address 127.0.0.1 \
    --https-listen-port "$port" --write-kubeconfig "$KUBECONFIG" > "$dir/log" 2>&1 < /dev/null &
server=$!
for _ in $(seq 2400); do
    [ "$(curl -sk "https://127.0.0.1:$port/readyz")" != ok ] || break
    sleep 0.05
done
[ -f "$KUBECONFIG" ] || { echo "not ok 1 - the server starts"; sed 's/^/# /' "$dir/log"; exit 1; }

cat > "$dir/web.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: web, labels: {app: web}}
data: {greeting: hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "localhost/web:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
YAML
sed 's/replicas: 2/replicas: 3/' "$dir/web.yaml" > "$dir/web3.yaml"
for replicas in 1 2 3; do
    sed "1,/^---/d; s/name: web}\$/name: applied}/; s/replicas: 2/replicas: $replicas/" "$dir/web.yaml" > "$dir/applied$replicas.yaml"
done
sed 's/replicas: 1/replicas: 1\n  wheels: 4/' "$dir/applied1.yaml" > "$dir/applied-unknown.yaml"
sed 's/replicas: 2/replicas: 2\n  wheels: 4/' "$dir/web.yaml" > "$dir/unknown.yaml"
sed 's/replicas: 2/replicas: two/' "$dir/web.yaml" > "$dir/mistyped.yaml"

for kubectl in "${releases[@]}"; do
    release=$(basename "$kubectl")
    ns=${release//./-}
    n=(-n "$ns")
    does "create namespace" created create namespace "$ns"
    does "apply creates" 'deployment.apps/web created' apply "${n[@]}" -f "$dir/web.yaml"
    does "apply again changes nothing" 'deployment.apps/web unchanged' apply "${n[@]}" -f "$dir/web.yaml"
    does "apply of a change" 'deployment.apps/web configured' apply "${n[@]}" -f "$dir/web3.yaml"
    does "apply --dry-run=server" 'server dry run' apply "${n[@]}" -f "$dir/web.yaml" --dry-run=server
    fails "diff finds it" '^\+  replicas: 2' diff "${n[@]}" -f "$dir/web.yaml"
    fails "an unknown field" 'unknown field "spec.wheels"' apply "${n[@]}" -f "$dir/unknown.yaml" --validate=strict
    fails "a wrong type" 'unrecognized type: int32' \
        apply "${n[@]}" -f "$dir/mistyped.yaml"
    by=(apply --server-side "${n[@]}" -f)
    does "server-side apply creates" 'deployment.apps/applied serverside-applied' "${by[@]}" "$dir/applied1.yaml"
    does "server-side apply again" 'serverside-applied' "${by[@]}" "$dir/applied2.yaml"
    fails "a conflict" 'Apply failed with 1 conflict: conflict with "kubectl": .spec.replicas' "${by[@]}" "$dir/applied3.yaml" --field-manager=other
    does "--force-conflicts" 'serverside-applied' "${by[@]}" "$dir/applied3.yaml" --field-manager=other --force-conflicts
    does "get --show-managed-fields" 'manager: other' get "${n[@]}" deploy/applied -o yaml --show-managed-fields
    does "server-side apply --dry-run=server" 'serverside-applied \(server dry run\)' "${by[@]}" "$dir/applied2.yaml" --field-manager=other --dry-run=server
    fails "diff --server-side finds it" '^\+  replicas: 1' diff --server-side "${n[@]}" -f "$dir/applied1.yaml" --field-manager=other
    if "$kubectl" diff --server-side "${n[@]}" -f "$dir/applied3.yaml" --field-manager=other > "$dir/out" 2>&1 && ! grep -q '^[+-]' "$dir/out"; then
        ok "$release: diff --server-side finds nothing"
    else
        not_ok "$release: diff --server-side finds nothing"
    fi
    fails "an unknown field in server-side apply" 'spec.wheels: field not declared in schema' "${by[@]}" "$dir/applied-unknown.yaml"
    does "client-side apply becomes server-side" 'deployment.apps/web serverside-applied' "${by[@]}" "$dir/web3.yaml"
    does "and is kubectl's" 'kubectl Apply' get "${n[@]}" deploy/web --show-managed-fields -o jsonpath='{range .metadata.managedFields[*]}{.manager} {.operation}{"\n"}{end}'
    does "and client-side again" 'deployment.apps/web ' apply "${n[@]}" -f "$dir/web3.yaml"
    does "it is deleted" deleted delete "${n[@]}" deploy/applied
    does "get as a table" '^web +0/3 +' get "${n[@]}" deployments
    does "get -o wide" 'localhost/web:1 +app=web' get "${n[@]}" deployments -o wide
    does "get -o yaml" '^kind: Deployment' get "${n[@]}" deploy/web -o yaml
    does "get -o jsonpath" '^3$' get "${n[@]}" deploy/web -o jsonpath='{.spec.replicas}'
    does "get -o name" '^configmap/web$' get "${n[@]}" cm -l app=web -o name
    does "get --sort-by" web get "${n[@]}" cm --sort-by=.metadata.name
    does "get in pages" web get "${n[@]}" cm --chunk-size=1
    shows "get -w" web get "${n[@]}" cm web -w
    fails "get of nothing" 'NotFound.*deployments.apps "none" not found' get "${n[@]}" deploy none
    does "describe" 'OldReplicaSets' describe "${n[@]}" deploy web
    does "scale" scaled scale "${n[@]}" deploy web --replicas=1
    does "set image" updated set image "${n[@]}" deploy/web web=localhost/web:2
    does "rollout history" '^2 ' rollout history "${n[@]}" deploy/web
    does "rollout undo" 'rolled back' rollout undo "${n[@]}" deploy/web
    does "rollout restart" restarted rollout restart "${n[@]}" deploy/web
    does "label" labeled label "${n[@]}" deploy web a=b
    does "annotate" annotate annotate "${n[@]}" deploy web a=b
    does "patch: strategic" patched patch "${n[@]}" deploy web -p '{"spec":{"paused":true}}'
    does "patch: merge" patched patch "${n[@]}" deploy web --type=merge -p '{"spec":{"paused":null}}'
    does "patch: json" patched patch "${n[@]}" deploy web --type=json -p '[{"op":"add","path":"/metadata/labels/x","value":"y"}]'
    fails "patch that cannot be applied" 'The request is invalid' \
        patch "${n[@]}" deploy web --type=json -p '[{"op":"remove","path":"/none"}]'
    fails "patch of what is immutable" 'field is immutable' \
        patch "${n[@]}" deploy web -p '{"spec":{"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}}}}}'
    KUBE_EDITOR='sed -i s/hello/bonjour/' does "edit" edited edit "${n[@]}" cm web
    does "replace --force" replaced replace "${n[@]}" --force -f "$dir/web.yaml"
    does "expose" exposed expose "${n[@]}" deploy web --name=web2 --port=81
    does "autoscale" autoscaled autoscale "${n[@]}" deploy web --min=1 --max=2
    does "run" created run "${n[@]}" pod --image=localhost/web:1
    does "create secret" created create "${n[@]}" secret generic s --from-literal=a=b
    does "create job" created create "${n[@]}" job j --image=localhost/web:1
    does "create cronjob" created create "${n[@]}" cronjob c --image=localhost/web:1 --schedule='0 0 1 1 *'
    does "create ingress" created create "${n[@]}" ingress i --rule='a.test/*=web:80'
    does "create role" created create "${n[@]}" role r --verb=get --resource=pods
    does "create rolebinding" created create "${n[@]}" rolebinding r --role=r --user=jane
    does "create quota" created create "${n[@]}" quota q --hard=pods=50
    does "create pdb" created create "${n[@]}" pdb p --selector=app=web --min-available=1
    does "create token" '^ey' create "${n[@]}" token default
    does "auth can-i: yes" yes auth can-i "${n[@]}" get pods --as=jane
    fails "auth can-i: no" no auth can-i "${n[@]}" delete pods --as=jane
    fails "Forbidden" 'User "jane" cannot list resource "secrets"' get "${n[@]}" secrets --as=jane
    does "explain --recursive" 'terminationGracePeriodSeconds' explain deployment --recursive
    does "api-resources" 'deployments +deploy +apps/v1 +true +Deployment' api-resources
    does "api-versions" '^apps/v1$' api-versions
    does "cluster-info" 'control plane' cluster-info
    does "get --raw" '"major": "1"' get --raw /version
    does "events" SuccessfulCreate events "${n[@]}"
    does "get componentstatuses" 'scheduler +Healthy +ok' get componentstatuses
    does "wait" 'condition met' wait "${n[@]}" cm/web --for=jsonpath='{.data.greeting}'=hello --timeout=120s
    does "delete --cascade=orphan" deleted delete "${n[@]}" deploy web --cascade=orphan
    does "its replica set is left" '^replicaset.apps/web-' get "${n[@]}" rs -o name
    does "delete --cascade=foreground" deleted delete "${n[@]}" rs --all --cascade=foreground
    does "delete namespace" deleted delete namespace "$ns" --timeout=240s
    fails "it is gone" NotFound get namespace "$ns"
done
echo "1..$count"
kill -0 "$server" || failed=1
exit "$failed"
