#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pods_test.sh - what happens inside and to pods: volumes, environment, probes, failures, endings.
. "$(dirname "$0")/lib.sh"

pod() { k apply -f - > /dev/null; }
reason() { # POD: why its first container waits, or how it ended
    k get pod "$1" -o 'jsonpath={.status.containerStatuses[0].state.waiting.reason}{.status.containerStatuses[0].state.terminated.reason}'
}
has_reason() { [ "$(reason "$1")" = "$2" ]; }
phase_is() { [ "$(k get pod "$1" -o 'jsonpath={.status.phase}')" = "$2" ]; }
failed_again() { k get events --field-selector "involvedObject.name=$1,reason=Failed" -o 'jsonpath={.items[*].count}' | grep -q '[2-9]'; }
restarts() { k get pod "$1" -o 'jsonpath={.status.containerStatuses[0].restartCount}'; }
shell() { k exec volumes -c main -- sh -c "$1"; }
ready() { k wait --for=condition=Ready "pod/$1" --timeout=90s > /dev/null; }

volumes() {
    k create configmap settings --from-literal=colour=blue --from-literal=size=big > /dev/null
    k create secret generic keys --from-literal=token=hidden > /dev/null
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: volumes, labels: { app: volumes }, annotations: { note: a note } }
spec:
  initContainers:
  - { name: first, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, "echo one > /work/order"], volumeMounts: [{ name: work, mountPath: /work }] }
  - { name: second, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, "echo two >> /work/order"], volumeMounts: [{ name: work, mountPath: /work }] }
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "sleep 3600"]
    resources: { limits: { memory: 64Mi, cpu: 500m } }
    env:
    - { name: PLAIN, value: "plain" }
    - { name: COMPOSED, value: "$(PLAIN)-and-$$(PLAIN)" }
    - { name: COLOUR, valueFrom: { configMapKeyRef: { name: settings, key: colour } } }
    - { name: TOKEN, valueFrom: { secretKeyRef: { name: keys, key: token } } }
    - { name: POD, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
    - { name: IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
    - { name: LIMIT, valueFrom: { resourceFieldRef: { resource: limits.memory } } }
    envFrom: [{ prefix: SET_, configMapRef: { name: settings } }]
    volumeMounts:
    - { name: work, mountPath: /work }
    - { name: settings, mountPath: /settings }
    - { name: settings, mountPath: /one, subPath: colour }
    - { name: keys, mountPath: /keys, readOnly: true }
    - { name: info, mountPath: /info }
    - { name: memory, mountPath: /memory }
    - { name: host, mountPath: /host }
    - { name: mixed, mountPath: /mixed }
  volumes:
  - { name: work, emptyDir: {} }
  - { name: memory, emptyDir: { medium: Memory } }
  - { name: settings, configMap: { name: settings } }
  - { name: keys, secret: { secretName: keys, defaultMode: 0400 } }
  - { name: host, hostPath: { path: /etc, type: Directory } }
  - name: info
    downwardAPI: { items: [{ path: labels, fieldRef: { fieldPath: metadata.labels } }] }
  - name: mixed
    projected:
      sources:
      - configMap: { name: settings, items: [{ key: size, path: the-size }] }
      - secret: { name: keys }
YAML
    ok "a pod with every kind of volume becomes Ready" ready volumes
    like "init containers ran in order" '^one\ntwo\n' k exec volumes -- cat /work/order
    like "a configMap's keys are files" '^blue' k exec volumes -- cat /settings/colour
    like "one of them by subPath" '^blue' k exec volumes -- cat /one
    like "a secret's files have their mode" '^400' k exec volumes -- stat -L -c %a /keys/token
    like "labels by the downward API" 'app="volumes"' k exec volumes -- cat /info/labels
    like "an emptyDir in memory is a tmpfs" 'tmpfs' k exec volumes -- sh -c 'grep /memory /proc/mounts'
    like "a hostPath shows the host" 'root:' k exec volumes -- cat /host/passwd
    like "a projected volume mixes its sources" 'the-size\ntoken' k exec volumes -- ls /mixed
    like "environment, composed" 'plain-and-\$\(PLAIN\)' shell 'echo "$COMPOSED"'
    like "environment of a configMap and a secret" 'blue\nhidden' shell 'echo "$COLOUR"; echo "$TOKEN"'
    like "environment with a prefix" '^big' shell 'echo "$SET_size"'
    like "environment of fields" '^volumes\n10\.42\.' shell 'echo "$POD"; echo "$IP"'
    like "environment of resources" '^67108864' shell 'echo "$LIMIT"'
    like "the service account's token, CA and namespace" 'ca.crt\nnamespace\ntoken' \
        k exec volumes -- ls /var/run/secrets/kubernetes.io/serviceaccount
    k patch configmap settings -p '{"data":{"colour":"red"}}' > /dev/null
    ok "a changed configMap reaches the files" eventually 20 \
        bash -c "nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig exec volumes -- cat /settings/colour | grep -q red"
    like "the environment of the kubernetes service" '^10\.43\.0\.1' shell 'echo "$KUBERNETES_SERVICE_HOST"'
}

api_from_a_pod() {
    k create clusterrolebinding viewer --clusterrole=view --serviceaccount=default:default > /dev/null
    local files=/var/run/secrets/kubernetes.io/serviceaccount token
    token=$(shell "cat $files/token")
    shell "cat $files/ca.crt" > "$data/pod-ca.crt"
    like "a pod's token opens the API through the service, and its CA is right" '"ConfigMapList"' \
        inside curl -s --cacert "$data/pod-ca.crt" -H "Authorization: Bearer $token" \
        https://10.43.0.1/api/v1/namespaces/default/configmaps
    like "with the account's rights and no more" '"Forbidden"' \
        inside curl -s --cacert "$data/pod-ca.crt" -H "Authorization: Bearer $token" \
        https://10.43.0.1/api/v1/namespaces/default/secrets
}

failures() {
    k run crash --image=coracle.test/multi:1 --image-pull-policy=IfNotPresent --command -- /bin/multi exit 3 > /dev/null
    k run missing --image=coracle.test/no-such-image:9 --image-pull-policy=IfNotPresent > /dev/null
    k run never --image=coracle.test/no-such-image:9 --image-pull-policy=Never > /dev/null
    k run done --image=busybox --image-pull-policy=IfNotPresent --restart=Never -- sh -c 'echo finished' > /dev/null
    k run failed --image=busybox --image-pull-policy=IfNotPresent --restart=Never -- sh -c 'exit 5' > /dev/null
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: greedy }
spec:
  restartPolicy: Never
  containers:
  - { name: main, image: "coracle.test/multi:1", imagePullPolicy: IfNotPresent, command: [/bin/multi, memory, "200"], resources: { limits: { memory: 32Mi } } }
YAML
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: misconfigured }
spec:
  containers:
  - { name: main, image: busybox, imagePullPolicy: IfNotPresent, envFrom: [{ configMapRef: { name: absent } }] }
YAML
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: unschedulable }
spec:
  nodeSelector: { disk: golden }
  containers: [{ name: main, image: busybox }]
YAML
    ok "a container that dies again and again: CrashLoopBackOff" eventually 40 has_reason crash CrashLoopBackOff
    like "with its exit code" '^3' k get pod crash -o 'jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}'
    like "and the event" 'Back-off restarting failed container' k get events --field-selector involvedObject.name=crash
    ok "logs --previous" k logs crash --previous
    ok "an image that is nowhere: ImagePullBackOff" eventually 60 has_reason missing ImagePullBackOff
    ok "pull policy Never: ErrImageNeverPull" eventually 20 has_reason never ErrImageNeverPull
    ok "a pod that ends well: Completed" eventually 30 has_reason done Completed
    ok "its phase is Succeeded" eventually 30 phase_is done Succeeded
    like "its log stays" '^finished' k logs done
    ok "a pod that ends badly: Error" eventually 30 has_reason failed Error
    ok "its phase is Failed" eventually 30 phase_is failed Failed
    ok "too much memory: OOMKilled" eventually 30 has_reason greedy OOMKilled
    ok "a missing configMap: CreateContainerConfigError" eventually 30 has_reason misconfigured CreateContainerConfigError
    like "which says what is missing" 'configmap "absent" not found' \
        k get pod misconfigured -o 'jsonpath={.status.containerStatuses[0].state.waiting.message}'
    ok "and says so each time" eventually 30 failed_again misconfigured
    like "no node fits: FailedScheduling" "0/1 nodes are available: 1 node\\(s\\) didn't match Pod's node affinity/selector" \
        seen FailedScheduling : get events -w --field-selector involvedObject.name=unschedulable
    k label node node1 disk=golden > /dev/null
    ok "and it is scheduled once a node does" eventually 30 \
        bash -c "nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig get pod unschedulable -o 'jsonpath={.spec.nodeName}' | grep -q node1"
    k create configmap absent --from-literal=a=b > /dev/null
    ok "the missing configMap comes: the pod starts" eventually 90 phase_is misconfigured Running
    k delete pod crash missing never done failed greedy misconfigured unschedulable --grace-period=1 --wait=false > /dev/null
}

probes() {
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: probed, labels: { app: probed } }
spec:
  containers:
  - name: web
    image: coracle.test/multi:1
    imagePullPolicy: IfNotPresent
    ports: [{ containerPort: 8080 }]
    readinessProbe: { httpGet: { path: /healthz, port: 8080 }, periodSeconds: 1, failureThreshold: 1 }
YAML
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: sick }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "touch /tmp/ok; sleep 3; rm /tmp/ok; sleep 600"]
    livenessProbe: { exec: { command: [cat, /tmp/ok] }, periodSeconds: 1, failureThreshold: 1 }
YAML
    k expose pod probed --port=80 --target-port=8080 > /dev/null
    ok "a readiness probe makes a pod Ready" ready probed
    local ip
    ip=$(k get pod probed -o 'jsonpath={.status.podIP}')
    inside curl -s "http://$ip:8080/fail" > /dev/null
    ok "a failing one takes it away" k wait --for=condition=Ready=false pod/probed --timeout=60s
    ok "and out of the service" eventually 30 \
        bash -c "nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig get endpoints probed -o 'jsonpath={.subsets[*].notReadyAddresses[*].ip}' | grep -q $ip"
    inside curl -s "http://$ip:8080/heal" > /dev/null
    ok "and back" ready probed
    ok "a failing liveness probe restarts the container" eventually 30 bash -c "
        [ \$(nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig get pod sick -o 'jsonpath={.status.containerStatuses[0].restartCount}') -ge 1 ]"
    like "with its event" 'Container web failed liveness probe, will be restarted' k get events --field-selector involvedObject.name=sick
    k delete pod probed sick service/probed --grace-period=1 --wait=false > /dev/null 2>&1
    k delete service probed > /dev/null
}

endings() {
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: polite }
spec:
  terminationGracePeriodSeconds: 20
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "trap 'echo asked to stop >> /out/log; exit 0' TERM; while :; do sleep 0.1; done"]
    lifecycle: { preStop: { exec: { command: [sh, -c, "echo hook >> /out/log"] } } }
    volumeMounts: [{ name: out, mountPath: /out }]
  volumes: [{ name: out, hostPath: { path: /tmp/coracle-polite, type: DirectoryOrCreate } }]
YAML
    rm -f /tmp/coracle-polite/log
    ok "a pod that wants to say goodbye" ready polite
    ok "is deleted" k delete pod polite --timeout=90s
    like "after its hook and SIGTERM" '^hook\nasked to stop' cat /tmp/coracle-polite/log
    rm -rf /tmp/coracle-polite
    k run stubborn --image=coracle.test/multi:1 --image-pull-policy=IfNotPresent --command -- /bin/multi stubborn > /dev/null
    ready stubborn
    pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: hasty }
spec:
  activeDeadlineSeconds: 3
  terminationGracePeriodSeconds: 1
  containers: [{ name: main, image: "coracle.test/multi:1", imagePullPolicy: IfNotPresent }]
YAML
    ok "one over its deadline is ended" eventually 60 phase_is hasty Failed
    like "and says why" '^DeadlineExceeded' k get pod hasty -o 'jsonpath={.status.reason}'
    k delete pod hasty --wait=false > /dev/null
    ok "one that ignores SIGTERM is killed after its grace" k delete pod stubborn --grace-period=2 --timeout=25s
}

static_pods() {
    cat > "$data/agent/pod-manifests/fixed.yaml" << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: fixed, namespace: kube-system }
spec:
  terminationGracePeriodSeconds: 1
  containers: [{ name: main, image: "coracle.test/multi:1", imagePullPolicy: IfNotPresent }]
YAML
    ok "a file in the manifest folder becomes a pod" eventually 20 bash -c "
        nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig -n kube-system get pod fixed-node1 | grep -q Running"
    rm "$data/agent/pod-manifests/fixed.yaml"
    ok "and goes with the file" eventually 20 bash -c "
        ! nsenter --net=/run/netns/$node $KUBECTL --kubeconfig $data/kubeconfig -n kube-system get pod fixed-node1 2>/dev/null | grep -q ."
}

node_up pods
volumes
api_from_a_pod
failures
probes
endings
static_pods
