# SPDX-License-Identifier: GPL-2.0-or-later
"""ICMP errors about balanced packets reach whoever sent them, under the addresses that he knows."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6PacketTooBig
from scapy.packet import Raw

from tests.packets import cast
from tests.packets.cast import (
    BACK,
    BACK_1,
    CLIENT,
    ICMP,
    NAT_VIP,
    NAT_VIP6,
    REAL_1,
    SECOND,
    TUN_VIP,
    VIP,
    Host,
    Packet,
    sent_by,
    sent_to,
)
from tests.packets.plane import HOOKS, Plane
from tests.packets.rows import TO_TC, Row, Step, aged, each, ip, payload, play, play_step, tcp, udp
from tests.packets.test_nat import FULL, inward, local_port, moved
from tests.packets.test_tun import ipip, outer

DR = ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1 -g")
NAT = ("-A -t NAT_VIP:80 -s rr", "-a -t NAT_VIP:80 -r BACK_1:8080 -m")
NAT_6 = ("-A -t NAT_VIP_6:80 -s rr", "-a -t NAT_VIP_6:80 -r BACK_1_6:8080 -m")
DNS = ("-A -u NAT_VIP:53 -s rr", "-a -u NAT_VIP:53 -r BACK_1:5353 -m")
FULL_6 = ("-A -t NAT_VIP_6:80 -s rr", "-a -t NAT_VIP_6:80 -r BACK_1_6:8080 --fullnat --local-address fd01::1")
TUN = ("-A -t TUN_VIP:80 -s rr", "-a -t TUN_VIP:80 -r BACK_1 -i")

SYN = tcp(20000, 80, "S")
ROUTER = SECOND  # on the client's way: its errors come from another address than the client's
TOO_BIG = ICMP(type=3, code=4, nexthopmtu=1400)
UNREACHABLE = ICMP(type=3, code=3)


def renamed(quoted: Packet, length: int, src: str = "", dst: str = "", sport: int = 0, dport: int = 0) -> bytes:
    """The first bytes of a quoted packet with another address and port; its transport checksum stays as it was."""
    whole = quoted.__class__(bytes(quoted))
    whole.src, whole.dst = src or whole.src, dst or whole.dst
    whole.payload.sport, whole.payload.dport = sport or whole.payload.sport, dport or whole.payload.dport
    if whole.version == 4:
        whole.chksum = None
    return bytes(whole)[:length]


def opened(transport: Packet = SYN) -> Step:
    return Step(
        sent_by(CLIENT, ip(CLIENT.ip, VIP) / transport),
        "FORWARD_DR",
        sent_to(REAL_1, aged(ip(CLIENT.ip, VIP)) / transport),
    )


def from_the_client(error: Packet, quoted: Packet, length: int = 548, router: Host = ROUTER) -> Packet:
    """An error about a reply, sent to the VIP that the reply came from."""
    return ip(router.ip, quoted.src, tos=0xC0) / error / Raw(bytes(quoted)[:length])


def nat_client_error(error: Packet, reply: Packet, rport: int, length: int = 548) -> Step:
    """NAT: the real server hears of its own packet."""
    renaming = renamed(reply, length, src=BACK_1.ip, sport=rport)
    return Step(
        sent_by(ROUTER, from_the_client(error, reply, length)),
        "FORWARD_ICMP",
        sent_to(BACK_1, ip(ROUTER.ip, BACK_1.ip, tos=0xC0, ttl=63) / error / Raw(renaming)),
        xdp=TO_TC,
    )


def nat_server_error(error: Packet, request: Packet, vport: int, sender: str = BACK_1.ip, length: int = 548) -> Step:
    """NAT: the client hears of its own packet, from the VIP."""
    renaming = renamed(request, length, dst=NAT_VIP, dport=vport)
    return Step(
        sent_by(BACK_1, ip(sender, CLIENT.ip, tos=0xC0) / error / Raw(bytes(request)[:length])),
        "FORWARD_ICMP",
        sent_to(CLIENT, ip(NAT_VIP, CLIENT.ip, tos=0xC0, ttl=63) / error / Raw(renaming)),
        xdp=TO_TC,
    )


def passed(host: Host, packet: Packet, **step: Any) -> Step:
    return Step(sent_by(host, packet), "PASS_NOT_OURS", **step)


REPLY = ip(VIP, CLIENT.ip) / tcp(80, 20000, "A", 100)
NAT_REPLY = ip(NAT_VIP, CLIENT.ip) / tcp(80, 20000, "A", 100)
NAT_REQUEST = ip(CLIENT.ip, BACK_1.ip, ttl=63) / moved(SYN, dport=8080)
DR_ERROR = from_the_client(TOO_BIG, REPLY)
TUN_ERROR = from_the_client(TOO_BIG, ip(TUN_VIP, CLIENT.ip) / tcp(80, 20000, "A", 100))

ROWS = [
    Row(
        "DR: 'fragmentation needed' about a reply goes to the real server that sent it",
        DR,
        [opened(), Step(sent_by(ROUTER, DR_ERROR), "FORWARD_ICMP", sent_to(REAL_1, aged(DR_ERROR)), xdp=TO_TC)],
        connections=["TCP SYN_RECV CLIENT:20000 VIP:80 REAL_1:80"],
    ),
    Row(
        "TUN: the same, within the tunnel",
        TUN,
        [
            ipip(ip(CLIENT.ip, TUN_VIP) / SYN),
            Step(
                sent_by(ROUTER, TUN_ERROR),
                "FORWARD_ICMP",
                sent_to(BACK_1, outer(proto=4, tos=0xC0) / Raw(bytes(aged(TUN_ERROR)))),
                xdp=TO_TC,
            ),
        ],
    ),
    Row("NAT: 'fragmentation needed' about a reply", NAT, [inward(SYN), nat_client_error(TOO_BIG, NAT_REPLY, 8080)]),
    Row(
        "NAT: an error that quotes eight bytes of the transport only",
        NAT,
        [inward(SYN), nat_client_error(TOO_BIG, NAT_REPLY, 8080, 28)],
    ),
    Row(
        "NAT: an error about a UDP reply",
        DNS,
        [
            inward(udp(20000, 53), rport=5353),
            nat_client_error(UNREACHABLE, ip(NAT_VIP, CLIENT.ip) / udp(53, 20000, 77), 5353),
        ],
    ),
    Row("NAT: the real server refuses", NAT, [inward(SYN), nat_server_error(UNREACHABLE, NAT_REQUEST, 80)]),
    Row(
        "NAT: a router behind the director has a smaller MTU",
        NAT,
        [inward(SYN), nat_server_error(TOO_BIG, NAT_REQUEST, 80, sender="10.1.0.99")],
    ),
    Row(
        "NAT: UDP, the real server refuses",
        DNS,
        [
            inward(udp(20000, 53), rport=5353),
            nat_server_error(UNREACHABLE, ip(CLIENT.ip, BACK_1.ip, ttl=63) / moved(udp(20000, 53), dport=5353), 53),
        ],
    ),
    Row(
        "NAT: an error that quotes eight bytes of the request only",
        NAT,
        [inward(SYN), nat_server_error(UNREACHABLE, NAT_REQUEST, 80, length=28)],
    ),
    Row(
        "a parameter problem is the host's, as in IPVS",
        DR,
        [opened(), passed(ROUTER, from_the_client(ICMP(type=12), REPLY))],
    ),
    Row("an error about no connection is the host's", DR, [passed(ROUTER, DR_ERROR)]),
    Row(
        "an error about another port is the host's",
        DR,
        [opened(), passed(ROUTER, from_the_client(TOO_BIG, ip(VIP, CLIENT.ip) / tcp(81, 20000)))],
    ),
    Row(
        "an error that quotes too little is the host's",
        DR,
        [opened(), passed(ROUTER, from_the_client(TOO_BIG, REPLY, 22))],
    ),
    Row(
        "an error about an echo is the host's",
        DR,
        [opened(), passed(ROUTER, from_the_client(UNREACHABLE, ip(VIP, CLIENT.ip, proto=1) / payload(20)))],
    ),
    Row(
        "an ICMP echo from behind NAT is the host's",
        NAT,
        [inward(SYN), passed(BACK_1, ip(BACK_1.ip, CLIENT.ip, proto=1) / Raw(bytes.fromhex("0800f7fd00010001")))],
    ),
    Row(
        "IPv6, NAT: 'packet too big' about a reply",
        NAT_6,
        [
            inward(SYN, vip=NAT_VIP6),
            Step(
                sent_by(
                    ROUTER,
                    ip(ROUTER.ip6, NAT_VIP6)
                    / ICMPv6PacketTooBig(mtu=1280)
                    / Raw(bytes(ip(NAT_VIP6, CLIENT.ip6) / tcp(80, 20000, "A", 100))),
                ),
                "FORWARD_ICMP",
                sent_to(
                    BACK_1,
                    ip(ROUTER.ip6, BACK_1.ip6, hlim=63)
                    / ICMPv6PacketTooBig(mtu=1280)
                    / Raw(
                        renamed(ip(NAT_VIP6, CLIENT.ip6) / tcp(80, 20000, "A", 100), 548, src=BACK_1.ip6, sport=8080)
                    ),
                ),
                xdp=TO_TC,
            ),
        ],
    ),
    Row(
        "IPv6, NAT: the real server refuses",
        NAT_6,
        [
            inward(SYN, vip=NAT_VIP6),
            Step(
                sent_by(
                    BACK_1,
                    ip(BACK_1.ip6, CLIENT.ip6)
                    / ICMPv6DestUnreach(code=4)
                    / Raw(bytes(ip(CLIENT.ip6, BACK_1.ip6) / moved(SYN, dport=8080))),
                ),
                "FORWARD_ICMP",
                sent_to(
                    CLIENT,
                    ip(NAT_VIP6, CLIENT.ip6, hlim=63)
                    / ICMPv6DestUnreach(code=4)
                    / Raw(renamed(ip(CLIENT.ip6, BACK_1.ip6) / moved(SYN, dport=8080), 548, dst=NAT_VIP6, dport=80)),
                ),
                xdp=TO_TC,
            ),
        ],
    ),
    Row(
        "IPv6: an echo to the VIP is the host's",
        NAT_6,
        [passed(CLIENT, ip(CLIENT.ip6, NAT_VIP6) / ICMPv6EchoRequest())],
    ),
]


@each(ROWS)
def test_icmp(plane: Plane, row: Row, hook: str) -> None:
    """Outer and quoted addresses agree with what the hearer sent, and every checksum is right."""
    play(plane, row, hook)


def full_client_error(reply: Packet, lport: int, ends: tuple[str, str, str], error: Packet) -> Step:
    """FULLNAT: an error about a reply comes to the real server from the director, as the request did."""
    router, real, local = ends
    renaming = renamed(reply, 548, src=real, dst=local, sport=8080, dport=lport)
    ttl = {"hlim": 63} if ":" in real else {"ttl": 63}
    return Step(
        sent_by(ROUTER, ip(router, reply.src) / error / Raw(bytes(reply))),
        "FORWARD_ICMP",
        sent_to(BACK_1, ip(local, real, **ttl) / error / Raw(renaming)),
        xdp=TO_TC,
    )


def full_server_error(request: Packet, sender: str, ends: tuple[str, str], error: Packet) -> Step:
    """FULLNAT: an error about a request comes to the client from the VIP, about what it sent there."""
    client, vip = ends
    renaming = renamed(request, 548, src=client, dst=vip, sport=20000, dport=80)
    ttl = {"hlim": 63} if ":" in client else {"ttl": 63}
    return Step(
        sent_by(BACK_1, ip(sender, request.src) / error / Raw(bytes(request))),
        "FORWARD_ICMP",
        sent_to(CLIENT, ip(vip, client, **ttl) / error / Raw(renaming)),
        xdp=TO_TC,
    )


def full_opened(plane: Plane, vip: str) -> int:
    """FULLNAT: a connection of CLIENT's, and the local port that it was given."""
    for line in FULL_6 if ":" in vip else FULL:
        plane.adm(line)
    client = CLIENT.ip6 if ":" in vip else CLIENT.ip
    assert plane.run("tc", bytes(sent_by(CLIENT, ip(client, vip) / SYN))).outcome == "FORWARD_FULLNAT"
    return local_port(plane)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_server_that_was_deleted_hears_of_errors_still(plane: Plane, hook: str) -> None:
    """What the client sends is dropped then; but what the server sends arrives, and how it fares it must know."""
    play(plane, Row("", NAT, [inward(SYN)]), hook)
    plane.adm(f"-d -t {NAT_VIP}:80 -r {BACK_1.ip}:8080")
    play_step(plane, Step(sent_by(CLIENT, ip(CLIENT.ip, NAT_VIP) / tcp(20000, 80, "A")), "DROP_DESTINATION_GONE"), "tc")
    play_step(plane, nat_client_error(TOO_BIG, NAT_REPLY, 8080), hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_an_error_opens_a_connection_if_it_may(plane: Plane, hook: str) -> None:
    """schedule_icmp: the flow that it speaks of, and its next packet, go where it went."""
    for line in ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_2 -g", "-a -t VIP:80 -r REAL_1 -g"):
        plane.adm(line)
    play_step(plane, passed(ROUTER, DR_ERROR), hook)
    plane.settings["schedule_icmp"] = 1
    play_step(plane, passed(ROUTER, from_the_client(TOO_BIG, REPLY, 22)), "tc")  # of what flow, it does not say
    arrives = sent_to(REAL_1, aged(DR_ERROR))
    play_step(plane, Step(sent_by(ROUTER, DR_ERROR), "FORWARD_ICMP", arrives, xdp=TO_TC), hook)
    assert plane.connections() == [cast.names("TCP NONE CLIENT:20000 VIP:80 REAL_1:80")]
    ack = ip(CLIENT.ip, VIP) / tcp(20000, 80, "A")
    play_step(plane, Step(sent_by(CLIENT, ack), "FORWARD_DR", sent_to(REAL_1, aged(ack))), hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_errors_of_fullnat(plane: Plane, hook: str) -> None:
    """Both ends of a connection hear about their own packets, from whom they sent them to; routers too may speak."""
    lport = full_opened(plane, NAT_VIP)
    reply, request = ip(NAT_VIP, CLIENT.ip) / tcp(80, 20000, "A", 100), ip(BACK.ip, BACK_1.ip) / tcp(lport, 8080)
    play_step(plane, full_client_error(reply, lport, (ROUTER.ip, BACK_1.ip, BACK.ip), TOO_BIG), hook)
    for sender in (BACK_1.ip, "10.1.0.99"):
        play_step(plane, full_server_error(request, sender, (CLIENT.ip, NAT_VIP), UNREACHABLE), hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_errors_of_fullnat_in_ipv6(plane: Plane, hook: str) -> None:
    """The same; here the checksum of an error is over its addresses too."""
    lport = full_opened(plane, NAT_VIP6)
    reply, request = ip(NAT_VIP6, CLIENT.ip6) / tcp(80, 20000, "A", 100), ip(BACK.ip6, BACK_1.ip6) / tcp(lport, 8080)
    too_big, unreachable = ICMPv6PacketTooBig(mtu=1280), ICMPv6DestUnreach(code=4)
    play_step(plane, full_client_error(reply, lport, (ROUTER.ip6, BACK_1.ip6, BACK.ip6), too_big), hook)
    play_step(plane, full_server_error(request, BACK_1.ip6, (CLIENT.ip6, NAT_VIP6), unreachable), hook)


def test_a_piece_of_an_error_is_about_nothing(plane: Plane) -> None:
    """It passes, also where the error before it was about a connection."""
    for line in NAT:
        plane.adm(line)
    plane.run("tc", bytes(sent_by(CLIENT, ip(CLIENT.ip, NAT_VIP) / SYN)))
    error = nat_server_error(UNREACHABLE, NAT_REQUEST, 80)
    play_step(plane, error, "tc")
    piece = ip(BACK_1.ip, CLIENT.ip, flags="MF") / UNREACHABLE / Raw(bytes(NAT_REQUEST))
    play_step(plane, Step(sent_by(BACK_1, piece), "PASS_NOT_OURS"), "tc")
