#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# services_test.sh - packets: TCP and UDP, affinity, policies, services without endpoints, clean-up.
. "$(dirname "$0")/lib.sh"

node_up services
k apply -f - > /dev/null << 'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: { name: echo }
spec:
  replicas: 2
  selector: { matchLabels: { app: echo } }
  template:
    metadata: { labels: { app: echo } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - { name: http, image: "coracle.test/multi:1", imagePullPolicy: IfNotPresent, ports: [{ name: http, containerPort: 8080 }] }
      - { name: udp, image: "coracle.test/multi:1", imagePullPolicy: IfNotPresent, command: [/bin/multi, udp, "8081"], ports: [{ name: dgram, containerPort: 8081, protocol: UDP }] }
---
apiVersion: v1
kind: Service
metadata: { name: echo }
spec:
  type: NodePort
  selector: { app: echo }
  ports:
  - { name: http, port: 80, targetPort: http, nodePort: 30100 }
  - { name: dgram, port: 53, targetPort: dgram, protocol: UDP, nodePort: 30101 }
---
apiVersion: v1
kind: Service
metadata: { name: sticky }
spec:
  selector: { app: echo }
  sessionAffinity: ClientIP
  ports: [{ port: 80, targetPort: http }]
---
apiVersion: v1
kind: Service
metadata: { name: local }
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: { app: echo }
  ports: [{ port: 80, targetPort: http, nodePort: 30102 }]
---
apiVersion: v1
kind: Service
metadata: { name: empty }
spec:
  selector: { app: nobody }
  ports: [{ port: 80 }]
---
apiVersion: v1
kind: Service
metadata: { name: outside }
spec:
  selector: { app: echo }
  externalIPs: [10.99.0.1]
  ports: [{ port: 8888, targetPort: http }]
YAML
k rollout status deployment/echo --timeout=60s > /dev/null
ip_of() { k get service "$1" -o 'jsonpath={.spec.clusterIP}'; }
http() { "$1" curl -s -m 2 "http://$2/"; }
udp() { # PLACE ADDRESS PORT [SOURCE-PORT]: what answers 40 datagrams, each from a port of its own
    "$1" python3 -c '
import socket, sys
for i in range(40):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.bind(("", int(sys.argv[3]) + i if len(sys.argv) > 3 else 0))
    s.sendto(b"ping\n", (sys.argv[1], int(sys.argv[2])))
    print(s.recv(1500).decode(), end="")' "${@:2}" 2> /dev/null
}
tries() { for _ in $(seq 40); do "$@"; done; }
distinct() { # COUNT CMD...: all of 40 answers, from that many pods
    local want=$1
    shift
    "$@" > "$data/answers"
    [ "$(grep -c '^echo-' "$data/answers")" = 40 ] && [ "$(sort -u "$data/answers" | grep -c '^echo-')" = "$want" ]
}
rules() { inside iptables-save | grep -c "$1"; }

ok "TCP through the cluster address reaches every pod" eventually 30 distinct 2 tries http inside "$(ip_of echo)"
ok "UDP through the cluster address reaches every pod" distinct 2 udp inside "$(ip_of echo)" 53
ok "TCP through the node port from another machine" distinct 2 tries http outside 10.99.0.1:30100
ok "UDP through the node port from another machine" distinct 2 udp outside 10.99.0.1 30101
ok "ClientIP affinity keeps to one pod" distinct 1 tries http inside "$(ip_of sticky)"
ok "an external address" distinct 2 tries http outside 10.99.0.1:8888
like "the Local policy shows the client's own address" '^10\.99\.0\.2' outside curl -s -m 2 http://10.99.0.1:30102/client
like "the Cluster policy hides it" '^10\.' outside curl -s -m 2 http://10.99.0.1:30100/client
# The kernel routes 127.0.0.0/8 for node ports: what listens there only is still nobody else's.
inside socat TCP4-LISTEN:8097,bind=127.0.0.1,reuseaddr,fork SYSTEM:'echo HTTP/1.0 200 OK; echo; echo private' > /dev/null 2>&1 3>&- &
outside sysctl -qw net.ipv4.conf.all.route_localnet=1
ip -n "$node-out" route del local 127.0.0.0/8 dev lo table local
ip -n "$node-out" route del local 127.0.0.1 dev lo table local
ip -n "$node-out" route add 127.0.0.0/8 via 10.99.0.1 dev eth0 src 10.99.0.2
ok "what listens on 127.0.0.1" eventually 30 inside curl -s -o /dev/null -m 2 http://127.0.0.1:8097/
like "is out of reach for other machines" 'timed out' outside curl -sS -m 2 http://127.0.0.1:8097/
like "by our rule, which their packets have met" '^ *[1-9]\d* .* DROP .*localnet' inside iptables -t filter -vnxL KUBE-FIREWALL

inside curl -s -m 5 "http://$(ip_of empty)/" > /dev/null
ok "a service without endpoints refuses at once" [ $? = 7 ]

pod=$(k get pods -l app=echo -o 'jsonpath={.items[0].metadata.name}')
like "a pod reaches itself through its service" '^echo-' k exec "$pod" -c http -- sh -c "
    for i in 1 2 3 4 5 6 7 8; do wget -q -O - http://$(ip_of echo)/ || exit 1; done"

nsenter --net="/run/netns/$node-out" socat -T 5 TCP4-LISTEN:8099,reuseaddr,fork SYSTEM:'echo HTTP/1.0 200 OK; echo; echo $SOCAT_PEERADDR' > /dev/null 2>&1 3>&- &
socat_pid=$!
like "a pod shows the node's address to other machines" '^10\.99\.0\.1$' k exec "$pod" -c http -- wget -q -O - http://10.99.0.2:8099/
kill "$socat_pid"
read -r -a ips <<< "$(k get pods -l app=echo -o 'jsonpath={.items[*].status.podIP}')"
like "and its own to other pods" "^${ips[0]}" k exec "$pod" -c http -- wget -q -O - "http://${ips[1]}:8080/client"
ok "by one rule for all pods" [ "$(rules 'coracle: pods to the outside')" = 1 ]

ok "UDP flows from fixed ports" distinct 2 udp inside "$(ip_of echo)" 53 40001 # each keeps to its pod
k scale deployment echo --replicas=1 > /dev/null
ok "a pod that goes leaves the service" eventually 15 distinct 1 tries http inside "$(ip_of echo)"
ok "and its UDP flows are forgotten" eventually 10 distinct 1 udp inside "$(ip_of echo)" 53 40001

ok "rules carry the names that kube-proxy gives" [ "$(rules 'KUBE-SVC-NPX46M4PTMTKRN6Y')" -gt 0 ]
k delete service echo sticky local empty outside > /dev/null
ok "a deleted service leaves no rule" eventually 30 bash -c "! nsenter --net=/run/netns/$node iptables-save | grep -q default/echo"
server_stop
ok "rules outlive the server" [ "$(rules KUBE-SERVICES)" -gt 0 ]
ok "proxy --cleanup" inside "$coracle" proxy --cleanup --config "$data/config.yaml"
ok "leaves nothing of ours" [ "$(rules KUBE-)" = 0 ]
