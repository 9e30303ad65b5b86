# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets of any size through each method, whether their sender lets them be fragmented or not."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from select import select

from pylvs.host import command, netns
from pylvs.lab.topology import Topology

from .conftest import EVERY_LAB, labs

PORT = 5000
PATIENCE = 20.0  # seconds, for what takes milliseconds
SIZES = (0, 100, 1452, 1472, 1480, 2000, 8000, 30_000)  # bytes; an MTU of 1500 takes 1472, one of IPIP's 1452
IP_MTU_DISCOVER, NEVER, ALWAYS = 10, 0, 1  # linux/in.h: IP_PMTUDISC_DONT, IP_PMTUDISC_WANT


def sockets(stack: ExitStack, lab: Topology) -> list[socket.socket]:
    """One on each real server, which answers as the VIP where it has that."""
    made, address = [], "" if lab.replies_pass_director else str(lab.vip)
    for machine in lab.servers:
        with netns.inside(lab.namespace(machine.name)):
            made.append(stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
        made[-1].bind((address, PORT))
    return made


@contextmanager
def served(lab: Topology) -> Iterator[None]:
    """What the lab balances by TCP, by UDP at our port too."""
    pylvsadm = [sys.executable, "-m", "pylvs.ipvsadm"]
    with netns.inside(lab.namespace(lab.director.name)):
        table = command.run([*pylvsadm, "-S", "-n"])
        table = table.replace(" -t ", " -u ").replace(f":{lab.port} ", f":{PORT} ")
        command.run([*pylvsadm, "-R"], table)
    yield
    with netns.inside(lab.namespace(lab.director.name)):
        command.run([*pylvsadm, "-D", "-u", f"{lab.vip}:{PORT}"])


@labs(*EVERY_LAB)
def test_datagrams_of_any_size_are_answered(shared_lab: Topology) -> None:
    """At once if they may be fragmented; else at the latest when their sender was told the MTU, and has sent again."""
    with served(shared_lab):
        for discover, tries in ((NEVER, 1), (ALWAYS, 2)):
            check_sizes(shared_lab, discover, tries)


def check_sizes(lab: Topology, discover: int, tries: int) -> None:
    with ExitStack() as stack:
        servers = sockets(stack, lab)
        for size in SIZES:
            with netns.inside(lab.namespace("client")):
                client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)
            client.connect((str(lab.vip), PORT))
            assert answered(client, servers, size, tries) == size, f"discover {discover}"


def answered(client: socket.socket, servers: list[socket.socket], size: int, tries: int) -> int | None:
    """How many bytes came to a real server, as its answer says, which comes from the VIP."""
    for _ in range(tries):
        with suppress(OSError):  # the sender is told, by the next that it does, that this did not fit
            client.send(bytes(size))
            while ready := select([client, *servers], [], [], PATIENCE)[0]:
                if client in ready:
                    return int(client.recv(64))
                for server in ready:
                    data, sender = server.recvfrom(65535)
                    server.sendto(b"%d" % len(data), sender)
    return None
