# SPDX-License-Identifier: GPL-2.0-or-later
"""What the director answers itself: ICMP errors from the VIP that quote the packet."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IPOption_RR
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded
from scapy.layers.sctp import SCTPChunkInit
from scapy.packet import Raw

from tests.packets.cast import (
    CLIENT,
    FRONT,
    ICMP,
    IP,
    JUMBO,
    NAT_VIP,
    REAL_1,
    SCTP,
    TUN_VIP,
    VIP,
    VIP6,
    Ether,
    Packet,
    sent_by,
    sent_to,
)
from tests.packets.plane import HOOKS, Plane
from tests.packets.rows import TO_TC, Row, Step, aged, each, ip, payload, play, tcp, udp
from tests.packets.test_nat import moved

NO_DESTINATION = ("-A -t VIP:80 -s rr",)
NO_DESTINATION_6 = ("-A -t VIP_6:80 -s rr",)
ONE = ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1 -g")
ONE_6 = ("-A -t VIP_6:80 -s rr", "-a -t VIP_6:80 -r REAL_1_6:80 -g")
NAT = ("-A -t NAT_VIP:80 -s rr", "-a -t NAT_VIP:80 -r BACK_1:8080 -m")
TUN = ("-A -t TUN_VIP:80 -s rr", "-a -t TUN_VIP:80 -r BACK_1 -i")
TUN_IN_6 = ("-A -t TUN_VIP:80 -s rr", "-a -t TUN_VIP:80 -r BACK_1_6:80 -i")
TUN_GRE = (TUN[0], f"{TUN[1]} --tun-type gre --tun-csum")
QUOTE = 548  # bytes of the packet that an error quotes at most (RFC 1812, 4.3.2.3: a packet of 576 bytes)
QUOTE_6 = QUOTE


def request(transport: Packet, vip: str = VIP, **fields: Any) -> Packet:
    return ip(CLIENT.ip, vip, **fields) / transport


def refused(packet: Packet, outcome: str, error: Packet, quoted: Packet | None = None, tos: int = 0xC0) -> Step:
    """XDP leaves it to TC. The error comes from the VIP to the client, by the way that the packet came."""
    quote = Raw(bytes(packet if quoted is None else quoted)[:QUOTE])
    answer = IP(src=packet.dst, dst=packet.src, ttl=64, tos=tos) / error / quote
    return Step(sent_by(CLIENT, packet), outcome, sent_to(CLIENT, answer), xdp=TO_TC, free=["id"])


def refused6(packet: Packet, outcome: str, error: Packet) -> Step:
    answer = ip(packet.dst, packet.src) / error / Raw(bytes(packet)[:QUOTE_6])
    return Step(sent_by(CLIENT, packet), outcome, sent_to(CLIENT, answer), xdp=TO_TC)


PORT_UNREACHABLE, TIME_EXCEEDED = ICMP(type=3, code=3), ICMP(type=11, code=0)
SYN = tcp(20000, 80, "S")
OPEN = Step(sent_by(CLIENT, request(SYN)), "FORWARD_DR", None)


def too_big(mtu: int) -> Packet:
    return ICMP(type=3, code=4, nexthopmtu=mtu)


def unreachable(packet: Packet, **fields: Any) -> Step:
    return refused(packet, "REFUSE_NO_DESTINATION", PORT_UNREACHABLE, **fields)


ROWS = [
    Row(
        "a destination that no route leads to: host unreachable",
        ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r NOWHERE -g"),
        [refused(request(SYN), "REFUSE_NO_ROUTE", ICMP(type=3, code=1))],
    ),
    Row(
        "a service without destinations",
        NO_DESTINATION,
        [unreachable(request(SYN))],
        connections=[],
        totals=(0, 0, 0, 0, 0),
    ),
    Row("every destination quiesced", (*ONE, "-e -t VIP:80 -r REAL_1 -g -w 0"), [unreachable(request(SYN))]),
    Row("UDP", ("-A -u VIP:53 -s rr",), [unreachable(request(udp(20000, 53)))]),
    Row("an odd number of bytes", ("-A -u VIP:53 -s rr",), [unreachable(request(udp(20000, 53, 33)))]),
    Row("an error quotes 548 bytes at most", ("-A -u VIP:53 -s rr",), [unreachable(request(udp(20000, 53, 1400)))]),
    Row("exactly 548 bytes", ("-A -u VIP:53 -s rr",), [unreachable(request(udp(20000, 53, 520)))]),
    Row(
        "the TOS of the packet is in that of the error, below the precedence of internetwork control",
        NO_DESTINATION,
        [unreachable(request(SYN, tos=0x10), tos=0xD0)],
    ),
    Row(
        "over the threshold",
        ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1 -g -x 1"),
        [
            Step(
                sent_by(CLIENT, request(SYN)),
                "FORWARD_DR",
                Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:21") / aged(request(SYN)),
            ),
            unreachable(request(tcp(20001, 80, "S"))),
        ],
    ),
    Row("DR: a TTL of 1", ONE, [refused(request(SYN, ttl=1), "REFUSE_TTL", TIME_EXCEEDED)]),
    Row("NAT: a TTL of 1", NAT, [refused(request(SYN, NAT_VIP, ttl=1), "REFUSE_TTL", TIME_EXCEEDED)]),
    Row("TUN: a TTL of 1", TUN, [refused(request(SYN, TUN_VIP, ttl=1), "REFUSE_TTL", TIME_EXCEEDED)]),
    Row(
        "DR: more than the destination's wire takes, with DF",
        ONE,
        [
            refused(
                request(tcp(20000, 80, "S", 1500)),
                "REFUSE_TOO_BIG",
                too_big(1500),
                aged(request(tcp(20000, 80, "S", 1500))),
            )
        ],
    ),
    Row(
        "IPIP: more than fits within, with DF",
        TUN,
        [
            refused(
                request(tcp(20000, 80, "S", 1441), TUN_VIP),
                "REFUSE_TOO_BIG",
                too_big(1480),
                aged(request(tcp(20000, 80, "S", 1441), TUN_VIP)),
            )
        ],
    ),
    Row(
        "IPIP in IPv6: more than fits within",
        TUN_IN_6,
        [
            refused(
                request(tcp(20000, 80, "S", 1421), TUN_VIP),
                "REFUSE_TOO_BIG",
                too_big(1460),
                aged(request(tcp(20000, 80, "S", 1421), TUN_VIP)),
            )
        ],
    ),
    Row(
        "GRE with a checksum: more than fits within",
        TUN_GRE,
        [
            refused(
                request(tcp(20000, 80, "S", 1433), TUN_VIP),
                "REFUSE_TOO_BIG",
                too_big(1472),
                aged(request(tcp(20000, 80, "S", 1433), TUN_VIP)),
            )
        ],
    ),
    Row(
        "IPv6: no destination",
        NO_DESTINATION_6,
        [refused6(ip(CLIENT.ip6, VIP6) / SYN, "REFUSE_NO_DESTINATION", ICMPv6DestUnreach(code=4))],
    ),
    Row(
        "IPv6: an odd number of bytes",
        ("-A -u VIP_6:53 -s rr",),
        [refused6(ip(CLIENT.ip6, VIP6) / udp(20000, 53, 33), "REFUSE_NO_DESTINATION", ICMPv6DestUnreach(code=4))],
    ),
    Row(
        "IPv6: a hop limit of 1",
        ONE_6,
        [refused6(ip(CLIENT.ip6, VIP6, hlim=1) / SYN, "REFUSE_TTL", ICMPv6TimeExceeded(code=0))],
    ),
    Row(
        "IPv6: too big",
        ONE_6,
        [
            Step(
                sent_by(CLIENT, ip(CLIENT.ip6, VIP6) / tcp(20000, 80, "S", 1500)),
                "REFUSE_TOO_BIG",
                sent_to(
                    CLIENT,
                    ip(VIP6, CLIENT.ip6)
                    / ICMPv6PacketTooBig(mtu=1500)
                    / Raw(bytes(aged(ip(CLIENT.ip6, VIP6) / tcp(20000, 80, "S", 1500)))[:QUOTE_6]),
                ),
                xdp=TO_TC,
            )
        ],
    ),
]


DR_ERROR = ip(VIP, CLIENT.ip) / tcp(80, 20000, "A", 30)
UDP_ONE = ("-A -u VIP:53 -s rr", "-a -u VIP:53 -r REAL_1 -g")
LONG = request(udp(20000, 53, 600), flags="MF")


def unanswered(packet: Packet) -> Step:
    return Step(sent_by(CLIENT, packet), "DROP_UNANSWERED", xdp=TO_TC)


ROWS += [
    Row(
        "an ICMP error at its last hop is not answered by another (RFC 1122, 3.2.2)",
        ONE,
        [
            Step(sent_by(CLIENT, request(SYN)), "FORWARD_DR", sent_to(REAL_1, aged(request(SYN)))),
            unanswered(request(ICMP(type=3, code=4, nexthopmtu=1400) / Raw(bytes(DR_ERROR)), ttl=1)),
        ],
    ),
    Row(
        "nor is a later fragment; a first one is",
        UDP_ONE,
        [
            Step(sent_by(CLIENT, LONG), "FORWARD_DR", sent_to(REAL_1, aged(LONG))),
            unanswered(request(payload(64), flags=0, frag=76, proto=17, ttl=1)),
            refused(request(udp(20000, 53, 600), flags="MF", ttl=1), "REFUSE_TTL", TIME_EXCEEDED),
        ],
    ),
]
BIG = udp(5353, 20000, 3000)
JUMBO_REAL = ("-A -u NAT_VIP:53 -s rr", "-a -u NAT_VIP:53 -r JUMBO:5353 -m")
ASKED = Step(
    sent_by(CLIENT, request(udp(20000, 53), NAT_VIP)),
    "FORWARD_NAT",
    sent_to(JUMBO, ip(CLIENT.ip, JUMBO.ip, ttl=63) / moved(udp(20000, 53), dport=5353)),
)


def refused_reply(packet: Packet) -> Step:
    """The real server hears of it under the client's address, which it wrote to."""
    error = IP(src=CLIENT.ip, dst=JUMBO.ip, ttl=64, tos=0xC0) / too_big(1500) / Raw(bytes(packet)[:QUOTE])
    return Step(sent_by(JUMBO, packet), "REFUSE_TOO_BIG", sent_to(JUMBO, error), xdp=TO_TC, free=["id"])


def too_big_for_dr(packet: Packet) -> Step:
    quoted = Raw(bytes(aged(packet))[:QUOTE])
    error = IP(src=VIP, dst=JUMBO.ip, ttl=64, tos=0xC0) / too_big(1500) / quoted
    return Step(sent_by(JUMBO, packet), "REFUSE_TOO_BIG", sent_to(JUMBO, error), xdp=TO_TC, free=["id"])


UNCUT = [
    ip(JUMBO.ip, VIP, flags=0, options=[IPOption_RR(length=7)]) / udp(20000, 53, 3000),
    ip(JUMBO.ip, VIP, flags=0) / SCTP(sport=20000, dport=80, chksum=0) / SCTPChunkInit() / payload(3000),
]
ROWS += [
    Row(
        "NAT: a reply larger than the client's wire takes, with DF",
        JUMBO_REAL,
        [ASKED, refused_reply(ip(JUMBO.ip, CLIENT.ip) / BIG)],
        totals=(1, 1, 0, 28 + 5, 0),
    ),
    Row(
        "without DF, but with options or of SCTP whose checksum is the card's: nobody cuts it",
        (*UDP_ONE, "-A --sctp-service VIP:80 -s rr", "-a --sctp-service VIP:80 -r REAL_1 -g"),
        [too_big_for_dr(packet) for packet in UNCUT],
    ),
]
MARTIANS = ["0.0.0.0", "127.0.0.1", "224.0.0.1", "239.255.255.255", "255.255.255.255"]
MARTIANS_6 = ["::", "::1", "ff02::1", "::ffff:10.0.0.10"]


@pytest.mark.parametrize("hook", HOOKS)
def test_sources_that_nobody_has(plane: Plane, hook: str) -> None:
    """They open no connection and are not answered: the host drops them, as the kernel does in front of IPVS."""
    for line in (*ONE, *ONE_6, "-A -t VIP:81 -s rr", "-A -t VIP_6:81 -s rr"):
        plane.adm(line)
    for source in (*MARTIANS, *MARTIANS_6):
        for port in (80, 81):
            frame = sent_by(CLIENT, ip(source, VIP6 if ":" in source else VIP) / tcp(20000, port, "S"))
            assert plane.run(hook, bytes(frame)).outcome == "PASS_MALFORMED", source
    assert plane.connections() == []


@each(ROWS)
def test_refusals(plane: Plane, row: Row, hook: str) -> None:
    """The error is right to the byte, but for the ID."""
    play(plane, row, hook)


def test_errors_are_limited(plane: Plane) -> None:
    """A flood of what is refused is answered so often and no oftener."""
    plane.settings["icmp_rate"] = 10
    plane.adm("-A -t VIP:80 -s rr")
    frame = bytes(sent_by(CLIENT, request(SYN)))
    outcomes = [plane.run("tc", frame).outcome for _ in range(60)]
    assert 10 <= outcomes.count("REFUSE_NO_DESTINATION") < 50
    assert outcomes.count("REFUSE_NO_DESTINATION") + outcomes.count("DROP_ICMP_LIMIT") == 60


@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_a_refused_packet_leaves_no_trace(plane: Plane, vip: str) -> None:
    """No connection, no count at the service."""
    name = "VIP_6" if ":" in vip else "VIP"
    plane.adm(f"-A -t {name}:80 -s rr")
    frame = sent_by(CLIENT, ip(CLIENT.ip6 if ":" in vip else CLIENT.ip, vip) / SYN)
    assert plane.run("tc", bytes(frame)).outcome == "REFUSE_NO_DESTINATION"
    assert plane.connections() == []
    assert plane.director.totals()[0].connections == 0


def _wait(plane: Plane, seconds: int) -> None:
    """Let every destination have been asked for, in vain, so much longer."""
    ticks = seconds * plane.settings["second"]
    for record, memory, base, values in plane._destinations():
        asked = int.from_bytes(values["own"][:4], "little") - ticks
        record.store(memory, base, "own", (asked & 0xFFFFFFFF).to_bytes(4, "little") + bytes(2))
        record.store(memory, base, "checked", (values["checked"] - ticks) & 0xFFFFFFFF)


def test_a_real_server_that_does_not_answer_arp_is_given_up_after_three_seconds(plane: Plane) -> None:
    """Until then the kernel asks for it; then one packet is answered with host unreachable, and it asks anew."""
    plane.adm("-A -t VIP:80 -s rr")
    plane.adm("-a -t VIP:80 -r NOBODY -g")
    frame = bytes(sent_by(CLIENT, request(SYN)))
    seen = [plane.run("tc", frame).outcome]
    for seconds in (2, 2, 0):
        _wait(plane, seconds)
        seen.append(plane.run("tc", frame).outcome)
    assert seen == ["FORWARD_DR", "FORWARD_DR", "REFUSE_NO_ROUTE", "FORWARD_DR"]


@pytest.mark.parametrize(
    ("table", "vip", "source"),
    [
        (("-A -t VIP:80 -s rr", "-a -t VIP:80 -r NOBODY -g"), VIP, FRONT.ip),
        (("-A -t NAT_VIP:80 -s rr", "-a -t NAT_VIP:80 -r NOBODY:8080 -m"), NAT_VIP, NAT_VIP),
        (("-A -t VIP_6:80 -s rr", "-a -t VIP_6:80 -r NOBODY_6:80 -g"), VIP6, VIP6),
    ],
)
def test_who_says_that_a_real_server_is_silent(plane: Plane, table: tuple[str, ...], vip: str, source: str) -> None:
    """The kernel: for DR the host itself, by IPv4; else the VIP."""
    for line in table:
        plane.adm(line)
    packet = ip(CLIENT.ip6 if ":" in vip else CLIENT.ip, vip) / SYN
    plane.run("tc", bytes(sent_by(CLIENT, packet)))
    _wait(plane, 4)
    error = Ether(plane.run("tc", bytes(sent_by(CLIENT, packet))).frame).payload
    assert (error.src, error.dst) == (source, packet.src)
    checked = error.copy()
    del checked.chksum
    assert bytes(checked) == bytes(error)
