#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kubectl_test.sh - what people do with kubectl, against real containers, by kubectl releases nobody here built.
#
#   KUBECTLS="kubectl.1.30 kubectl.1.33" test/node/kubectl_test.sh
. "$(dirname "$0")/lib.sh"

kubectl_dir=$(dirname "$(readlink -f "$(command -v kubectl)")")
all=${KUBECTLS:-}
if [ -z "$all" ]; then
    for release in 1.27 1.30 1.32 1.33; do
        [ ! -x "$kubectl_dir/kubectl.$release" ] || all+=" $kubectl_dir/kubectl.$release"
    done
    [ -n "$all" ] || all=kubectl
fi
work=$(mktemp -d)

manifest() {
    cat << 'YAML'
apiVersion: v1
kind: ConfigMap
metadata:
  name: web-config
data:
  greeting: hello from a file
---
apiVersion: v1
kind: Secret
metadata:
  name: web-secret
stringData:
  password: s3cret
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: { app: web }
spec:
  replicas: 3
  selector:
    matchLabels: { app: web }
  template:
    metadata:
      labels: { app: web }
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: web
        image: coracle.test/multi:1
        imagePullPolicy: IfNotPresent
        ports: [{ name: http, containerPort: 8080 }]
        env:
        - name: PASSWORD
          valueFrom: { secretKeyRef: { name: web-secret, key: password } }
        readinessProbe:
          httpGet: { path: /healthz, port: http }
          periodSeconds: 1
        volumeMounts: [{ name: config, mountPath: /config }]
      volumes:
      - name: config
        configMap: { name: web-config }
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  type: NodePort
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: http, nodePort: 30080 }]
YAML
}

# How many different pods answer 60 requests made by "$@ URL".
answers_from() { # COUNT CMD...
    local want=$1
    shift
    [ "$(for _ in $(seq 60); do "$@"; done | sort -u | grep -c '^web-')" = "$want" ]
}

workload() {
    manifest > "$work/web.yaml"
    ok "apply a Deployment, a ConfigMap, a Secret and a Service" k apply -f "$work/web.yaml"
    like "rollout status" 'successfully rolled out' k rollout status deployment/web --timeout=60s
    local cluster_ip
    cluster_ip=$(k get service web -o 'jsonpath={.spec.clusterIP}')
    ok "the ClusterIP answers from the host, by all three pods" \
        eventually 30 answers_from 3 inside curl -s -m 2 "http://$cluster_ip/"
    ok "the NodePort answers on the node's address" answers_from 3 inside curl -s -m 2 http://10.99.0.1:30080/
    ok "the NodePort answers on localhost" answers_from 3 inside curl -s -m 2 http://127.0.0.1:30080/
    ok "the NodePort answers from another machine" answers_from 3 outside curl -s -m 2 http://10.99.0.1:30080/
    ok "run a pod to look from" k run client --image=busybox --image-pull-policy=IfNotPresent -- sleep 3600
    ok "wait for it" k wait --for=condition=Ready pod/client --timeout=90s
    ok "the ClusterIP answers from a pod, by all three pods" \
        answers_from 3 k exec client -- wget -q -O - "http://$cluster_ip/"
    like "the Secret is in the environment" '^s3cret' inside curl -s "http://$cluster_ip/env/PASSWORD"
    like "the ConfigMap is a file" 'hello from a file' inside curl -s "http://$cluster_ip/file/config/greeting"
}

label_config() { k label configmap web-config "watched=$SECONDS" --overwrite; }

visit_all() {
    for _ in $(seq 40); do inside curl -s -m 2 http://10.99.0.1:30080/followed; done
}

reading() {
    like "get" 'NAME\s+READY\s+UP-TO-DATE\s+AVAILABLE\s+AGE\nweb\s+3/3\s+3\s+3' k get deployments
    like "get -o wide" 'IP\s+NODE\s+NOMINATED NODE\s+READINESS GATES\n(.*\n)*web-.*10\.42\.\S+\s+node1' k get pods -o wide
    like "get -o yaml" 'kind: Deployment\n' k get deployment web -o yaml
    like "get -o json" '"replicas": 3' k get deployment web -o json
    like "get -o jsonpath" '^10\.43\.' k get service web -o 'jsonpath={.spec.clusterIP}'
    like "get -o name" 'deployment.apps/web' k get deployments -o name
    like "get -o custom-columns" 'WHO\nweb' k get deployment web -o custom-columns=WHO:.metadata.name
    like "get nodes" 'node1\s+Ready\s+control-plane' k get nodes
    like "get -A" 'default\s+pod/web-' k get pods,services -A
    like "get -l" 'No resources found' k get pods -l app=nobody
    like "get --field-selector" 'client' k get pods --field-selector metadata.name=client
    like "get --sort-by" 'NAME' k get pods --sort-by=.metadata.creationTimestamp
    like "get all" 'replicaset.apps/web-' k get all
    like "get -w sees a change" 'watched=\d' seen 'watched=\d' label_config get configmap web-config -w --show-labels
    like "describe pod" 'Container started' k describe pods -l app=web
    like "describe deployment" 'ScalingReplicaSet' k describe deployment web
    like "describe service" 'Endpoints:\s+10\.42\.\S+:8080' k describe service web
    like "describe node" 'Kubelet Version' k describe node node1
    like "logs" 'listening on 8080' k logs deployment/web
    like "logs -f" 'GET /followed' seen 'GET /followed' visit_all logs -f deployment/web
    like "logs --tail --timestamps" '^\d{4}-\d\d-\d\dT' k logs deployment/web --tail=1 --timestamps
    like "explain" 'FIELDS?:\n(.*\n)*\s+spec' k explain deployment
    like "explain --recursive" 'containers' k explain deployment.spec --recursive
    like "api-resources" 'deployments\s+deploy\s+apps/v1\s+true\s+Deployment' k api-resources
    like "api-versions" 'apps/v1' k api-versions
    like "cluster-info" 'control plane.* is running at' k cluster-info
    like "version" 'Server Version' k version
    like "events" 'Scheduled' k events
    like "auth can-i" 'yes' k auth can-i create pods
}

server_sockets() { find "/proc/$server_pid/fd" -lname 'socket:*' | wc -l; }
has_sockets() { [ "$(server_sockets)" -le $(($1 + 2)) ]; } # a connection may be kept for the next one

# leave_logs POD: eight readers of its log are killed.
leave_logs() {
    local readers=() i
    for i in $(seq 8); do
        timeout -s KILL "1.$i" nsenter --net="/run/netns/$node" "$KUBECTL" --kubeconfig "$data/kubeconfig" logs -f "$1" > /dev/null 2>&1 &
        readers+=($!)
    done
    wait "${readers[@]}" 2> /dev/null
}

streaming() {
    like "exec" 'inside' k exec client -- echo inside
    like "exec with input" 'from standard input' bash -c "echo from standard input | nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig exec -i client -- cat"
    like "exec -it on a terminal" '(?s)/dev/pts/.*TERMINAL' expect -c "
        log_user 1
        set timeout 60
        spawn nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig exec -it client -- sh
        expect -re {[#\$] }
        send \"tty; echo TERM\"
        send \"INAL\r\"
        expect TERMINAL\r
        send \"exit\r\"
        expect eof"
    k exec client -- sh -c 'exit 7' > /dev/null 2>&1
    ok "exec gives the command's exit status" [ $? = 7 ]
    head -c 200000 /dev/urandom > "$work/there"
    ok "cp to a pod" k cp "$work/there" client:/tmp/there
    ok "cp from a pod" k cp client:/tmp/there "$work/back"
    ok "the copy is the same" cmp "$work/there" "$work/back"
    # Not by a function, whose end would leave it running and the port taken.
    nsenter --net="/run/netns/$node" "$KUBECTL" --kubeconfig "$data/kubeconfig" port-forward service/web 18080:80 \
        > "$work/forward.log" 2>&1 &
    local forward=$!
    like "port-forward" '^web-' bash -c "
        for i in \$(seq 600); do nsenter --net=/run/netns/$node curl -s -m 5 http://127.0.0.1:18080/ && exit; sleep 0.1; done"
    kill $forward
    wait $forward 2> /dev/null
    k run ticker --image=busybox --image-pull-policy=IfNotPresent --restart=Never -- sh -c 'while :; do echo tick; sleep 0.2; done' > /dev/null
    k wait --for=condition=Ready pod/ticker --timeout=90s > /dev/null
    like "attach" 'tick' seen 'tick' : attach ticker
    local sockets
    sockets=$(server_sockets)
    leave_logs ticker
    ok "the server outlives those who leave in the middle of a log" kill -0 "$server_pid"
    ok "and answers" k get --raw /readyz
    leave_logs client
    ok "nothing is left of those who leave a silent one" eventually 30 has_sockets "$sockets"
    like "run --rm -it" 'hello' k run once --rm -i --image=busybox --image-pull-policy=IfNotPresent --restart=Never -- sh -c 'sleep 1; echo hello'
    like "debug with an ephemeral container" 'web|busybox|Defaulting' k debug client --image=busybox --target=client -- sleep 1
}

changing() {
    ok "scale" k scale deployment web --replicas=4
    like "the fourth pod comes" 'successfully' k rollout status deployment/web --timeout=60s
    ok "scale back" k scale deployment web --replicas=3
    ok "set image" k set image deployment/web web=coracle.test/multi:2
    like "it rolls out" 'successfully' k rollout status deployment/web --timeout=90s
    ok "the new version answers" eventually 60 bash -c "nsenter --net=/run/netns/$node curl -s -m 2 http://10.99.0.1:30080/env/VERSION | grep -q 2"
    like "rollout history" 'REVISION\s+CHANGE-CAUSE\n1\s.*\n2\s' k rollout history deployment/web
    ok "rollout undo" k rollout undo deployment/web
    like "it rolls back" 'successfully' k rollout status deployment/web --timeout=90s
    like "the old image is back" 'multi:1' k get deployment web -o 'jsonpath={.spec.template.spec.containers[0].image}'
    ok "rollout restart" k rollout restart deployment/web
    like "it restarts" 'successfully' k rollout status deployment/web --timeout=90s
    ok "rollout pause" k rollout pause deployment/web
    ok "rollout resume" k rollout resume deployment/web
    printf '#!/bin/sh\nsed -i s/progressDeadlineSeconds:.*/progressDeadlineSeconds:\\ 120/ "$1"\n' > "$work/editor"
    chmod +x "$work/editor"
    ok "edit" env KUBE_EDITOR="$work/editor" nsenter --net="/run/netns/$node" "$KUBECTL" --kubeconfig "$data/kubeconfig" edit deployment web
    like "edit changed it" '^120' k get deployment web -o 'jsonpath={.spec.progressDeadlineSeconds}'
    ok "label" k label pod client colour=blue
    like "label is selectable" 'client' k get pods -l colour=blue
    ok "annotate" k annotate pod client note=seen
    ok "patch strategic" k patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"EXTRA","value":"1"}]}]}}}}'
    like "strategic merge keeps the other entries" 'PASSWORD.*|EXTRA.*PASSWORD' k get deployment web -o 'jsonpath={.spec.template.spec.containers[0].env[*].name}'
    ok "patch merge" k patch deployment web --type=merge -p '{"metadata":{"annotations":{"merged":"yes"}}}'
    ok "patch json" k patch deployment web --type=json -p '[{"op":"replace","path":"/spec/revisionHistoryLimit","value":5}]'
    like "rollout after patches" 'successfully' k rollout status deployment/web --timeout=90s
    sed 's/hello from a file/hello again/' "$work/web.yaml" > "$work/changed.yaml"
    like "diff shows the change" 'hello again' k diff -f "$work/changed.yaml"
    like "apply says what changed" 'configmap/web-config configured\n(.*\n)*service/web unchanged' k apply -f "$work/changed.yaml"
    like "--dry-run=server changes nothing" 'created \(server dry run\)' k create configmap dry --from-literal=a=b --dry-run=server
    like "really nothing" 'NotFound' k get configmap dry
    ok "replace --force" bash -c "nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig get configmap web-config -o yaml | nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig replace --force -f -"
    ok "expose" k expose deployment web --name=web2 --port=81 --target-port=8080
    like "the exposed service has endpoints" '10\.42\.' k get endpoints web2
}

creating() {
    ok "create namespace" k create namespace made
    local -a n=(-n made)
    ok "create configmap" k "${n[@]}" create configmap c --from-literal=a=b
    ok "create secret generic" k "${n[@]}" create secret generic s --from-literal=a=b
    ok "create secret docker-registry" k "${n[@]}" create secret docker-registry d --docker-server=x --docker-username=u --docker-password=p
    ok "create serviceaccount" k "${n[@]}" create serviceaccount sa
    ok "create role" k "${n[@]}" create role r --verb=get --resource=pods
    ok "create rolebinding" k "${n[@]}" create rolebinding rb --role=r --serviceaccount=made:sa
    ok "create clusterrole" k create clusterrole made-cr --verb=get --resource=pods
    ok "create clusterrolebinding" k create clusterrolebinding made-crb --clusterrole=made-cr --serviceaccount=made:sa
    ok "create deployment" k "${n[@]}" create deployment d --image=coracle.test/multi:1
    ok "create service clusterip" k "${n[@]}" create service clusterip cip --tcp=80
    ok "create service nodeport" k "${n[@]}" create service nodeport np --tcp=80
    ok "create service externalname" k "${n[@]}" create service externalname en --external-name=example.test
    ok "create job" k "${n[@]}" create job j --image=busybox -- true
    ok "create cronjob" k "${n[@]}" create cronjob cj --image=busybox --schedule='0 0 1 1 *' -- true
    ok "create ingress" k "${n[@]}" create ingress i --rule=a.test/=s:80
    ok "create quota" k "${n[@]}" create quota q --hard=pods=100
    ok "create poddisruptionbudget" k "${n[@]}" create poddisruptionbudget p --selector=app=d --min-available=0
    ok "create priorityclass" k create priorityclass made-pc --value=10
    ok "create token" k "${n[@]}" create token sa
    like "a service account has only its rights" 'no' k auth can-i delete pods --as=system:serviceaccount:made:sa -n made
    like "and those it has" 'yes' k auth can-i get pods --as=system:serviceaccount:made:sa -n made
    ok "delete the rest" k delete clusterrole/made-cr clusterrolebinding/made-crb priorityclass/made-pc
    ok "delete namespace removes its contents" k delete namespace made --timeout=60s
}

nodes() {
    ok "cordon" k cordon node1
    like "cordoned" 'SchedulingDisabled' k get node node1
    ok "drain" k drain node1 --ignore-daemonsets --force --delete-emptydir-data --timeout=60s
    ok "uncordon" k uncordon node1
    like "pods come back" 'successfully' k rollout status deployment/web --timeout=60s
}

deleting() {
    k create deployment orphaned --image=coracle.test/multi:1 --replicas=1 > /dev/null
    k rollout status deployment/orphaned --timeout=90s > /dev/null
    ok "delete --cascade=orphan" k delete deployment orphaned --cascade=orphan
    like "the ReplicaSet stays" 'orphaned-' k get replicasets -l app=orphaned -o name
    ok "delete --cascade=foreground" k delete replicaset -l app=orphaned --cascade=foreground --timeout=60s
    like "its pods went first" '\A\s*\z' k get pods -l app=orphaned -o name
    ok "delete" k delete deployment/web service/web service/web2 secret/web-secret configmap/web-config --timeout=60s
    ok "delete pods" k delete pod client ticker --ignore-not-found --grace-period=1 --timeout=60s
    ok "everything is gone" eventually 60 bash -c "! nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig get pods -o name | grep ."
}

node_up kctl
for KUBECTL in $all; do
    say "# $KUBECTL"
    workload
    reading
    streaming
    changing
    creating
    nodes
    deleting
done
rm -rf "$work"
