# SPDX-License-Identifier: GPL-2.0-or-later
"""What is too big for its way, and may be cut: each piece arrives, and together they are what was sent."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.packet import Raw

from tests.packets import cast
from tests.packets.cast import (
    BACK,
    BACK_1,
    CLIENT,
    IP,
    JUMBO,
    NAT_VIP,
    REAL_1,
    REAL_2,
    TCP,
    TUN_VIP,
    UDP,
    VIP,
    Host,
    Packet,
    sent_by,
)
from tests.packets.quick import ones_sum
from tests.packets.rows import aged, tcp, udp
from tests.packets.wire import GSO_TCPV4, OWED, PLAIN, Offload, Wired, partial

MTU, HEADER, UNIT, ETHERNET = 1500, 20, 8, 14
LARGEST = (MTU - HEADER) // UNIT * UNIT
NUMBERS = iter(range(1, 1 << 16))


@dataclass(frozen=True)
class Way:
    """A table, and what a packet of JUMBO's, whose wire takes 9,000 bytes, becomes where 1,500 are taken."""

    table: tuple[str, ...]
    outcome: str
    source: str
    target: str
    dport: int
    to: Host


SERVICES = ("-A -t {0}:80 -s rr", "-A -u {0}:80 -s rr", "-a -t {0}:80 -r {1}", "-a -u {0}:80 -r {1}")


def table(vip: str, rest: str) -> tuple[str, ...]:
    return tuple(line.format(vip, rest) for line in SERVICES)


WAYS = {
    "DR": Way(table("VIP", "REAL_1 -g"), "FORWARD_DR", JUMBO.ip, VIP, 80, REAL_1),
    "NAT": Way(table("VIP", "BACK_1:8080 -m"), "FORWARD_NAT", JUMBO.ip, BACK_1.ip, 8080, BACK_1),
    "FULLNAT": Way(table("VIP", "BACK_1:8080 --fullnat --local-address BACK"), "FORWARD_FULLNAT", BACK.ip, BACK_1.ip,
                   8080, BACK_1),
}  # fmt: skip
KINDS = {"TCP": tcp, "UDP": udp}


def whole(source: str, target: str, transport: Packet, number: int, ttl: int = 64, **fields: object) -> Packet:
    return IP(bytes(IP(src=source, dst=target, id=number, ttl=ttl, **fields) / transport))


def pieces_at(wired: Wired, host: Host, left: int, protocols: tuple[int, ...] = (6, 17)) -> list[Packet]:
    """The IP packets that come to the host, until there are so many bytes behind their headers."""
    found: list[Packet] = []
    while left > 0:
        frame, offload = wired.wire.receive(cast.Ether(dst=host.mac))
        packet = IP(frame[ETHERNET : ETHERNET + int.from_bytes(frame[16:18], "big")])  # a short one is padded
        if packet.proto not in protocols:
            continue
        assert offload == PLAIN
        assert bytes(packet) == bytes(aged(packet, 0))
        found.append(packet)
        left -= packet.len - HEADER
    assert left == 0
    return found


def check_pieces(pieces: list[Packet], wanted: Packet) -> None:
    """They are `wanted` cut as the kernel cuts: each but the last as large as can be, in order."""
    at = wanted.frag * UNIT
    first = at
    for piece in pieces:
        last = piece is pieces[-1]
        assert (piece.frag * UNIT, bool(piece.flags.MF)) == (at, not last or bool(wanted.flags.MF))
        assert last or piece.len == HEADER + LARGEST
        at += piece.len - HEADER
    data = b"".join(bytes(piece.payload) for piece in pieces)
    assert at - first == wanted.len - HEADER
    assert data == bytes(wanted.payload)
    same = {bytes(piece)[:2] + bytes(piece)[4:6] + bytes(piece)[8:10] + bytes(piece)[12:20] for piece in pieces}
    raw = bytes(wanted)
    assert same == {raw[:2] + raw[4:6] + raw[8:10] + raw[12:20]}


@pytest.mark.parametrize("name", WAYS)
def test_the_pieces_are_the_packet(wired: Wired, name: str) -> None:
    """Any size, TCP and UDP, the checksum complete, left to the card, or none; counted as the one packet it was."""
    way = WAYS[name]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(1500, 8900), st.sampled_from(sorted(KINDS)), st.sampled_from(["complete", "owed", "none"]))
    def check(size: int, kind: str, checksum: str) -> None:
        wired.plane.wipe()
        for line in way.table:
            wired.plane.adm(line)
        number = next(NUMBERS)
        make = KINDS[kind]
        opens = ("S",) if kind == "TCP" else ()
        transport = make(20000, 80, *opens, 0) / Raw(random.Random(size).randbytes(size))
        sends = whole(JUMBO.ip, VIP, transport, number)
        moved = transport.copy()
        moved.dport = way.dport
        arrives = whole(way.source, way.target, moved, number, ttl=63)
        if kind == "UDP" and checksum == "none":
            sends[UDP].chksum = arrives[UDP].chksum = 0
        owed = checksum == "owed"
        wired.wire.send(bytes(sent_by(JUMBO, partial(sends) if owed else sends)), OWED if owed else PLAIN)
        pieces = pieces_at(wired, way.to, sends.len - HEADER)
        if name == "FULLNAT":
            del arrives[kind].chksum
            arrives[kind].sport = int.from_bytes(bytes(pieces[0].payload)[:2], "big")
            arrives = IP(bytes(arrives))
            if kind == "UDP" and checksum == "none":
                arrives[UDP].chksum = 0
        check_pieces(pieces, arrives)
        counts = wired.plane.outcomes()
        assert (counts["FORWARD_CUT"], counts[way.outcome]) == (1, len(pieces))
        total, _ = wired.plane.director.totals()
        assert (total.connections, total.in_packets, total.in_bytes) == (1, 1, sends.len)

    check()


def test_a_reply_is_cut(wired: Wired) -> None:
    """NAT, from a real server whose wire takes more than the client's."""
    for line in ("-A -u NAT_VIP:53 -s rr", "-a -u NAT_VIP:53 -r JUMBO:5353 -m"):
        wired.plane.adm(line)
    wired.plane.run("tc", bytes(sent_by(CLIENT, whole(CLIENT.ip, NAT_VIP, udp(20000, 53), 7))))
    reply = whole(JUMBO.ip, CLIENT.ip, udp(5353, 20000, 5000), 8)
    wired.wire.send(bytes(sent_by(JUMBO, partial(reply))), OWED)
    arrives = whole(NAT_VIP, CLIENT.ip, UDP(sport=53, dport=20000) / Raw(bytes(reply[UDP].payload)), 8, ttl=63)
    pieces = pieces_at(wired, CLIENT, reply.len - HEADER)
    check_pieces(pieces, arrives)
    total, _ = wired.plane.director.totals()
    assert (total.out_packets, total.out_bytes) == (1, reply.len)
    counts = wired.plane.outcomes()
    assert (counts["FORWARD_CUT"], counts["FORWARD_NAT_REPLY"]) == (1, len(pieces))


@pytest.mark.parametrize("more", [True, False])
def test_a_piece_is_cut_anew(wired: Wired, more: bool) -> None:
    """A first fragment and a later one, each larger than the way takes."""
    for line in WAYS["NAT"].table:
        wired.plane.adm(line)
    data = bytes(udp(20000, 80, 12_000))
    cut = 6000
    for at, end in ((0, cut), (cut, 2 * cut)):
        fields = {"proto": 17, "frag": at // UNIT, "flags": "MF" if more or not at else 0}
        sends = whole(JUMBO.ip, VIP, Raw(data[at:end]), 9, **fields)
        wired.wire.send(bytes(sent_by(JUMBO, sends)))
        pieces = pieces_at(wired, BACK_1, sends.len - HEADER)
        arrives = whole(JUMBO.ip, BACK_1.ip, Raw(data[at:end]), 9, ttl=63, **fields)
        if not at:  # the port and the checksum
            arrives = whole(JUMBO.ip, BACK_1.ip, Raw(bytes(pieces[0].payload)[:8] + data[8:end]), 9, ttl=63, **fields)
            assert bytes(arrives.payload)[2:4] == (8080).to_bytes(2, "big")
        check_pieces(pieces, arrives)


def test_segments_become_smaller(wired: Wired) -> None:
    """Those that the kernel carries as one, and that would be too big each: nothing of them is a fragment."""
    for line in WAYS["DR"].table:
        wired.plane.adm(line)
    wired.plane.run("tc", bytes(sent_by(JUMBO, whole(JUMBO.ip, VIP, tcp(20000, 80, "S"), 7))), interface="eth2")
    sends = partial(whole(JUMBO.ip, VIP, tcp(20000, 80, "A", 60_000), 8))
    wired.wire.send(bytes(sent_by(JUMBO, sends)), Offload(GSO_TCPV4, 8960, owed=True))
    frame, left = wired.wire.receive(cast.Ether(dst=REAL_1.mac))
    assert left == Offload(GSO_TCPV4, MTU - HEADER - 20, owed=True)
    sends.ttl = 63
    del sends.chksum
    assert frame[ETHERNET:] == bytes(sends)
    assert sends[TCP].chksum


def test_a_datagram_without_a_connection_stays_together(wired: Wired) -> None:
    """One-packet scheduling chooses once for all the pieces, and counts once."""
    for line in ("-A -u VIP:80 -s rr -o", "-a -u VIP:80 -r REAL_1 -g", "-a -u VIP:80 -r REAL_2 -g"):
        wired.plane.adm(line)
    for number, host in ((7, REAL_2), (8, REAL_1), (9, REAL_2)):
        sends = whole(JUMBO.ip, VIP, udp(20000, 80, 5000), number)
        wired.wire.send(bytes(sent_by(JUMBO, sends)))
        check_pieces(pieces_at(wired, host, sends.len - HEADER), whole(JUMBO.ip, VIP, sends[UDP], number, ttl=63))
    total, _ = wired.plane.director.totals()
    assert (total.connections, total.in_packets, total.in_bytes) == (3, 3, 3 * sends.len)


TUNNELS = {"ipip": "", "gue": " --tun-type gue --tun-port 6080 --tun-csum", "gre": " --tun-type gre --tun-csum"}


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_a_tunnels_packet_is_cut_as_a_whole(wired: Wired, tunnel: str) -> None:
    """As IPVS does: together the pieces are one packet of the tunnel, which has the client's packet in it."""

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(1473, 8900), st.booleans())
    def check(size: int, owed: bool) -> None:
        wired.plane.wipe()
        wired.plane.adm("-A -u TUN_VIP:80 -s rr")
        wired.plane.adm(f"-a -u TUN_VIP:80 -r BACK_1 -i{TUNNELS[tunnel]}")
        sends = whole(JUMBO.ip, TUN_VIP, udp(20000, 80, 0) / Raw(random.Random(size).randbytes(size)), next(NUMBERS))
        wired.wire.send(bytes(sent_by(JUMBO, partial(sends) if owed else sends)), OWED if owed else PLAIN)
        head = {"ipip": 0, "gue": 12, "gre": 8}[tunnel]
        pieces = pieces_at(wired, BACK_1, sends.len + head, (4, 17, 47))
        data = b"".join(bytes(piece.payload) for piece in pieces)
        first = pieces[0]
        fields = {"proto": first.proto, "flags": 0, "frag": 0}
        check_pieces(pieces, whole(BACK.ip, BACK_1.ip, Raw(data), first.id, ttl=63, **fields))
        assert first.id
        assert data[head:] == bytes(aged(sends))
        if tunnel == "gre":
            assert ones_sum(data) == 0xFFFF
        if tunnel == "gue":
            ends = bytes(first)[12:20] + b"\0\x11" + len(data).to_bytes(2, "big")
            assert ones_sum(ends + data) == 0xFFFF
        counts = wired.plane.outcomes()
        assert (counts["FORWARD_CUT"], counts["FORWARD_TUN"]) == (1, len(pieces))
        total, _ = wired.plane.director.totals()
        assert (total.connections, total.in_packets, total.in_bytes) == (1, 1, sends.len)

    check()


def test_a_piece_of_a_tunnels_packet_goes_where_it_was_to_only(wired: Wired) -> None:
    """What only looks like one is nobody's."""
    wired.plane.adm("-A -u TUN_VIP:80 -s rr")
    wired.plane.adm("-a -u TUN_VIP:80 -r BACK_1 -i")
    lone = whole(BACK.ip, BACK_1.ip, Raw(bytes(800)), 77, proto=4, flags="MF")
    result = wired.plane.run("tc", bytes(sent_by(CLIENT, lone)))
    assert (result.verdict, result.outcome) == ("PASS", "PASS_NOT_OURS")
