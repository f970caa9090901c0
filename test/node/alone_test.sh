#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# alone_test.sh - each part as a process of its own, under the identity that upstream's has; and the command line.
. "$(dirname "$0")/lib.sh"

declare -A part_pid

# signed AUTHORITY NAME EXTENSIONS: NAME.crt for NAME.csr.
signed() {
    local ca=$data/server/tls/$1-ca
    printf '%s\n' "$3" > "$data/extensions"
    openssl x509 -req -in "$data/$2.csr" -CA "$ca.crt" -CAkey "$ca.key" -CAserial "$data/serial" -CAcreateserial \
        -days 1 -extfile "$data/extensions" -out "$data/$2.crt" 2> /dev/null
}

# identity NAME USER [GROUP]: a kubeconfig for a certificate of the cluster's CA.
identity() {
    local name=$1 subject="/CN=$2"
    [ -z "${3:-}" ] || subject="/O=$3$subject"
    openssl req -new -newkey rsa:2048 -nodes -keyout "$data/$name.key" -out "$data/$name.csr" -subj "$subject" 2> /dev/null
    signed client "$name" 'extendedKeyUsage=clientAuth'
    cat > "$data/$name.kubeconfig" << YAML
apiVersion: v1
kind: Config
current-context: default
clusters: [{ name: default, cluster: { server: "https://127.0.0.1:6443", certificate-authority: server/tls/server-ca.crt } }]
users: [{ name: default, user: { client-certificate: $name.crt, client-key: $name.key } }]
contexts: [{ name: default, context: { cluster: default, user: default } }]
YAML
}

# start PART: what this part's process is called with; its log is PART.log.
start() {
    local part=$1 flags=(--data-dir "$data" --config "$data/config.yaml" --node-name node1)
    case $part in
    apiserver) flags+=(--write-kubeconfig "$data/kubeconfig") ;;
    kubelet) flags+=(--kubeconfig "$data/kubelet.kubeconfig" --tls-cert-file "$data/serving.crt" --tls-private-key-file "$data/serving.key") ;;
    *) flags+=(--kubeconfig "$data/$part.kubeconfig") ;;
    esac
    nsenter --net="/run/netns/$node" "$coracle" "$part" "${flags[@]}" >> "$data/$part.log" 2>&1 3>&- &
    part_pid[$part]=$!
}

murder() { # PART: kill -9, and start it again
    kill -9 "${part_pid[$1]}"
    wait "${part_pid[$1]}" 2> /dev/null
    start "$1"
}

stop_all() {
    local part
    for part in proxy kubelet scheduler controllers apiserver; do
        [ -z "${part_pid[$part]:-}" ] || kill "${part_pid[$part]}" 2> /dev/null
    done
    wait
}

alive() { kill -0 "${part_pid[$1]}"; }
api_ready() { k get --raw /readyz > /dev/null 2>&1; }
ready_pods() { k get deployment web -o 'jsonpath={.status.readyReplicas}'; }
has_ready() { [ "$(ready_pods)" = "$1" ]; }
cluster_ip() { k get service web -o 'jsonpath={.spec.clusterIP}'; }
answers() { inside curl -sf --max-time 2 "http://$(cluster_ip)/" > /dev/null; }
forbidden() { grep -hiE 'forbidden|cannot (get|list|watch|create|update|patch|delete)' "$data"/{scheduler,controllers,kubelet,proxy}.log; }
node_updated() { k get lease -n kube-node-lease node1 -o 'jsonpath={.spec.renewTime}'; }
lease_moves() { local before; before=$(node_updated) && eventually 30 eval "[ \"\$(node_updated)\" != '$before' ]"; }

up() {
    node_make alone
    trap 'stop_all; node_down' EXIT
    start apiserver
    ok "the API server alone is ready" eventually 30 api_ready || exit 1
    identity scheduler system:kube-scheduler
    identity controllers system:kube-controller-manager
    identity kubelet system:node:node1 system:nodes
    identity proxy system:kube-proxy
    identity serving node1 # to take its request for another certificate
    signed server serving $'subjectAltName=DNS:node1,IP:10.99.0.1\nextendedKeyUsage=serverAuth'
    local part
    for part in controllers scheduler kubelet proxy; do start "$part"; done
    ok "the node of a kubelet alone becomes Ready" eventually 60 node_is_ready || exit 1
}

works() {
    k apply -f - > /dev/null << 'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - { name: web, image: "coracle.test/multi:1", imagePullPolicy: IfNotPresent, readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 } }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
YAML
    ok "a deployment of two gets ready over five processes" eventually 60 has_ready 2
    ok "its ClusterIP answers" eventually 20 answers
    ok "kubectl logs reaches a kubelet alone" k logs deployment/web
    like "kubectl exec reaches a kubelet alone" '^hello$' k exec deployment/web -- echo hello
}

scales() { # N: everything but the proxy has to work for this
    k scale deployment web --replicas="$1" > /dev/null && eventually 60 has_ready "$1"
}

survives() {
    local part n=2
    for part in scheduler controllers kubelet proxy apiserver; do
        murder "$part"
        ok "the service answers while the $part starts again" eventually 20 answers
        [ "$part" != apiserver ] || ok "the API server comes back" eventually 30 api_ready
        n=$((5 - n))
        ok "a deployment scales to $n after kill -9 of the $part" scales $n
        ok "the service answers after kill -9 of the $part" eventually 20 answers
    done
    ok "the kubelet renews its lease after the API server was away" lease_moves
    for part in apiserver scheduler controllers kubelet proxy; do
        ok "$part still runs" alive "$part"
    done
    k delete deployment web > /dev/null
    ok "pods go" eventually 40 eval '[ -z "$(k get pods -o name)" ]'
    like "no part was refused anything" '^$' forbidden
    for part in scheduler controllers kubelet proxy apiserver; do
        kill "${part_pid[$part]}"
        wait "${part_pid[$part]}"
        ok "$part ends with status 0 on SIGTERM" [ $? = 0 ]
        unset "part_pid[$part]"
    done
}

# refuses DESCRIPTION REGEX ARGS: status 2 and one line on standard error.
refuses() {
    local what=$1 regex=$2 status=0 lines
    shift 2
    "$coracle" "$@" > "$data/out" 2> "$data/err" || status=$?
    lines=$(wc -l < "$data/err")
    echo "status $status, $lines line: $(cat "$data/err")" > "$data/outcome"
    like "$what" "^status 2, 1 line: coracle: $regex" cat "$data/outcome"
}

command_line() {
    refuses "an unknown command" 'unknown command "serve"; see coracle --help$' serve
    refuses "an unknown flag" 'unknown flag: --port$' server --port 1
    refuses "a flag of another command" 'unknown flag: --kubeconfig$' server --kubeconfig x
    refuses "a word that is no flag" 'unexpected argument "now"$' server now
    refuses "a flag without its value" '--data-dir: needs a value$' server --data-dir
    refuses "an empty value" '--data-dir: needs a value$' server --data-dir=
    refuses "a bad port" '--https-listen-port: "65536" is not a port$' server --https-listen-port 65536
    refuses "a port that is no number" '--https-listen-port: "http" is not a port$' server --https-listen-port=http
    refuses "a bad address" '--bind-address: "localhost" is not an IP address$' server --bind-address localhost
    refuses "a bad network" '--cluster-cidr: "10.42.0.0" is not a network like 10.42.0.0/16$' server --cluster-cidr 10.42.0.0
    refuses "a network of too many bits" '--service-cidr: "10.43.0.0/33" is not a network' server --service-cidr 10.43.0.0/33
    refuses "a bad range of ports" '--service-node-port-range: "9-1" is not a range' server --service-node-port-range 9-1
    refuses "a bad truth" '--disable-agent: "maybe" is neither true nor false$' server --disable-agent=maybe
    refuses "a bad file mode" '--write-kubeconfig-mode: "rw" is not a file mode like 0600$' server --write-kubeconfig-mode rw
    refuses "a bad label" '--node-label: "a b" is not a label like key=value$' server --node-label "a b"
    refuses "a bad taint" '--node-taint: "a=b" is not a taint like key=value:NoSchedule$' server --node-taint a=b
    refuses "a bad node name" '--node-name: "Node_1" is not a name like node-1' server --node-name Node_1
    refuses "a part without a kubeconfig" '--kubeconfig: needs a value$' scheduler
    refuses "a configuration file that is not there" "--config: read $data/none.yaml: No such file" server --config "$data/none.yaml"
    echo 'prot: 1' > "$data/bad.yaml"
    refuses "an unknown key in the file" "$data/bad.yaml: unknown key \"prot\"$" server --config "$data/bad.yaml"
    echo 'https-listen-port: many' > "$data/bad.yaml"
    refuses "a bad value in the file" "$data/bad.yaml: https-listen-port: \"many\" is not a port$" server --config "$data/bad.yaml"
    echo '[' > "$data/bad.yaml"
    refuses "a file that is no YAML" "$data/bad.yaml: " server --config "$data/bad.yaml"
    CORACLE_KUBELET_PORT=x refuses "a bad value in the environment" 'CORACLE_KUBELET_PORT: "x" is not a port$' server
    like "help of the program lists the commands" '^  controllers ' "$coracle" --help
    like "help of a command lists its flags" '^  --kubeconfig VALUE ' "$coracle" proxy --help
    like "its version" '^coracle version \S+ \(Kubernetes v1\.36' "$coracle" --version
    like "no command at all prints the help" '^Usage: coracle COMMAND' "$coracle"
}

# The same option in three places: the flag wins, then the environment, then the file.
precedence() {
    local config=$data/three.yaml server=(server --disable-agent --data-dir "$data/three" --config "$data/three.yaml" --write-kubeconfig "$data/three.kubeconfig")
    printf 'https-listen-port: 7001\nbind-address: 127.0.0.1\ntls-san: [one.test]\n' > "$config"
    listens() { # PORT ARGS: the server listens there
        local port=$1 pid status=1
        shift
        nsenter --net="/run/netns/$node" env "$@" >> "$data/three.log" 2>&1 3>&- &
        pid=$!
        eventually 15 inside curl -skf "https://127.0.0.1:$port/readyz" > /dev/null && status=0
        inside openssl s_client -connect "127.0.0.1:$port" < /dev/null 2> /dev/null | openssl x509 -noout -ext subjectAltName > "$data/sans"
        kill "$pid" && wait "$pid" 2> /dev/null
        return $status
    }
    ok "a port from the file" listens 7001 "$coracle" "${server[@]}"
    like "a list from the file" 'DNS:one.test' cat "$data/sans"
    ok "the environment wins over the file" listens 7002 CORACLE_HTTPS_LISTEN_PORT=7002 CORACLE_TLS_SAN=two.test "$coracle" "${server[@]}"
    like "a list adds up" 'DNS:one.test.*DNS:two.test|DNS:two.test.*DNS:one.test' cat "$data/sans"
    ok "a flag wins over both" listens 7003 CORACLE_HTTPS_LISTEN_PORT=7002 "$coracle" "${server[@]}" --https-listen-port 7003
}

up
command_line
works
survives
precedence
