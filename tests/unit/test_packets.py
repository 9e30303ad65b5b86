# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading packets, against packets that Scapy made."""

from __future__ import annotations

import pytest
from scapy.layers.inet import GRE, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from pylvs.host import packets

CLIENT, VIP, REAL, DIRECTOR = "192.168.247.1", "192.168.247.100", "192.168.248.135", "192.168.247.134"
REQUEST = IP(src=CLIENT, dst=VIP) / TCP(sport=40000, dport=80) / b"GET /"
OUTER = IP(src=DIRECTOR, dst=REAL)


def test_a_plain_packet_has_its_ports_and_no_inner() -> None:
    """Addresses and ports come out as they went in."""
    packet = packets.parse_ip(bytes(REQUEST))
    assert packet
    assert (str(packet.source), str(packet.target), packet.ports) == (CLIENT, VIP, (40000, 80))
    assert packet.inner() is None


@pytest.mark.parametrize(
    "wrapped",
    [
        pytest.param(OUTER / REQUEST, id="ipip"),
        pytest.param(OUTER / GRE(proto=0x0800) / REQUEST, id="gre"),
        pytest.param(OUTER / GRE(proto=0x0800, chksum_present=1) / REQUEST, id="gre with checksum"),
        pytest.param(OUTER / UDP(dport=6080) / Raw(b"\x00\x04\x00\x00") / REQUEST, id="gue"),
        pytest.param(IPv6(src="fd00::1", dst="fd00::2") / REQUEST, id="ipip in IPv6"),
    ],
)
def test_a_tunnelled_packet_shows_its_inner_one(wrapped: Packet) -> None:
    """Whatever the wrapping, the client's packet is found inside."""
    packet = packets.parse_ip(bytes(wrapped))
    inner = packet and packet.inner()
    assert inner
    assert (str(inner.source), str(inner.target), inner.ports[1]) == (CLIENT, VIP, 80)


@pytest.mark.parametrize("size", range(0, 60, 3))
def test_a_truncated_packet_is_no_error(size: int) -> None:
    """Any beginning of a packet is read without an exception."""
    packet = packets.parse_ip(bytes(OUTER / REQUEST)[:size])
    assert packet is None or packet.inner() is None or size >= 40
