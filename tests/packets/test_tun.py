# SPDX-License-Identifier: GPL-2.0-or-later
"""Tunnelling: the packet whole inside another one, by IPIP, GUE and GRE, from either family into either."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from tests.packets.cast import (
    BACK,
    BACK_1,
    CLIENT,
    FRONT,
    NOBODY,
    REAL_1,
    SECOND,
    TCP,
    TUN_VIP,
    TUN_VIP6,
    UDP,
    Ether,
    Packet,
    sent_by,
    sent_to,
)
from tests.packets.plane import HOOKS, Plane
from tests.packets.rows import Row, Step, aged, each, ip, payload, play, tcp, udp

ONE = ("-A -t TUN_VIP:80 -s rr", "-a -t TUN_VIP:80 -r BACK_1 -i")
ONE_6 = ("-A -t TUN_VIP_6:80 -s rr", "-a -t TUN_VIP_6:80 -r BACK_1_6:80 -i")
V4_IN_V6 = ("-A -t TUN_VIP:80 -s rr", "-a -t TUN_VIP:80 -r BACK_1_6:80 -i")
V6_IN_V4 = ("-A -t TUN_VIP_6:80 -s rr", "-a -t TUN_VIP_6:80 -r BACK_1:80 -i")
DNS = ("-A -u TUN_VIP:53 -s rr", "-a -u TUN_VIP:53 -r BACK_1 -i")
GUE = (ONE[0], f"{ONE[1]} --tun-type gue --tun-port 6080")
GUE_SUM = (ONE[0], f"{ONE[1]} --tun-type gue --tun-port 6080 --tun-csum")
GUE_REMOTE_SUM = (ONE[0], f"{ONE[1]} --tun-type gue --tun-port 6080 --tun-remcsum")
GUE_6_SUM = (ONE_6[0], f"{ONE_6[1]} --tun-type gue --tun-port 6080 --tun-csum")
GUE_6 = (ONE_6[0], f"{ONE_6[1]} --tun-type gue --tun-port 6080")
GUE_4_IN_6_SUM = (V4_IN_V6[0], f"{V4_IN_V6[1]} --tun-type gue --tun-port 6080 --tun-csum")
GRE_PLAIN = (ONE[0], f"{ONE[1]} --tun-type gre")
GRE_SUM = (ONE[0], f"{ONE[1]} --tun-type gre --tun-csum")
GRE_6_SUM = (ONE_6[0], f"{ONE_6[1]} --tun-type gre --tun-csum")
GRE_6_IN_4 = (V6_IN_V4[0], f"{V6_IN_V4[1]} --tun-type gre")
DNS_GUE_SUM = (DNS[0], f"{DNS[1]} --tun-type gue --tun-port 6080 --tun-csum")

IPV4_INSIDE, IPV6_INSIDE = 4, 41  # IP protocol numbers
GRE_PROTOCOL = {4: 0x0800, 41: 0x86DD}


def request(transport: Packet, **fields: Any) -> Packet:
    return ip(CLIENT.ip, TUN_VIP, **fields) / transport


def request6(transport: Packet, **fields: Any) -> Packet:
    return ip(CLIENT.ip6, TUN_VIP6, **fields) / transport


def outer(**fields: Any) -> Packet:
    """The outer IPv4 header round a packet with DF: no ID (RFC 6864)."""
    return ip(BACK.ip, BACK_1.ip, **{"id": 0, "ttl": 63} | fields)


def outer6(**fields: Any) -> Packet:
    return ip(BACK.ip6, BACK_1.ip6, **{"hlim": 63} | fields)


def wrapped(
    packet: Packet, outside: Packet, between: Packet | None = None, becomes: Packet | None = None, **step: Any
) -> Step:
    """The packet, one hop older, within `outside` (and a header in between); `becomes`: what it is changed to."""
    inside = Raw(bytes(aged(becomes or packet)))
    arrives = outside / between / inside if between is not None else outside / inside
    return Step(sent_by(CLIENT, packet), "FORWARD_TUN", sent_to(BACK_1, arrives), **step)


def ipip(packet: Packet, **fields: Any) -> Step:
    free = {"free": ["id"]} if "flags" in fields else {}
    return wrapped(packet, outer(proto=IPV4_INSIDE, **fields), **free)


def gue(inside: int, checksum: bool) -> Packet:
    """A UDP header and GUE's four bytes: version 0, no flags, the protocol inside."""
    summed = {} if checksum else {"chksum": 0}
    return UDP(sport=0, dport=6080, **summed) / Raw(bytes([0, inside, 0, 0]))


def gre(inside: int, checksum: bool) -> Packet:
    return GRE(proto=GRE_PROTOCOL[inside], chksum_present=int(checksum))


SYN = tcp(20000, 80, "S")
LARGE = tcp(20000, 80, "A", 1440)

ROWS = [
    Row(
        "IPIP: the packet whole, one hop older, within another from the director's own address",
        ONE,
        [ipip(request(SYN))],
        connections=["TCP SYN_RECV CLIENT:20000 TUN_VIP:80 BACK_1:80"],
        listing=["TCP TUN_VIP:80 rr", "-> BACK_1:80 Tunnel 1 1 0"],
        totals=(1, 1, 0, 40, 0),
    ),
    Row("IPIP: TOS goes outside too", ONE, [ipip(request(SYN, tos=0x10), tos=0x10)]),
    Row(
        "IPIP: that the packet met congestion is not said outside too",
        ONE,
        [ipip(request(SYN, tos=0x13), tos=0x12), ipip(request(SYN, tos=0x11), tos=0x11)],
    ),
    Row("IPIP: without DF there is none outside, but an ID", ONE, [ipip(request(SYN, flags=0), flags=0)]),
    Row("IPIP: TTL goes outside too", ONE, [ipip(request(SYN, ttl=9), ttl=8)]),
    Row("IPIP: the largest that fits", ONE, [ipip(request(SYN)), ipip(request(LARGE))]),
    Row("IPIP: UDP", DNS, [ipip(request(udp(20000, 53)))]),
    Row("IPv6 in IPv6", ONE_6, [wrapped(request6(SYN), outer6(nh=IPV6_INSIDE))], totals=(1, 1, 0, 60, 0)),
    Row(
        "IPv6 in IPv6: traffic class and hop limit go outside too",
        ONE_6,
        [wrapped(request6(SYN, tc=0x48, hlim=9), outer6(nh=IPV6_INSIDE, tc=0x48, hlim=8))],
    ),
    Row(
        "IPv6 in IPv6: that the packet met congestion is not said outside too",
        ONE_6,
        [wrapped(request6(SYN, tc=0x4B), outer6(nh=IPV6_INSIDE, tc=0x4A))],
    ),
    Row("IPv4 in IPv6", V4_IN_V6, [wrapped(request(SYN), outer6(nh=IPV4_INSIDE))]),
    Row(
        "IPv4 in IPv6: TOS goes outside too",
        V4_IN_V6,
        [wrapped(request(SYN, tos=0x10), outer6(nh=IPV4_INSIDE, tc=0x10))],
    ),
    Row("IPv6 in IPv4", V6_IN_V4, [wrapped(request6(SYN), outer(proto=IPV6_INSIDE))]),
    Row("GUE without a checksum", GUE, [wrapped(request(SYN), outer(), gue(IPV4_INSIDE, False), free=["sport"])]),
    Row("GUE with a checksum", GUE_SUM, [wrapped(request(SYN), outer(), gue(IPV4_INSIDE, True), free=["sport"])]),
    Row(
        "GUE with a remote checksum: an ordinary one, as IPVS has it of packets that come from a wire",
        GUE_REMOTE_SUM,
        [wrapped(request(SYN), outer(), gue(IPV4_INSIDE, True), free=["sport"])],
    ),
    Row(
        "GUE with a checksum: an odd number of bytes",
        GUE_SUM,
        [wrapped(request(tcp(20000, 80, "S", 33)), outer(), gue(IPV4_INSIDE, True), free=["sport"])],
    ),
    Row(
        "GUE with a checksum: a full packet",
        GUE_SUM,
        [
            wrapped(request(SYN), outer(), gue(IPV4_INSIDE, True), free=["sport"]),
            wrapped(request(tcp(20000, 80, "A", 1420)), outer(), gue(IPV4_INSIDE, True), free=["sport"]),
        ],
    ),
    Row(
        "GUE with a checksum round UDP",
        DNS_GUE_SUM,
        [wrapped(request(udp(20000, 53)), outer(), gue(IPV4_INSIDE, True), free=["sport"])],
    ),
    Row("GUE in IPv6", GUE_6, [wrapped(request6(SYN), outer6(), gue(IPV6_INSIDE, False), free=["sport"])]),
    Row(
        "GUE in IPv6 with a checksum",
        GUE_6_SUM,
        [wrapped(request6(SYN, tc=0x48, fl=77), outer6(tc=0x48), gue(IPV6_INSIDE, True), free=["sport"])],
    ),
    Row(
        "GUE round IPv4 in IPv6 with a checksum",
        GUE_4_IN_6_SUM,
        [wrapped(request(SYN), outer6(), gue(IPV4_INSIDE, True), free=["sport"])],
    ),
    Row("GRE without a checksum", GRE_PLAIN, [wrapped(request(SYN), outer(), gre(IPV4_INSIDE, False))]),
    Row(
        "GRE with a checksum",
        GRE_SUM,
        [
            wrapped(request(SYN), outer(), gre(IPV4_INSIDE, True)),
            wrapped(request(tcp(20000, 80, "A", 777)), outer(), gre(IPV4_INSIDE, True)),
        ],
    ),
    Row("GRE in IPv6 with a checksum", GRE_6_SUM, [wrapped(request6(SYN), outer6(), gre(IPV6_INSIDE, True))]),
    Row("GRE: IPv6 in IPv4", GRE_6_IN_4, [wrapped(request6(SYN), outer(), gre(IPV6_INSIDE, False))]),
    Row(
        "GRE with a checksum round UDP without one: the packet is read",
        (DNS[0], f"{DNS[1]} --tun-type gre --tun-csum"),
        [wrapped(request(udp(20000, 53, size, chksum=0)), outer(), gre(IPV4_INSIDE, True)) for size in (5, 484, 1401)],
    ),
    Row(
        "GUE with a checksum round UDP without one: the packet is read",
        DNS_GUE_SUM,
        [wrapped(request(udp(20000, 53, 33, chksum=0)), outer(), gue(IPV4_INSIDE, True), free=["sport"])],
    ),
    Row(
        "GRE with a checksum round fragments",
        GRE_SUM,
        [
            wrapped(
                request(tcp(20000, 80, "S", 508), flags="MF"), outer(id=0, flags=0), gre(IPV4_INSIDE, True), free=["id"]
            ),
            wrapped(
                request(payload(33), flags=0, frag=66, proto=6),
                outer(id=0, flags=0),
                gre(IPV4_INSIDE, True),
                free=["id"],
            ),
        ],
    ),
]


@each(ROWS)
def test_tunnels(plane: Plane, row: Row, hook: str) -> None:
    """The outer headers are right to the byte, the inner packet is the client's."""
    play(plane, row, hook)


def syn(*options: tuple[str, Any]) -> Packet:
    return TCP(sport=20000, dport=80, flags="S", seq=1000, options=list(options))


MSS, SACK, NOTHING, END = ("MSS", 1460), ("SAckOK", b""), ("NOP", None), ("EOL", None)
BROKEN = Raw(b"\x05\x01\x02\x04\x05\xb4\x00\x00")  # an option of one byte, which must be two at least


def broken() -> Packet:
    """A SYN whose options cannot be read as far as the MSS."""
    return TCP(sport=20000, dport=80, flags="S", seq=1000, dataofs=7) / BROKEN


def clamped(
    make: Callable[[Packet], Packet], sends: Packet, arrives: Packet, outside: Packet, between: Packet | None = None
) -> Step:
    free = ["sport"] if between is not None else []
    return wrapped(make(sends), outside, between, make(arrives), free=free)


def answered(vip: str, client: str, sends: tuple[str, Any], arrives: tuple[str, Any]) -> Step:
    """A SYN, ACK from the VIP that passes the director on its way to the client."""
    come, go = (
        ip(vip, client) / TCP(sport=80, dport=20000, flags="SA", options=[NOTHING, mss, NOTHING, SACK])
        for mss in (sends, arrives)
    )
    return Step(sent_by(BACK_1, come), "PASS_NOT_OURS", sent_by(BACK_1, go))


SMALL, LARGER = ("MSS", 1200), ("MSS", 9000)
ON = {"clamp_mss": 1}
CLAMPS = [
    Row("off: as it came", ONE, [ipip(request(syn(MSS)))]),
    Row("IPIP", ONE, [clamped(request, syn(MSS, SACK), syn(("MSS", 1440), SACK), outer(proto=IPV4_INSIDE))], knobs=ON),
    Row(
        "an odd place among the options",
        ONE,
        [
            clamped(
                request,
                syn(NOTHING, LARGER, NOTHING, SACK, NOTHING),
                syn(NOTHING, ("MSS", 1440), NOTHING, SACK, NOTHING),
                outer(proto=IPV4_INSIDE),
            )
        ],
        knobs=ON,
    ),
    Row(
        "GUE with a checksum",
        GUE_SUM,
        [clamped(request, syn(MSS), syn(("MSS", 1428)), outer(), gue(IPV4_INSIDE, True))],
        knobs=ON,
    ),
    Row("IPv6", ONE_6, [clamped(request6, syn(MSS), syn(("MSS", 1400)), outer6(nh=IPV6_INSIDE))], knobs=ON),
    Row(
        "the answer, where it passes the director: what it announces comes through the tunnel",
        ONE,
        [
            clamped(request, syn(MSS), syn(("MSS", 1440)), outer(proto=IPV4_INSIDE)),
            answered(TUN_VIP, CLIENT.ip, LARGER, ("MSS", 1440)),
            answered(TUN_VIP, CLIENT.ip, SMALL, SMALL),
            answered(TUN_VIP, SECOND.ip, MSS, MSS),
        ],
        knobs=ON,
    ),
    Row(
        "the answer, in IPv6",
        ONE_6,
        [
            clamped(request6, syn(MSS), syn(("MSS", 1400)), outer6(nh=IPV6_INSIDE)),
            answered(TUN_VIP6, CLIENT.ip6, MSS, ("MSS", 1400)),
        ],
        knobs=ON,
    ),
    Row("the answer, off: as it came", ONE, [ipip(request(syn(MSS))), answered(TUN_VIP, CLIENT.ip, MSS, MSS)]),
    Row("small enough", ONE, [ipip(request(syn(SMALL, SACK)))], knobs=ON),
    Row("none", ONE, [ipip(request(syn(SACK, END)))], knobs=ON),
    Row("no options", ONE, [ipip(request(syn()))], knobs=ON),
    Row("behind the end of the options", ONE, [ipip(request(syn(END, MSS)))], knobs=ON),
    Row("options that cannot be read", ONE, [ipip(request(broken()))], knobs=ON),
]


@each(CLAMPS)
def test_clamped_mss(plane: Plane, row: Row, hook: str) -> None:
    """`pylvs set clamp_mss=1`: the SYN announces no more than fits into the tunnel."""
    play(plane, row, hook)


def test_gue_spreads_flows(plane: Plane) -> None:
    """Each flow has its own source port outside, for the network's sake, and keeps it."""
    for line in GUE:
        plane.adm(line)
    ports = []
    for client_port in (20000, 20001, 20002, 20003, 20000):
        frame = plane.run("tc", bytes(sent_by(CLIENT, request(tcp(client_port, 80, "S"))))).frame
        ports.append(int.from_bytes(frame[34:36], "big"))
    assert len(set(ports)) > 2
    assert ports[0] == ports[-1]


def test_a_syn_to_a_neighbour_that_is_not_known_yet_is_clamped(plane: Plane) -> None:
    """The way's MTU does not depend on the neighbour."""
    plane.settings["clamp_mss"] = 1
    for line in (ONE[0], "-a -t TUN_VIP:80 -r NOBODY -i"):
        plane.adm(line)
    done = plane.run("tc", bytes(sent_by(CLIENT, request(syn(MSS)))))
    assert done.outcome == "FORWARD_TUN"
    arrives = ip(FRONT.ip, NOBODY.ip, id=0, ttl=63, proto=IPV4_INSIDE) / Raw(bytes(aged(request(syn(("MSS", 1440))))))
    assert done.frame[14:] == bytes(arrives)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_source_outside_is_no_virtual_address(plane: Plane, hook: str) -> None:
    """IPv6's rules would choose the VIP, on the same interface: whose answers would go to the real server itself."""
    for vip in ("VIP_6", "NAT_VIP_6", "TUN_VIP_6"):
        plane.adm(f"-A -t {vip}:80 -s rr")
    plane.adm("-a -t TUN_VIP_6:80 -r REAL_1_6:80 -i")
    for _ in range(2):  # the second after the data plane has looked for itself
        plane.know_hops()
        done = plane.run(hook, bytes(sent_by(CLIENT, request6(SYN))))
        arrives = ip(FRONT.ip6, REAL_1.ip6, hlim=63, nh=IPV6_INSIDE) / Raw(bytes(aged(request6(SYN))))
        assert done.frame == bytes(sent_to(REAL_1, arrives))
        plane.forget_hops()
        plane.run("tc", bytes(sent_by(CLIENT, request6(tcp(20001, 80, "S")))))


@pytest.mark.parametrize(
    ("real", "source", "other"),
    [("198.51.100.7", BACK.ip, FRONT.ip), ("2001:db8:7::7", BACK.ip6, FRONT.ip6)],
    ids=["IPv4", "IPv6"],
)
def test_the_source_outside_is_the_routes(plane: Plane, real: str, source: str, other: str) -> None:
    """Also where there was no route when the destination was added, and where the route says which."""
    six = ":" in real
    service = "TUN_VIP_6:80" if six else "TUN_VIP:80"
    plane.adm(f"-A -t {service} -s rr")
    plane.adm(f"-a -t {service} -r {f'[{real}]:80' if six else real} -i")
    frame = bytes(sent_by(CLIENT, (request6 if six else request)(SYN)))
    assert plane.run("tc", frame).outcome == "REFUSE_NO_ROUTE"
    route = ["ip", "-6" if six else "-4", "route"]
    for words, wanted in (([], source), (["src", other], other)):
        subprocess.run([*route, "add", real, "via", BACK_1.ip6 if six else BACK_1.ip, *words], check=True)
        plane.forget_hops()
        done = plane.run("tc", frame)
        subprocess.run([*route, "del", real], check=True)
        assert done.outcome == "FORWARD_TUN"
        assert Ether(done.frame).payload.src == wanted
