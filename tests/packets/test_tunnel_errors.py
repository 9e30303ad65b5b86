# SPDX-License-Identifier: GPL-2.0-or-later
"""A router on a tunnel's way cannot send a packet on: who sent that packet hears of it, as if there was no tunnel."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded
from scapy.packet import Raw

from tests.packets import test_tun as tun
from tests.packets.cast import (
    BACK,
    BACK_1,
    BACK_2,
    CLIENT,
    ICMP,
    TUN_VIP,
    TUN_VIP6,
    Ether,
    Packet,
    sent_by,
    sent_to,
)
from tests.packets.plane import HOOKS, Plane
from tests.packets.rows import Step, aged, ip, play_step, tcp

ROUTER, ROUTER6 = "10.1.0.99", "fd01::99"
LARGE = tcp(20000, 80, "A", 1300)


@dataclass(frozen=True)
class Tunnel:
    """A table, and the bytes that go round a packet."""

    table: tuple[str, ...]
    overhead: int

    def request(self, transport: Packet) -> Packet:
        """The client's packet."""
        return tun.request(transport) if self.is_inside_4 else tun.request6(transport)

    @property
    def least(self) -> int:
        """Bytes of it with the inner packet's ports in them."""
        return self.overhead + (24 if self.is_inside_4 else 44)

    @property
    def is_outside_4(self) -> bool:
        return "BACK_1_6" not in self.table[1]

    @property
    def is_inside_4(self) -> bool:
        return "_6" not in self.table[0]


TUNNELS = {
    "IPIP": Tunnel(tun.ONE, 20),
    "GUE": Tunnel(tun.GUE, 32),
    "GUE with a checksum": Tunnel(tun.GUE_SUM, 32),
    "GRE": Tunnel(tun.GRE_PLAIN, 24),
    "GRE with a checksum": Tunnel(tun.GRE_SUM, 28),
    "IPv6 in IPv6": Tunnel(tun.ONE_6, 40),
    "IPv4 in IPv6": Tunnel(tun.V4_IN_V6, 40),
    "IPv6 in IPv4": Tunnel(tun.V6_IN_V4, 20),
    "GUE in IPv6": Tunnel(tun.GUE_6, 52),
    "GRE: IPv6 in IPv4": Tunnel(tun.GRE_6_IN_4, 24),
}
# What the router says, in each family, and what the client hears of it.
TOO_BIG, DEAD_END, TOO_FAR = "too big", "no way", "too far"
SAID = {
    4: {TOO_BIG: ICMP(type=3, code=4, nexthopmtu=1200), DEAD_END: ICMP(type=3, code=1), TOO_FAR: ICMP(type=11)},
    6: {TOO_BIG: ICMPv6PacketTooBig(mtu=1400), DEAD_END: ICMPv6DestUnreach(code=3), TOO_FAR: ICMPv6TimeExceeded()},
}


def heard(what: str, tunnel: Tunnel) -> Packet:
    """The error that the client gets."""
    error = SAID[4 if tunnel.is_inside_4 else 6][what].copy()
    mtu = (1200 if tunnel.is_outside_4 else 1400) - tunnel.overhead
    if what == TOO_BIG and tunnel.is_inside_4:
        error.nexthopmtu = mtu
    elif what == TOO_BIG:
        error.mtu = mtu
    return error


def tunnelled(plane: Plane, tunnel: Tunnel) -> bytes:
    """What a router on the way sees, beginning with the outer IP header."""
    for line in tunnel.table:
        plane.adm(line)
    for transport in (tun.SYN, LARGE):
        done = plane.run("tc", bytes(sent_by(CLIENT, tunnel.request(transport))))
        assert done.outcome == "FORWARD_TUN"
    return bytes(done.frame[14:])


def said(tunnel: Tunnel, what: str, quoted: bytes, length: int = 500) -> Packet:
    """The router's error, to the director."""
    family = 4 if tunnel.is_outside_4 else 6
    ends = (ROUTER, BACK.ip) if family == 4 else (ROUTER6, BACK.ip6)
    return ip(*ends) / SAID[family][what] / Raw(quoted[:length])


def told(tunnel: Tunnel, what: str, quoted: bytes, length: int = 500) -> Packet:
    """The client's: from the VIP, and of its own packet, which had one hop behind it."""
    inside = quoted[tunnel.overhead : length]
    if tunnel.is_inside_4:
        return ip(TUN_VIP, CLIENT.ip, flags=0, tos=0xC0) / heard(what, tunnel) / Raw(inside)
    return ip(TUN_VIP6, CLIENT.ip6) / heard(what, tunnel) / Raw(inside)


@pytest.mark.parametrize("what", [TOO_BIG, DEAD_END, TOO_FAR])
@pytest.mark.parametrize("name", TUNNELS)
@pytest.mark.parametrize("hook", HOOKS)
def test_the_client_hears_of_it(plane: Plane, hook: str, name: str, what: str) -> None:
    """The same error, about the packet that it sent; the size that fits is less by the headers of the tunnel."""
    tunnel = TUNNELS[name]
    quoted = tunnelled(plane, tunnel)
    assert quoted[tunnel.overhead :] == bytes(aged(tunnel.request(LARGE)))
    for length in (500, tunnel.least):
        sends = sent_by(BACK_1, said(tunnel, what, quoted, length))
        if hook == "xdp":
            assert plane.run("xdp", bytes(sends)).verdict == "PASS"  # it has no room for the answer: TC's
        arrives = sent_to(CLIENT, told(tunnel, what, quoted, length))
        free = ["id"] if tunnel.is_inside_4 else []
        play_step(plane, Step(sends, "FORWARD_ICMP", arrives, free=free), "tc")


@pytest.mark.parametrize("name", ["IPIP", "GUE", "GRE", "IPv6 in IPv6", "IPv6 in IPv4"])
def test_what_is_about_no_tunnel_of_ours_is_the_hosts(plane: Plane, name: str) -> None:
    """Another end, another port, another flow; or what quotes too little; or garbage."""
    tunnel = TUNNELS[name]
    quoted = tunnelled(plane, tunnel)
    error = bytes(sent_by(BACK_1, said(tunnel, TOO_BIG, quoted)))
    at = 14 + (28 if tunnel.is_outside_4 else 48)
    header = 20 if tunnel.is_outside_4 else 40
    strangers = {
        "another end": at + header - 1,
        "another client": at + tunnel.overhead + (15 if tunnel.is_inside_4 else 23),
        "another VIP": at + tunnel.overhead + (19 if tunnel.is_inside_4 else 39),
        "another client port": at + tunnel.overhead + (21 if tunnel.is_inside_4 else 41),
        "no such tunnel": at + (9 if tunnel.is_outside_4 else 6),
    }
    if name == "GUE":
        strangers |= {"GUE's port": at + header + 3, "GUE's header": at + header + 8, "GUE's inside": at + header + 9}
    if name == "GRE":
        strangers |= {"GRE's flags": at + header, "GRE's inside": at + header + 3}
    for why, byte in strangers.items():
        frame = bytearray(error)
        frame[byte] ^= 0x21
        done = plane.run("tc", bytes(frame))
        assert (done.outcome, bytes(done.frame)) == ("PASS_NOT_OURS", bytes(frame)), why
    for length in range(at, at + tunnel.least):
        short = said(tunnel, TOO_BIG, quoted, length - at)
        assert plane.run("tc", bytes(sent_by(BACK_1, short))).outcome == "PASS_NOT_OURS"


def test_another_methods_connection_has_no_tunnel(plane: Plane) -> None:
    """The quoted end must be that of the connection, and its method TUN."""
    quoted = tunnelled(plane, TUNNELS["IPIP"])
    plane.adm(f"-d -t {TUN_VIP}:80 -r {BACK_1.ip}")
    play = bytes(sent_by(BACK_1, said(TUNNELS["IPIP"], TOO_BIG, quoted)))
    assert plane.run("tc", play).outcome == "FORWARD_ICMP"  # the connection is there still
    moved = quoted[:16] + bytes(map(int, BACK_2.ip.split("."))) + quoted[20:]
    error = ip(ROUTER, BACK.ip) / SAID[4][TOO_BIG] / Raw(moved[:500])
    assert plane.run("tc", bytes(sent_by(BACK_1, error))).outcome == "PASS_NOT_OURS"


def test_errors_are_limited_here_too(plane: Plane) -> None:
    """By the same bucket as the director's own."""
    tunnel = TUNNELS["IPIP"]
    frame = bytes(sent_by(BACK_1, said(tunnel, TOO_BIG, tunnelled(plane, tunnel))))
    plane.settings["icmp_rate"] = 5
    outcomes = [plane.run("tc", frame).outcome for _ in range(20)]
    assert set(outcomes) == {"FORWARD_ICMP", "DROP_ICMP_LIMIT"}
    assert outcomes.count("FORWARD_ICMP") < 10


def test_a_small_mtu_is_said_as_it_is(plane: Plane) -> None:
    """None that leaves less than the least of IPv4 for the inside (RFC 791); an old router's 0 stays 0."""
    tunnel = TUNNELS["IPIP"]
    quoted = tunnelled(plane, tunnel)
    for mtu, rest in ((0, 0), (88, 88), (89, 69)):
        error = ip(ROUTER, BACK.ip) / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(quoted[:500])
        done = plane.run("tc", bytes(sent_by(BACK_1, error)))
        assert Ether(done.frame)[ICMP].nexthopmtu == rest
