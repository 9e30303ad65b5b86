# SPDX-License-Identifier: GPL-2.0-or-later
"""A flood of SYNs from spoofed addresses, many times what the table holds."""

from __future__ import annotations

import random
import struct

import pytest

from pylvs.dataplane.kernel import skb_context
from tests.packets.cast import CLIENT, NEIGHBOURS, TCP, VIP, sent_by
from tests.packets.plane import TABLE_BITS, Plane
from tests.packets.rows import ip

TABLE = 1 << TABLE_BITS
FLOOD = 12 * TABLE
SERVERS = {host.mac: host.ip for host in NEIGHBOURS["eth0"]}
SOURCE, SPORT = 26, 34  # offsets in the frame


def template(flags: str) -> bytearray:
    """A frame of the client's to the VIP, whose source is yet to be written."""
    return bytearray(bytes(sent_by(CLIENT, ip(CLIENT.ip, VIP) / TCP(sport=1, dport=80, flags=flags))))


class Clients:
    """Sends frames by the TC hook and says which real server each went to."""

    def __init__(self, plane: Plane) -> None:
        self.program, self.context = plane.programs["tc"], skb_context(plane.index["eth0"])
        self.frames = {flags: template(flags) for flags in ("S", "A")}

    def send(self, client: int, flags: str) -> str:
        """One packet of the client whose address and port this number makes; the server, '' if it was not sent."""
        frame = self.frames[flags]
        struct.pack_into("!I", frame, SOURCE, 0x0B000000 + (client >> 14))
        struct.pack_into("!H", frame, SPORT, 1024 + (client & 0x3FFF))
        done = self.program.test_run(bytes(frame), self.context)
        return SERVERS.get(done.data[:6].hex(":"), "") if done.retval == 7 else ""


@pytest.fixture
def clients(plane: Plane) -> Clients:
    """Three real servers behind wrr, and everybody who may come."""
    plane.adm("-A -t VIP:80 -s wrr")
    for number in (1, 2, 3):
        plane.adm(f"-a -t VIP:80 -r REAL_{number} -g -w {number}")
    return Clients(plane)


def flood(clients: Clients, number: int, seed: int) -> None:
    """So many SYNs of clients that nobody else is."""
    draw = random.Random(seed)
    for _ in range(number):
        assert clients.send(1 << 24 | draw.getrandbits(23), "S")


def test_established_connections_do_not_notice_a_flood(plane: Plane, clients: Clients) -> None:
    """Not one of them is evicted, and each packet goes to the real server that had the first."""
    had = {client: clients.send(client, "S") for client in range(200)}
    assert {clients.send(client, "A") for client in had} == set(SERVERS.values()) - {CLIENT.ip, "10.0.0.11"}
    flood(clients, FLOOD, 1)
    assert {client: clients.send(client, "A") for client in had} == had
    counts = plane.outcomes()
    assert counts["FORWARD_STATELESS"] > 0
    assert counts["FORWARD_DR"] + counts["FORWARD_STATELESS"] == 3 * len(had) + FLOOD


def test_new_clients_are_served_in_the_middle_of_a_flood(plane: Plane, clients: Clients) -> None:
    """A handshake, data and more of the flood in between: the same real server all the way, whether there was
    room for an entry or not."""
    flood(clients, FLOOD, 2)
    for client in range(300, 500):
        server = clients.send(client, "S")
        flood(clients, 40, client)
        assert server
        assert [clients.send(client, "A") for _ in range(3)] == [server] * 3
        flood(clients, 40, -client)
        assert clients.send(client, "A") == server


def test_weights_are_kept_in_a_flood(plane: Plane, clients: Clients) -> None:
    """The consistent hash that takes over spreads by weight."""
    flood(clients, FLOOD, 3)
    shares = {"10.0.0.21": 0, "10.0.0.22": 0, "10.0.0.23": 0}
    for client in range(6000):
        shares[clients.send(client, "S")] += 1
    assert [round(share / 1000) for share in shares.values()] == [1, 2, 3]
