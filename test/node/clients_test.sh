#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# clients_test.sh - clients that others wrote: curl, the Python and JavaScript libraries, Prometheus.
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)

# relay COMMAND...: its TAP lines become ours, with our numbers; a program that dies is a failure.
relay() {
    local line status=0
    while IFS= read -r line; do
        case $line in
        'ok - '* | 'not ok - '*)
            tests_n=$((tests_n + 1))
            say "${line%% - *} $tests_n - ${line#* - }"
            ;;
        *) say "# ${line#\# }" ;;
        esac
    done < <("$@" 2>&1; echo "# status $?" > "$data/status")
    read -r _ _ status < "$data/status"
    ok "the client ends in peace" [ "$status" = 0 ]
}

credentials() {
    local field
    for field in certificate-authority client-certificate client-key; do
        sed -n "s/^ *$field-data: *//p" "$data/kubeconfig" | tr -d '"' | base64 -d > "$data/$field.pem"
    done
}

call() { inside curl -sS --cacert "$data/certificate-authority.pem" --cert "$data/client-certificate.pem" --key "$data/client-key.pem" "$@"; }
api=https://127.0.0.1:6443

with_curl() {
    local version
    for version in 1.1 2; do
        like "curl: a list over HTTP/$version" "\"kind\": ?\"NamespaceList\"(.|\n)*HTTP $version 200" \
            call --http$version -w '\nHTTP %{http_version} %{http_code}\n' $api/api/v1/namespaces
        like "curl: a watch over HTTP/$version streams and ends" '"type":"ADDED".*"name":"default"' \
            call --http$version "$api/api/v1/namespaces?watch=true&timeoutSeconds=1"
        like "curl: a write over HTTP/$version" '^201$' call --http$version -o /dev/null -w '%{http_code}\n' \
            -H 'Content-Type: application/yaml' --data-binary $'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: curl-'"${version%.1}"'}' \
            $api/api/v1/namespaces/default/configmaps
        like "curl: a body sent in chunks over HTTP/$version" '^201$' call --http$version -o /dev/null -w '%{http_code}\n' \
            -H 'Transfer-Encoding: chunked' -H 'Content-Type: application/json' \
            -d '{"metadata":{"generateName":"chunks-"}}' $api/api/v1/namespaces/default/configmaps
    done
    like "curl: two requests over one connection" '^1 0 $' \
        bash -c "$(declare -f inside call); node=$node data=$data; call -o /dev/null -o /dev/null -w '%{num_connects} ' $api/version $api/version"
    like "curl: HEAD has no body" '^200 0$' call -I -o /dev/null -w '%{http_code} %{size_download}\n' $api/version
    like "curl: a table" '"kind": ?"Table"' call -H 'Accept: application/json;as=Table;v=v1;g=meta.k8s.io' $api/api/v1/namespaces
    like "curl: metrics" '^apiserver_request_total' call $api/metrics
    like "curl: without a certificate the user is anonymous and may nothing" '^403$' inside curl -sk -o /dev/null -w '%{http_code}\n' $api/api/v1/namespaces
    like "curl: a bad token is no user" '^401$' inside curl -sk -H 'Authorization: Bearer none' -o /dev/null -w '%{http_code}\n' $api/api/v1/namespaces
}

with_python() {
    if ! /usr/bin/python3 -c 'import kubernetes, websocket' 2> /dev/null; then
        skip "the Python client" "no python3-kubernetes"
        return
    fi
    relay inside timeout 240 /usr/bin/python3 "$here/clients/python.py" "$data/kubeconfig"
}

with_javascript() {
    local modules=$data/npm
    mkdir -p "$modules"
    if ! command -v npm node > /dev/null ||
        ! timeout 120 npm install --prefix "$modules" --silent --no-audit --no-fund @kubernetes/client-node@1 > "$data/npm.log" 2>&1; then
        skip "the JavaScript client" "npm has no registry"
        return
    fi
    cp "$here/clients/javascript.mjs" "$modules/"
    relay inside timeout 240 node "$modules/javascript.mjs" "$data/kubeconfig"
}

in_prometheus() { # QUERY: its first value
    inside curl -sG --data-urlencode "query=$1" http://127.0.0.1:9090/api/v1/query | jq -r '.data.result[0].value[1]'
}
is_up() { [ "$(in_prometheus 'up{job="api"}')" = 1 ]; }
has_rate() { [ "$(in_prometheus 'sum(apiserver_request_total)')" -gt 0 ]; }
targets() { # ROLE: how many targets Prometheus has found
    inside curl -s 'http://127.0.0.1:9090/api/v1/targets' | jq --arg job "$1" \
        '[.data.activeTargets[] | select(.scrapePool == $job)] | length'
}
has_targets() { [ "$(targets "$1")" -gt 0 ]; }

prometheus_config() {
    local role
    printf 'global: { scrape_interval: 1s }\nscrape_configs:\n'
    printf -- '- job_name: api\n  scheme: https\n  static_configs: [{ targets: ["127.0.0.1:6443"] }]\n'
    printf '  tls_config: { ca_file: %s, cert_file: %s, key_file: %s }\n' \
        "$data/certificate-authority.pem" "$data/client-certificate.pem" "$data/client-key.pem"
    [ "$1" = discovery ] || return 0
    for role in node pod service endpoints endpointslice; do
        printf -- '- job_name: %s\n  kubernetes_sd_configs: [{ role: %s, kubeconfig_file: %s }]\n' "$role" "$role" "$data/kubeconfig"
    done
}

# Debian builds its Prometheus without the discovery in Kubernetes.
with_prometheus() {
    local role pid kind=discovery
    if ! command -v prometheus > /dev/null; then
        skip "Prometheus" "not installed"
        return
    fi
    prometheus_config discovery > "$data/prometheus.yaml"
    if ! promtool check config "$data/prometheus.yaml" > /dev/null 2>&1; then
        kind=plain
        prometheus_config plain > "$data/prometheus.yaml"
    fi
    nsenter --net="/run/netns/$node" prometheus --config.file="$data/prometheus.yaml" --storage.tsdb.path="$data/tsdb" \
        --web.listen-address=127.0.0.1:9090 > "$data/prometheus.log" 2>&1 3>&- &
    pid=$!
    ok "Prometheus reads the API server's metrics" eventually 20 is_up
    ok "Prometheus counts its requests" eventually 10 has_rate
    if [ $kind = plain ]; then
        skip "Prometheus finds targets" "built without discovery in Kubernetes"
    else
        for role in node pod service endpoints endpointslice; do
            ok "Prometheus finds targets of role $role" eventually 40 has_targets "$role"
        done
    fi
    kill "$pid"
    wait "$pid" 2> /dev/null
}

node_up clients
credentials
with_curl
with_python
with_javascript
with_prometheus
