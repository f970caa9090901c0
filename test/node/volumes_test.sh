#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# volumes_test.sh - what containers find in their volumes: modes, groups, what they may change, what is left behind.
. "$(dirname "$0")/lib.sh"

pod() { k apply -f - > /dev/null; }
ready() { k wait --for=condition=Ready "pod/$1" --timeout=90s > /dev/null; }
restarts_of() { k get pod "$1" -o 'jsonpath={.status.containerStatuses[0].restartCount}'; }
has_restarted() { [ "$(restarts_of "$1")" -gt "$2" ]; }
modes() { k exec "$1" -- sh -c "cd $2 && stat -c '%a %g' . ..data/ && stat -L -c '%a %g' $3"; }
has_event() { k get events --field-selector "involvedObject.name=$1,reason=$2" -o 'jsonpath={.items[*].message}' | grep -q -- "$3"; }
mounts_of() { grep -c -- "/pods/$1/" /proc/mounts; }
is_clean() { [ "$(mounts_of "$1")" = 0 ] && [ ! -e "$data/agent/kubelet/pods/$1" ]; }

node_up volumes
k create configmap settings --from-literal=colour=blue > /dev/null
k create secret generic keys --from-literal=token=hidden > /dev/null
mkdir -p "$data/host/kept" && echo kept > "$data/host/kept/file" && ln -s / "$data/host/way-out"

# As another user, with and without a group for the volumes.
mounts='{ name: settings, mountPath: /settings }, { name: keys, mountPath: /keys }, { name: work, mountPath: /work }, { name: memory, mountPath: /memory }'
volumes="[{ name: settings, configMap: { name: settings } }, { name: keys, secret: { secretName: keys, defaultMode: 0400 } },
    { name: work, emptyDir: {} }, { name: memory, emptyDir: { medium: Memory } }, { name: host, hostPath: { path: $data/host } }]"
for name in plain grouped; do
    group=
    [ $name = plain ] || group=', fsGroup: 2000'
    pod << YAML
apiVersion: v1
kind: Pod
metadata: { name: $name }
spec:
  terminationGracePeriodSeconds: 1
  securityContext: { runAsUser: 1000, runAsGroup: 3000$group }
  containers:
  - { name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, "3600"], volumeMounts: [$mounts,
        { name: work, mountPath: /part, subPath: deep/er }, { name: host, mountPath: /kept, subPath: kept }] }
  volumes: $volumes
YAML
done
ok "a pod without a group for its volumes" ready plain
like "a configMap's folder is open, its files are as asked for" '^777 0\n755 0\n644 0' modes plain /settings colour
like "a secret's folder is sticky as well" '^1777 0\n755 0\n400 0' modes plain /keys token
like "an emptyDir is open" '^777 0' k exec plain -- stat -c '%a %g' /work
like "one in memory is sticky" '^1777 0' k exec plain -- stat -c '%a %g' /memory
ok "and one with a group" ready grouped
like "the group reads a configMap" '^2777 2000\n2755 2000\n644 2000' modes grouped /settings colour
like "and a secret" '^3777 2000\n2755 2000\n440 2000' modes grouped /keys token
like "and writes an emptyDir" '^2777 2000' k exec grouped -- stat -c '%a %g' /work
like "one in memory, too" '^3777 2000' k exec grouped -- stat -c '%a %g' /memory
ok "a folder made for a subPath has the volume's mode" k exec plain -- touch /part/mine
like "under the volume's group, too" '^2777 2000' k exec grouped -- stat -c '%a %g' /part
like "and lies in the volume" 'mine' k exec plain -- ls /work/deep/er

# What we write is not for containers to change: root in one could otherwise tell us what to remove.
pod << YAML
apiVersion: v1
kind: Pod
metadata: { name: root }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, "3600"], volumeMounts: [$mounts,
        { name: settings, mountPath: /one, subPath: colour }] }
  volumes: $volumes
YAML
ok "a pod of root" ready root
for file in /settings/x /keys/x /var/run/secrets/kubernetes.io/serviceaccount/x; do
    like "even root cannot write to ${file%/x}" 'Read-only file system' k exec root -- touch $file
done
like "nor to a file of it by subPath" 'Read-only file system' k exec root -- sh -c 'echo x > /one'

pod << YAML
apiVersion: v1
kind: Pod
metadata: { name: escaping }
spec:
  containers:
  - { name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, "3600"], volumeMounts: [{ name: host, mountPath: /out, subPath: way-out/etc }] }
  volumes: $volumes
YAML
ok "a subPath that leaves its volume is refused" eventually 20 has_event escaping Failed 'failed to prepare subPath for volumeMount'

# An object that goes takes nothing away from those who have its files.
pod << 'YAML'
apiVersion: v1
kind: Pod
metadata: { name: steady }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, "cat /gone/a && sleep 2"], volumeMounts: [{ name: gone, mountPath: /gone }] }
  volumes: [{ name: gone, configMap: { name: gone } }]
YAML
ok "a pod waits for its configMap" eventually 20 has_event steady FailedMount 'configmap "gone" not found'
k create configmap gone --from-literal=a=files > /dev/null
ok "and runs once it is there" eventually 60 has_restarted steady 0
k delete configmap gone > /dev/null
before=$(restarts_of steady)
ok "its container is started again without the configMap" eventually 90 has_restarted steady "$before"
says() { k logs "$1" | grep -q "$2"; }
ok "from the files there were" eventually 20 says steady files

# Nothing is left, and nothing of the host's is taken.
uid=$(k get pod plain -o 'jsonpath={.metadata.uid}')
like "a pod that mounts" '[1-9]' mounts_of "$uid"
ok "is deleted" k delete pod plain --timeout=90s
ok "with its mounts and its folder" eventually 20 is_clean "$uid"
like "not with what it mounted of the host" '^kept' cat "$data/host/kept/file"

# A folder of a pod that neither the API nor the runtime knows any more.
left=$data/agent/kubelet/pods/left-behind/volumes/kubernetes.io~secret/keys
server_stop
mkdir -p "$left" && mount -t tmpfs tmpfs "$left" && echo hidden > "$left/token"
mkdir -p "$data/agent/kubelet/pods/left-behind/volume-subpaths/host/main/0"
mount --bind "$data/host" "$data/agent/kubelet/pods/left-behind/volume-subpaths/host/main/0"
server_start
ok "a folder without a pod is removed at the next start" eventually 60 is_clean left-behind
like "without what was mounted there" '^kept' cat "$data/host/kept/file"
