# SPDX-License-Identifier: Apache-2.0
# lib.sh - what the scripts in hack/ share: sourced, not run.

set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"

packages_build="gcc cmake ninja-build pkg-config ccache libh2o-evloop-dev libssl-dev libprotobuf-c-dev
  protobuf-c-compiler libyajl-dev libyaml-dev libnghttp2-dev libcurl4-openssl-dev liblmdb-dev libpcre2-dev
  zlib1g-dev libsodium-dev libcmocka-dev"
packages_node="containerd runc containernetworking-plugins iptables conntrack iproute2"
packages_test="busybox bash curl expect jq python3 python3-kubernetes python3-yaml etcd-server etcd-client
  python3-grpcio python3-protobuf protobuf-compiler python3-etcd3
  docker-registry prometheus clang clang-tidy clang-format cppcheck libclang-rt-14-dev nghttp2-client valgrind socat e2fsprogs"

# Installs the Debian packages of a list that are not there yet.
install_packages() {
    local missing=() package
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || { echo "run as root, or install: ${missing[*]}" >&2; exit 1; }
    command -v apt-get >/dev/null || { echo "no apt-get here; install what Debian calls: ${missing[*]}" >&2; exit 1; }
    echo "installing: ${missing[*]}" >&2
    # Nothing that is installed here may start a service: our own containerd is supervised by the program.
    local policy=/usr/sbin/policy-rc.d made= status=0
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod 755 $policy; made=1; }
    apt-get -qq update || echo "the lists of packages are not up to date: going on with what is there" >&2
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null || status=$?
    [ -z "$made" ] || rm -f $policy
    [ $status = 0 ] || { echo "cannot install: ${missing[*]}" >&2; exit 1; }
}

# build DIR TYPE [TARGET...]
build() {
    local dir=$1 type=$2
    shift 2
    [ -f "$dir/build.ninja" ] || cmake -G Ninja -S . -B "$dir" -DCMAKE_BUILD_TYPE="$type" >/dev/null
    ninja -C "$dir" --quiet "$@"
}
