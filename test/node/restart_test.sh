#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# restart_test.sh - kill -9 of the server in the middle of a rollout: nothing acknowledged is gone, what ran
# goes on running, and the rollout ends.
. "$(dirname "$0")/lib.sh"

node_up restart
deployment() { # NAME REPLICAS IMAGE-TAG [MORE-OF-THE-CONTAINER]
    cat << YAML
apiVersion: apps/v1
kind: Deployment
metadata: { name: $1 }
spec:
  replicas: $2
  selector: { matchLabels: { app: $1 } }
  template:
    metadata: { labels: { app: $1 } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - { name: web, image: "coracle.test/multi:$3", imagePullPolicy: IfNotPresent ${4:-} }
YAML
}
# "pod container-id restarts time-of-readiness" of everything that runs.
containers() {
    k get pods -l "$1" -o 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.conditions[?(@.type=="Ready")].lastTransitionTime}{"\n"}{end}' | sort
}

# Ready is what the node is called while its server is down, too; its own lease tells who renews it.
lease_time() { k get lease node1 -n kube-node-lease -o 'jsonpath={.spec.renewTime}'; }
node_is_adopted() { [ "$(lease_time)" \> "$stopped" ] && node_is_ready; }

images_of_web() { k get pods -l app=web -o 'jsonpath={range .items[*]}{.spec.containers[0].image}{"\n"}{end}' | sort -u; }
web_runs() { [ "$(images_of_web)" = "$1" ]; }

explain() { # what the pods and the server say, for who reads the log of a failed run
    k get pods -o wide 2>&1 | sed 's/^/# /' >&3
    k describe pods -l app=web 2>&1 | grep -A30 '^Events' | sed 's/^/# /' >&3
    tail -n 30 "$data/server.log" | sed 's/^/# /' >&3
}

deployment steady 2 1 ', readinessProbe: { tcpSocket: { port: 8080 } }' | k apply -f - > /dev/null
ok "a deployment that will not change" k rollout status deployment/steady --timeout=60s
before=$(containers app=steady)
deployment web 4 1 | k apply -f - > /dev/null
ok "a deployment to roll out" k rollout status deployment/web --timeout=60s

for round in 1 2 3; do
    deployment web 4 $((round % 2 + 1)) | k apply -f - > /dev/null
    acknowledged=0
    for i in $(seq 40); do
        k create configmap "kept-$round-$i" --from-literal=n="$i" > /dev/null 2>&1 && acknowledged=$i
        [ "$i" != $((round * 7)) ] || {
            kill -9 "$server_pid"
            wait "$server_pid" 2> /dev/null
            break
        }
    done
    server_start
    ok "round $round: the node is Ready again" eventually 30 node_is_ready
    like "round $round: every acknowledged object is there" "^$acknowledged\$" \
        bash -c "nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig get configmaps -o name | grep -c kept-$round-"
    like "round $round: the rollout ends" 'successfully rolled out' k rollout status deployment/web --timeout=90s || explain
    ok "round $round: with the image that was asked for, in every pod" eventually 15 \
        web_runs "coracle.test/multi:$((round % 2 + 1))"
    ok "round $round: the containers of the other deployment were not touched, and ready all the time" \
        [ "$before" = "$(containers app=steady)" ]
done

stopped=$(date -u +%FT%TZ)
kill -TERM "$server_pid"
wait "$server_pid" 2> /dev/null
ok "SIGTERM ends it with status 0" [ $? = 0 ]
pid=$(pgrep -f -- "multi http" | head -n 1)
ok "pods run on while it is down" [ -n "$pid" ]
server_start
ok "and are adopted when it comes back" eventually 30 node_is_adopted
ok "with the same containers" [ "$before" = "$(containers app=steady)" ]
ok "one rule masquerades what pods send out, after every start" \
    [ "$(inside iptables-save -t nat | grep -c 'coracle: pods to the outside')" = 1 ]
