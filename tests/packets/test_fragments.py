# SPDX-License-Identifier: GPL-2.0-or-later
"""Fragments: the first one decides, the others follow it."""

from __future__ import annotations

import time

from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.layers.sctp import SCTPChunkInit
from scapy.packet import Raw

from tests.packets.cast import (
    BACK_1,
    CLIENT,
    NAT_VIP,
    REAL_1,
    REAL_2,
    SCTP,
    TUN_VIP,
    VIP,
    VIP6,
    Host,
    Packet,
    sent_by,
    sent_to,
)
from tests.packets.plane import Plane
from tests.packets.rows import Row, Step, aged, each, ip, play, udp
from tests.packets.test_nat import moved
from tests.packets.test_tun import outer

DR = ("-A -u VIP:53 -s rr", "-a -u VIP:53 -r REAL_1 -g", "-a -u VIP:53 -r REAL_2 -g")
NAT = ("-A -u NAT_VIP:53 -s rr", "-a -u NAT_VIP:53 -r BACK_1:5353 -m")
TUN = ("-A -u TUN_VIP:53 -s rr", "-a -u TUN_VIP:53 -r BACK_1 -i")
DR_6 = ("-A -u VIP_6:53 -s rr", "-a -u VIP_6:53 -r REAL_1_6:53 -g", "-a -u VIP_6:53 -r REAL_2_6:53 -g")
PIECE = 800  # bytes, a multiple of 8


def pieces(packet: Packet, number: int = 9) -> list[Packet]:
    """An IPv4 packet cut into fragments of PIECE bytes."""
    data = bytes(packet.payload)
    fields = {"ttl": packet.ttl, "id": number, "proto": 17}
    return [
        ip(packet.src, packet.dst, flags="MF" if at + PIECE < len(data) else 0, frag=at // 8, **fields)
        / Raw(data[at : at + PIECE])
        for at in range(0, len(data), PIECE)
    ]


def pieces6(packet: Packet, number: int = 9) -> list[Packet]:
    data = bytes(packet.payload)
    return [
        ip(packet.src, packet.dst, hlim=packet.hlim)
        / IPv6ExtHdrFragment(nh=17, offset=at // 8, m=int(at + PIECE < len(data)), id=number)
        / Raw(data[at : at + PIECE])
        for at in range(0, len(data), PIECE)
    ]


def dr(fragment: Packet, real: Host = REAL_2) -> Step:
    return Step(sent_by(CLIENT, fragment), "FORWARD_DR", sent_to(real, aged(fragment)))


def lost(fragment: Packet) -> Step:
    return Step(sent_by(CLIENT, fragment), "DROP_FRAGMENT")


DATAGRAM = ip(CLIENT.ip, VIP) / udp(20000, 53, 2000)
CUT = pieces(DATAGRAM)
OTHER = pieces(ip(CLIENT.ip, VIP) / udp(20001, 53, 2000), 10)
CUT_6 = pieces6(ip(CLIENT.ip6, VIP6) / udp(20000, 53, 2000))
NAT_CUT = list(
    zip(
        pieces(ip(CLIENT.ip, NAT_VIP) / udp(20000, 53, 2000)),
        pieces(ip(CLIENT.ip, BACK_1.ip, ttl=63) / moved(udp(20000, 53, 2000), dport=5353)),
        strict=True,
    )
)
REPLY_CUT = list(
    zip(
        pieces(ip(BACK_1.ip, CLIENT.ip) / udp(5353, 20000, 2000)),
        pieces(ip(NAT_VIP, CLIENT.ip, ttl=63) / moved(udp(5353, 20000, 2000), sport=53)),
        strict=True,
    )
)
TUN_CUT = pieces(ip(CLIENT.ip, TUN_VIP) / udp(20000, 53, 2000))
NAT_IN = [Step(sent_by(CLIENT, sends), "FORWARD_NAT", sent_to(BACK_1, arrives)) for sends, arrives in NAT_CUT]
NAT_OUT = [Step(sent_by(BACK_1, sends), "FORWARD_NAT_REPLY", sent_to(CLIENT, arrives)) for sends, arrives in REPLY_CUT]

ROWS = [
    Row(
        "DR: all fragments go where the first one went",
        DR,
        [dr(piece) for piece in CUT],
        connections=["UDP UDP CLIENT:20000 VIP:53 REAL_2:53"],
        totals=(1, 3, 0, sum(len(piece) for piece in CUT), 0),
    ),
    Row(
        "two datagrams at the same time",
        DR,
        [step for one, two in zip(CUT, OTHER, strict=True) for step in (dr(one), dr(two, REAL_1))],
    ),
    Row(
        "a later fragment without its first has no ports, and is dropped",
        DR,
        [lost(CUT[1]), dr(CUT[0]), dr(CUT[1]), dr(CUT[2])],
    ),
    Row("later fragments in any order", DR, [dr(CUT[0]), dr(CUT[2]), dr(CUT[1])]),
    Row("the first fragment twice", DR, [dr(CUT[0]), dr(CUT[0]), dr(CUT[1])]),
    Row("another ID is another datagram", DR, [dr(CUT[0]), lost(OTHER[1])]),
    Row("NAT: ports and checksum in the first, addresses in all, both ways", NAT, [*NAT_IN, *NAT_OUT]),
    Row(
        "TUN: each fragment in a packet of its own",
        TUN,
        [
            Step(
                sent_by(CLIENT, piece),
                "FORWARD_TUN",
                sent_to(BACK_1, outer(proto=4, flags=0) / Raw(bytes(aged(piece)))),
                free=["id"],
            )
            for piece in TUN_CUT
        ],
    ),
    Row(
        "fragments of what is not ours pass",
        DR,
        [
            Step(sent_by(CLIENT, piece), "PASS_NOT_OURS")
            for piece in pieces(ip(CLIENT.ip, "10.0.0.104") / udp(20000, 53, 2000))
        ],
    ),
    Row("IPv6: all fragments go where the first one went", DR_6, [dr(piece) for piece in CUT_6]),
    Row("IPv6: a later fragment without its first is dropped", DR_6, [lost(CUT_6[1]), dr(CUT_6[0])]),
]


ONE_PACKET = ("-A -u VIP:53 -s rr -o", *DR[1:])
ONE_PACKET_NAT = ("-A -u NAT_VIP:53 -s rr -o", NAT[1])

ROWS += [
    Row(
        "one-packet scheduling: the fragments of a datagram stay together, the next one goes elsewhere",
        ONE_PACKET,
        [*(dr(piece) for piece in CUT), *(dr(piece, REAL_1) for piece in OTHER), dr(CUT[2])],
        connections=[],
        totals=(2, 7, 0, sum(map(len, [*CUT, *OTHER, CUT[2]])), 0),
    ),
    Row("one-packet scheduling by NAT: ports and checksum in the first, addresses in all", ONE_PACKET_NAT, NAT_IN),
]
SIGNALS = [f"{o} --sctp-service NAT_VIP:{p}" for p in (80, 81) for o in ("-A", "-a")]
INIT = SCTP(sport=20000, dport=80) / SCTPChunkInit() / Raw(bytes(1200))
INIT_81 = SCTP(sport=20000, dport=81) / SCTPChunkInit() / Raw(bytes(1200))


def first_piece(packet: Packet) -> Packet:
    return ip(packet.src, packet.dst, ttl=packet.ttl, flags="MF", proto=132) / Raw(bytes(packet.payload)[:PIECE])


ROWS += [
    Row(
        "NAT: SCTP's checksum is over all fragments: with another port the first cannot go, with the same it does",
        (
            f"{SIGNALS[0]} -s rr",
            f"{SIGNALS[1]} -r BACK_1:8080 -m",
            f"{SIGNALS[2]} -s rr",
            f"{SIGNALS[3]} -r BACK_1:81 -m",
        ),
        [
            lost(first_piece(ip(CLIENT.ip, NAT_VIP) / INIT)),
            Step(
                sent_by(CLIENT, first_piece(ip(CLIENT.ip, NAT_VIP) / INIT_81)),
                "FORWARD_NAT",
                sent_to(BACK_1, first_piece(ip(CLIENT.ip, BACK_1.ip, ttl=63) / INIT_81)),
            ),
        ],
    ),
]


@each(ROWS)
def test_fragments(plane: Plane, row: Row, hook: str) -> None:
    """The datagram arrives whole at one real server, or not at all."""
    play(plane, row, hook)


def test_memory_for_fragments_is_bounded(plane: Plane) -> None:
    """Firsts that are never completed: the newest are known, the map never grows beyond its size."""
    for line in DR:
        plane.adm(line)
    frames = [bytearray(bytes(sent_by(CLIENT, piece))) for piece in CUT[:2]]
    fragments = plane.instance.map("fragments")
    for number in range(20000):
        frames[0][18:20] = number.to_bytes(2, "big")
        plane.programs["tc"].test_run(bytes(frames[0]))
    assert len(list(fragments.keys())) <= fragments.info.max_entries
    frames[1][18:20] = (19999).to_bytes(2, "big")
    assert plane.run("tc", bytes(frames[1])).outcome == "FORWARD_DR"


def record(plane: Plane, slot: int) -> bytes:
    """The record in a slot, without its counters."""
    records = plane.director.memory.records
    memory, base = records.at(slot)
    return bytes(memory[base : base + records.record_size])


def test_a_late_fragment_does_not_follow_to_a_record_that_is_another_ones(plane: Plane) -> None:
    """The destination that the first one chose was deleted, and its record is a service's by now. The first fragment's
    choice is over before: nothing of the service is written."""
    for line in ONE_PACKET:
        plane.adm(line)
    first, *_, last = pieces(ip(CLIENT.ip, VIP) / udp(5000, 53, 2000))
    assert plane.run("tc", bytes(sent_by(CLIENT, first))).outcome == "FORWARD_DR"
    plane.adm("-D -u VIP:53")
    deleted, second = plane.tick(), plane.settings["second"]
    while plane.tick() - deleted <= 1.2 * second:
        time.sleep(0.05)
    for port in range(8080, 8084):
        plane.adm(f"-A -t VIP:{port} -s rr -p 60")
    before = [record(plane, slot) for slot in range(2, 6)]
    assert plane.run("tc", bytes(sent_by(CLIENT, last))).outcome in ("DROP_FRAGMENT", "PASS_NOT_OURS")
    assert [record(plane, slot) for slot in range(2, 6)] == before
    assert len(plane.listing()) == 4
