# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that are told theirs; as a program it prints one."""
import random
import socket


def free_port():
    """Not one that the kernel gives to clients: somebody might get it before it is used, or over a restart."""
    while True:
        port = random.randrange(10000, 30000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


if __name__ == "__main__":
    print(free_port())
