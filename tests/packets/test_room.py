# SPDX-License-Identifier: GPL-2.0-or-later
"""Where entries go when their sets fill up: each is found again, and the sets know what they sent on."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from pylvs.dataplane.kernel import skb_context
from pylvs.dataplane.mapped import MappedArray
from tests.packets.cast import CLIENT, VIP
from tests.packets.crowd import REALS, TARGET_MAC, configure, picks
from tests.packets.plane import TABLE_BITS, Plane
from tests.packets.quick import ACK, SYN, udp_frame

TABLE = 1 << TABLE_BITS


def sent_on(plane: Plane) -> int:
    """What all sets together count of entries that had to go on to another one."""
    with MappedArray(plane.instance.map("due")) as due:
        return sum(overflow for _, overflow in struct.iter_unpack("<II", due.memory))


def serve(plane: Plane) -> None:
    configure(plane, [(real, 1) for real in REALS])


@pytest.mark.parametrize(("full", "without"), [(0.5, 0.001), (0.7, 0.01), (0.8, 0.03)])
def test_a_table_can_be_filled(plane: Plane, full: float, without: float) -> None:
    """Only few find no place as long as some are free, rr has its order, and all are found again."""
    serve(plane)
    clients = int(TABLE * full)
    servers = picks(plane, clients, SYN)
    assert plane.outcomes()["FORWARD_STATELESS"] <= without * clients + 1
    assert picks(plane, clients, ACK) == servers
    turns = sum(a == b for a, b in pairwise(servers))
    assert turns <= 2 * plane.outcomes()["FORWARD_STATELESS"]
    assert sent_on(plane) > 0


def test_what_goes_is_no_longer_counted(plane: Plane) -> None:
    """However far it had gone on, by expiry or with its destination."""
    serve(plane)
    picks(plane, TABLE // 2, SYN)
    plane.age(1000)
    plane.wait_for_the_sweep()
    assert sent_on(plane) == 0
    picks(plane, TABLE // 2, SYN)
    assert sent_on(plane) > 0


def test_one_client_of_many_persistent_services(plane: Plane) -> None:
    """Its templates have one home: those that it has no room for are found elsewhere."""
    context, ports = skb_context(plane.index["eth0"]), range(1, 31)
    for port in ports:
        plane.adm(f"-A -u {VIP}:{port} -s rr -p 300")
        for real in ("10.0.0.21", "10.0.0.22"):
            plane.adm(f"-a -u {VIP}:{port} -r {real} -g")
    run, servers = plane.programs["tc"].test_run, set()
    for client_port in range(20000, 20006):
        servers |= {run(udp_frame(CLIENT.ip, client_port, VIP, port), context).data[TARGET_MAC] for port in ports}
    assert len(servers) == 1  # rr would go on
    templates = [row for row in plane.connections() if f" {CLIENT.ip}:0 " in row]
    assert len(templates) == len(ports)
    assert sent_on(plane) > 0
