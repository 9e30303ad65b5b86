# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets to probe with, and what comes back read: IPv4 and IPv6, TCP, ICMP echo, and the three tunnels."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from pylvs.model import Address, Tunnel, TunnelChecksum, TunnelType

ICMP, TCP, UDP, GRE, ICMPV6 = 1, 6, 17, 47, 58
IPIP, IPV6 = 4, 41
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
SYN, RST, ACK = 0x02, 0x04, 0x10
TTL = 64
DF = 0x4000
WINDOW = 29200
ECHO = {4: (ICMP, 8, 0), 6: (ICMPV6, 128, 129)}  # protocol, type of the request, of the reply
ERRORS = {4: (3, 11), 6: (1, 2, 3, 4)}  # ICMP types that tell why a packet got no further
UNKNOWN_PROTOCOL = {(4, 3, 2), (6, 4, 1)}  # (version, type, code): the host does not know the tunnel
PORT_UNREACHABLE = {(4, 3, 3), (6, 1, 4)}
HOST_UNREACHABLE = {(4, 3, 0), (4, 3, 1), (6, 1, 0), (6, 1, 3)}
PROHIBITED = {(4, 3, 9), (4, 3, 10), (4, 3, 13), (6, 1, 1), (6, 1, 5), (6, 1, 6)}
TOO_BIG = {(4, 3, 4), (6, 2, 0)}


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pseudo(source: Address, target: Address, protocol: int, length: int) -> bytes:
    return source.packed + target.packed + struct.pack("!II", length, protocol)


def ip(source: Address, target: Address, protocol: int, payload: bytes, identity: int = 0) -> bytes:
    """A packet that must not be fragmented on the way."""
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, TTL) + source.packed + target.packed + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), identity, DF, TTL, protocol, 0)
    head += source.packed + target.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def tcp(source: Address, sport: int, target: Address, dport: int, flags: int, seq: int, ack: int = 0) -> bytes:
    """A whole packet with a TCP header and no data."""
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, WINDOW, 0, 0)
    check = checksum(_pseudo(source, target, TCP, len(head)) + head)
    return ip(source, target, TCP, head[:16] + struct.pack("!H", check) + head[18:])


def echo(source: Address, target: Address, identity: int, size: int) -> bytes:
    """A whole ICMP echo request of `size` bytes, IP header and all."""
    protocol, kind, _ = ECHO[source.version]
    data = bytes(max(0, size - 8 - (20 if source.version == 4 else 40)))
    head = struct.pack("!BBHHH", kind, 0, 0, identity, 1) + data
    over = head if source.version == 4 else _pseudo(source, target, protocol, len(head)) + head
    return ip(source, target, protocol, head[:2] + struct.pack("!H", checksum(over)) + head[4:], identity)


def wrap(tunnel: Tunnel, source: Address, target: Address, inner: bytes) -> bytes:
    """The packet in a tunnel's, as the director's data plane wraps it (without the optional UDP checksum)."""
    carried = IPIP if inner[0] >> 4 == 4 else IPV6
    if tunnel.type is TunnelType.IPIP:
        return ip(source, target, carried, inner)
    if tunnel.type is TunnelType.GUE:
        gue = struct.pack("!BBH", 0, carried, 0) + inner
        return ip(source, target, UDP, struct.pack("!HHHH", 49153, tunnel.port, 8 + len(gue), 0) + gue)
    kind = ETH_P_IP if carried == IPIP else ETH_P_IPV6
    if tunnel.checksum is TunnelChecksum.NONE:
        return ip(source, target, GRE, struct.pack("!HH", 0, kind) + inner)
    whole = struct.pack("!HHHH", 0x8000, kind, 0, 0) + inner
    return ip(source, target, GRE, whole[:4] + struct.pack("!H", checksum(whole)) + whole[6:])


def frame(source: bytes, target: bytes, packet: bytes) -> bytes:
    """An Ethernet frame of an IP packet."""
    return target + source + struct.pack("!H", ETH_P_IP if packet[0] >> 4 == 4 else ETH_P_IPV6) + packet


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet that came: addresses, protocol, and from `payload` on what it carries."""

    version: int
    source: Address
    target: Address
    protocol: int
    payload: bytes

    @property
    def ports(self) -> tuple[int, int]:
        """TCP's and UDP's."""
        return struct.unpack("!HH", self.payload[:4]) if len(self.payload) >= 4 else (0, 0)

    @property
    def tcp_flags(self) -> int:
        return self.payload[13] if self.protocol == TCP and len(self.payload) >= 20 else 0

    @property
    def echo_reply(self) -> int | None:
        """The identity of an echo reply."""
        protocol, _, reply = ECHO[self.version]
        if self.protocol != protocol or len(self.payload) < 8 or self.payload[0] != reply:
            return None
        return int.from_bytes(self.payload[4:6], "big")

    @property
    def error(self) -> tuple[int, int, int] | None:
        """(version, type, code) of an ICMP error."""
        if self.protocol != ECHO[self.version][0] or len(self.payload) < 8:
            return None
        return (self.version, *self.payload[:2]) if self.payload[0] in ERRORS[self.version] else None

    @property
    def quoted(self) -> bytes:
        """The start of the packet that an ICMP error is about."""
        return self.payload[8:]

    @property
    def mtu(self) -> int:
        """What an ICMP error says would have fitted."""
        return (
            int.from_bytes(self.payload[4:8], "big") if self.version == 6 else int.from_bytes(self.payload[6:8], "big")
        )


def parse(data: bytes) -> Seen | None:
    """An Ethernet frame's IP packet; None for anything else, or one cut short."""
    if len(data) < 34:
        return None
    data = data[14:]
    if data[0] >> 4 == 4:
        start = (data[0] & 15) * 4
        return Seen(4, ip_address(data[12:16]), ip_address(data[16:20]), data[9], data[start:])
    if data[0] >> 4 == 6 and len(data) >= 40:
        return Seen(6, ip_address(data[8:24]), ip_address(data[24:40]), data[6], data[40:])
    return None
