#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# registry_test.sh - images from a registry: mirrors of registries.yaml, pull policies.
. "$(dirname "$0")/lib.sh"

# push ARCHIVE NAME TAG: an OCI archive by plain PUTs.
push() {
    local dir=$data/push-$2 registry=http://127.0.0.1:5000/v2/$2 place blob digest manifest
    mkdir -p "$dir"
    tar -C "$dir" -xf "$1"
    manifest=$(jq -r '.manifests[0].digest' "$dir/index.json")
    for blob in "$dir"/blobs/sha256/*; do
        digest=sha256:${blob##*/}
        [ "$digest" != "$manifest" ] || continue
        place=$(inside curl -sS -D - -o /dev/null -X POST "$registry/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
        inside curl -sSf -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$blob" "$place&digest=$digest" || return 1
    done
    inside curl -sSf -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' \
        --data-binary "@$dir/blobs/sha256/${manifest#sha256:}" "$registry/manifests/$3"
}

registry_start() {
    cat > "$data/registry.yaml" << YAML
version: 0.1
storage: { filesystem: { rootdirectory: $data/registry } }
http: { addr: "127.0.0.1:5000" }
YAML
    nsenter --net="/run/netns/$node" docker-registry serve "$data/registry.yaml" > "$data/registry.log" 2>&1 3>&- &
    registry_pid=$!
    eventually 30 inside curl -sf http://127.0.0.1:5000/v2/ > /dev/null
}

pod() { # NAME IMAGE POLICY
    k apply -f - > /dev/null << YAML
apiVersion: v1
kind: Pod
metadata: { name: $1 }
spec: { terminationGracePeriodSeconds: 1, containers: [{ name: main, image: "$2", imagePullPolicy: $3 }] }
YAML
}
ready() { k wait --for=condition=Ready "pod/$1" --timeout=40s; }
waits_for() { k get pod "$1" -o 'jsonpath={.status.containerStatuses[0].state.waiting.reason}'; }
has_reason() { [[ "$(waits_for "$1")" =~ ^($2)$ ]]; }
events() { k get events --field-selector "involvedObject.name=$1" -o 'jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}'; }

pulls() {
    pod always mirror.test/multi:1 Always
    ok "an image comes from a mirror" ready always
    like "the pull is told in an event" '^Pulled: Successfully pulled image "mirror.test/multi:1" in ' events always
    pod absent mirror.test/multi:1 IfNotPresent
    ok "IfNotPresent runs what is there" ready absent
    like "IfNotPresent does not pull again" '^Pulled: Container image "mirror.test/multi:1" already present on machine' events absent
    pod never mirror.test/multi:2 Never
    ok "Never does not pull" eventually 20 has_reason never ErrImageNeverPull
    pod missing 127.0.0.1:5000/none:1 IfNotPresent
    ok "an image that is not there" eventually 30 has_reason missing 'ErrImagePull|ImagePullBackOff'
    like "what the registry said" '^Failed: Failed to pull image "127.0.0.1:5000/none:1": .*not found' events missing

    kill "$registry_pid"
    wait "$registry_pid" 2> /dev/null
    pod away mirror.test/multi:1 Always
    ok "Always asks the registry each time" eventually 30 has_reason away 'ErrImagePull|ImagePullBackOff'
    registry_start
    ok "a pull is tried again until the registry is back" ready away
}

if ! command -v docker-registry jq > /dev/null; then
    skip "images from a registry" "no docker-registry"
    say "1..1"
    exit 0
fi
settings=$(mktemp)
printf 'mirrors:\n  mirror.test:\n    endpoint: ["http://127.0.0.1:5000"]\nconfigs:\n  "mirror.test":\n    auth: { username: one, password: "a \\"b\\"" }\n' > "$settings"
node_up registry --private-registry "$settings"
rm -f "$settings"
registry_start
ok "the test images are pushed" eval 'push "$images/multi-1.tar" multi 1 && push "$images/multi-2.tar" multi 2'
pulls
