#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# full_disk_test.sh - the disk of the kubelet and its runtime is full: what runs goes on, what cannot start says
# why, and all goes on without a restart once there is room.
. "$(dirname "$0")/lib.sh"

containers_of() { k get pod "$1" -o 'jsonpath={.status.containerStatuses[*].containerID} {.status.containerStatuses[*].restartCount}'; }
count_of() { k get events --field-selector "involvedObject.name=$1,reason=$2" -o 'jsonpath={.items[*].count}'; }
told_again() { [[ "$(count_of "$1" "$2")" =~ ^([2-9]|[0-9][0-9]+)$ ]]; }

node_make full
mount -t tmpfs -o size=400m tmpfs "$data/agent"
mkdir -p "$data/agent/images"
cp "$images"/busybox.tar "$data/agent/images/"
server_start
ok "a node on a small disk is Ready" eventually 60 node_is_ready
k create configmap settings --from-literal=colour=blue > /dev/null
k run steady --image=busybox --image-pull-policy=IfNotPresent -- sleep 3600 > /dev/null
ok "a pod runs on it" k wait --for=condition=Ready pod/steady --timeout=60s
before=$(containers_of steady)

dd if=/dev/zero of="$data/agent/filler" bs=1M 2> /dev/null
k run later --image=busybox --image-pull-policy=IfNotPresent -- sleep 3600 > /dev/null
k run gone --image=busybox --image-pull-policy=IfNotPresent -- sleep 3600 > /dev/null
k apply -f - > /dev/null << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: mounting }
spec:
  containers: [{ name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, "3600"], volumeMounts: [{ name: settings, mountPath: /settings }] }]
  volumes: [{ name: settings, configMap: { name: settings } }]
YAML
ok "a pod that finds the disk full says so, in one event" eventually 60 told_again later FailedCreatePodSandBox
ok "and one that cannot have its volume" eventually 60 told_again mounting FailedMount
like "with the reason" 'MountVolume.SetUp failed for volume "settings" : write colour: No space left on device' \
    k get events --field-selector involvedObject.name=mounting,reason=FailedMount
ok "one of them is deleted" k delete pod gone --grace-period=1 --timeout=60s
ok "what ran runs on" [ "$before" = "$(containers_of steady)" ]

rm "$data/agent/filler"
ok "with room again, the others start" k wait --for=condition=Ready pod/later pod/mounting --timeout=120s
ok "and nothing was restarted" [ "$before" = "$(containers_of steady)" ]
