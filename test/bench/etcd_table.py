#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a table of what etcd_bench printed in several rounds: medians, and how they compare."""
import statistics
import sys

figures = {}  # row -> server -> list of [rate, p50, p99, server's CPU, client's CPU]
for line in sys.stdin:
    row, server, *numbers = line.rstrip("\n").split("\t")
    figures.setdefault(row, {}).setdefault(server, []).append([float(n) for n in numbers])


def medians(rounds):
    return [statistics.median(column) for column in zip(*rounds)]


for row, servers in [(row, servers) for row, servers in figures.items() if "disk" in servers]:
    print(f"{row}: {medians(servers['disk'])[0]:.0f} /s")
    del figures[row]
names = sorted({name for servers in figures.values() for name in servers}, key=["etcd", "ours", "other"].index)
heads = "".join(f"{'/s':>10} {'p50 us':>7} {'p99 us':>7} {'CPU us':>7} {'client':>7}  " for _ in names)
print(f"{'':27} " + "".join(f"{name:>40}    " for name in names))
print(f"{'':27} {heads}{'times etcd':>11} {'CPU':>5}")
for row, servers in figures.items():
    median = {name: medians(servers[name]) for name in names}
    cells = ""
    for rate, p50, p99, cpu, client in median.values():
        cells += f"{rate:10.0f} {p50:7.0f} {p99:7.0f} {cpu:7.1f} {client:7.1f}  "
    etcd, ours = median.get("etcd"), median.get("ours")
    ratio = f"{ours[0] / etcd[0]:11.2f}" if etcd and ours and etcd[0] else ""
    cpu = f" {ours[3] / etcd[3]:5.2f}" if ratio and etcd[3] else ""
    print(f"{row:27} {cells}{ratio}{cpu}")
