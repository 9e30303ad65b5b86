# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets to probe with, and what comes back, compared with scapy's; the filters of a capture."""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import ip_address

import pytest
from scapy.layers.inet import GRE, ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pylvs.host import capture, packets
from pylvs.model import Tunnel, TunnelChecksum, TunnelType

A, B = ip_address("192.0.2.1"), ip_address("192.0.2.2")
A6, B6 = ip_address("2001:db8::1"), ip_address("2001:db8::2")
ETHERNET = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")  # or scapy would ask the network for it


def outer(a: object, b: object, **fields: int) -> Packet:
    return IPv6(src=str(a), dst=str(b), hlim=64, **fields) if ":" in str(a) else IP(
        src=str(a), dst=str(b), id=0, flags="DF", **fields)  # fmt: skip


@pytest.mark.parametrize(("a", "b"), [(A, B), (A6, B6)])
def test_a_syn(a: packets.Address, b: packets.Address) -> None:
    """Byte for byte as scapy makes it, checksums too."""
    ours = packets.tcp(a, 4321, b, 80, packets.SYN, 7)
    assert ours == bytes(outer(a, b) / TCP(sport=4321, dport=80, flags="S", seq=7, window=packets.WINDOW))


@pytest.mark.parametrize("size", [64, 65, 1480])
def test_an_echo_request(size: int) -> None:
    """The size is that of the whole packet; the checksum holds for odd sizes too."""
    four, six = packets.echo(A, B, 9, size), packets.echo(A6, B6, 9, size)
    assert len(four) == len(six) == size
    assert four[20:] == bytes(ICMP(type=8, id=9, seq=1) / Raw(bytes(size - 28)))
    assert six == bytes(outer(A6, B6) / ICMPv6EchoRequest(id=9, seq=1, data=bytes(size - 48)))


@pytest.mark.parametrize(
    ("tunnel", "layers"),
    [
        (Tunnel(), []),
        (Tunnel(TunnelType.GUE, 6080), [UDP(sport=49153, dport=6080, chksum=0), Raw(b"\0\x04\0\0")]),
        (Tunnel(TunnelType.GRE), [GRE()]),
        (Tunnel(TunnelType.GRE, 0, TunnelChecksum.CSUM), [GRE(chksum_present=1)]),
    ],
)
def test_tunnels(tunnel: Tunnel, layers: list[Packet]) -> None:
    """Each type of tunnel, whole."""
    inner = outer(A, B) / TCP(sport=1, dport=2)
    wanted: Packet = outer(B, A)
    for layer in layers:
        wanted = wanted / layer
    assert packets.wrap(tunnel, B, A, bytes(inner)) == bytes(wanted / inner)


def test_what_comes_back_is_read() -> None:
    """A SYN+ACK, an echo reply of either family, and an ICMP error with its MTU."""
    seen = packets.parse(bytes(ETHERNET / outer(B, A) / TCP(sport=80, dport=4321, flags="SA")))
    assert seen is not None
    assert (seen.ports, seen.tcp_flags, seen.error, seen.echo_reply) == ((80, 4321), 0x12, None, None)
    for reply in (outer(B, A) / ICMP(type=0, id=9), outer(B6, A6) / ICMPv6EchoReply(id=9)):
        seen = packets.parse(bytes(ETHERNET / reply))
        assert seen is not None
        assert seen.echo_reply == 9
    too_big = packets.parse(bytes(ETHERNET / outer(B, A) / ICMP(type=3, code=4, nexthopmtu=1400) / outer(A, B)))
    assert too_big is not None
    assert (too_big.error in packets.TOO_BIG, too_big.mtu) == (True, 1400)


@pytest.mark.parametrize("length", range(60))
def test_frames_cut_short_are_borne(length: int) -> None:
    """Whatever is missing, nothing is raised."""
    for whole in (ETHERNET / outer(B, A) / ICMP(type=3, code=4), ETHERNET / outer(B6, A6) / ICMPv6EchoReply()):
        if seen := packets.parse(bytes(whole)[:length]):
            _ = seen.ports, seen.tcp_flags, seen.error, seen.echo_reply


@pytest.mark.parametrize(("a", "b"), [(A, B), (A6, B6)])
@pytest.mark.parametrize("flags", ["S", "SA", "A", "FA"])
def test_what_a_capture_receives(a: packets.Address, b: packets.Address, flags: str) -> None:
    """The kernel's filter lets handshakes through, of both families, or all of TCP where that is asked for."""
    segment = bytes(ETHERNET / outer(a, b) / TCP(sport=1, dport=2, flags=flags))
    datagram = bytes(ETHERNET / outer(a, b) / UDP())
    assert lets_through(capture.SYN_ONLY, segment, datagram) == ([segment] if "S" in flags else [])
    assert lets_through(capture.ANY_TCP, segment, datagram) == [segment]


def lets_through(lines: capture.Program, *frames: bytes) -> list[bytes]:
    """What arrives of these frames behind the filter; the last that is sent is known to."""
    last = bytes(ETHERNET / outer(A, B) / TCP(flags="S", seq=99))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        capture.attach(lines, ours)
        for frame in (*frames, last):
            with suppress(PermissionError):  # what the filter drops is refused at once between the two
                theirs.send(frame)
        return list(iter(lambda: ours.recv(9000), last))
