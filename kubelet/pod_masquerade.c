/* SPDX-License-Identifier: Apache-2.0 */
/* pod_masquerade.c - one iptables rule for all pods of the node. */
#include "kubelet/pod_masquerade.h"

#include "base/process.h"

#define IPTABLES_TIMEOUT_MS 10000

static int run(const char *command, const char *pod_cidr, struct error *err)
{
    const char *const argv[] = {
        "iptables",    "-w",         "5",
        "-t",          "nat",        command,
        "POSTROUTING", "-s",         pod_cidr,
        "!",           "-d",         pod_cidr,
        "-m",          "addrtype",   "!",
        "--dst-type",  "MULTICAST",  "-m",
        "comment",     "--comment",  "coracle: pods to the outside",
        "-j",          "MASQUERADE", NULL,
    };
    return process_run(argv, (struct bytes){ 0 }, NULL, IPTABLES_TIMEOUT_MS, err);
}

int pod_masquerade_ensure(const char *pod_cidr, struct error *err)
{
    struct error missing = { 0 };
    if (run("-C", pod_cidr, &missing) == 0)
        return 0;
    return run("-A", pod_cidr, err);
}
