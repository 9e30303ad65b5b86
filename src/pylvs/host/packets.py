# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets to probe with, and reading those that come: IPv4 and IPv6, TCP, ICMP echo, IPIP, GRE and GUE."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from pylvs.model import Address, Tunnel, TunnelChecksum, TunnelType

ICMP, TCP, UDP, GRE, ICMPV6, SCTP = 1, 6, 17, 47, 58, 132
IPIP, IPV6 = 4, 41
ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD  # linux/if_ether.h
PORTED = (TCP, UDP, SCTP)  # begin with source and destination port
SYN, RST, ACK = 0x02, 0x04, 0x10
GUE_PORT = 6080  # of the kernel's documentation (Documentation/networking); IPVS has no default
GRE_CHECKSUM = 0x8000  # the flag (RFC 2784)
GUE_SOURCE = 49153  # UDP source port: any of the ephemeral ones
TTL = 64
DF = 0x4000
WINDOW = 29200  # what Linux offers at an MTU of 1,500
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


def pseudo_header(source: bytes, target: bytes, protocol: int, length: int) -> bytes:
    """What TCP, UDP and ICMPv6 checksums include of the IP header (RFC 8200, 8.1); as good for IPv4, as a sum."""
    return source + target + struct.pack("!II", length, protocol)


def ip(source: Address, target: Address, protocol: int, payload: bytes, identity: int = 0) -> bytes:
    """A packet that must not be fragmented (DF)."""
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, TTL) + source.packed + target.packed + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), identity, DF, TTL, protocol, 0)
    head += source.packed + target.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def tcp(source: Address, sport: int, target: Address, dport: int, flags: int, seq: int, ack: int = 0) -> bytes:
    """A whole packet with a TCP header and no data."""
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, WINDOW, 0, 0)
    check = checksum(pseudo_header(source.packed, target.packed, TCP, len(head)) + head)
    return ip(source, target, TCP, head[:16] + struct.pack("!H", check) + head[18:])


def echo(source: Address, target: Address, identity: int, size: int) -> bytes:
    """A whole ICMP echo request of `size` bytes, the IP header included."""
    protocol, kind, _ = ECHO[source.version]
    data = bytes(max(0, size - 8 - (20 if source.version == 4 else 40)))
    head = struct.pack("!BBHHH", kind, 0, 0, identity, 1) + data
    summed = head
    if source.version == 6:
        summed = pseudo_header(source.packed, target.packed, protocol, len(head)) + head
    return ip(source, target, protocol, head[:2] + struct.pack("!H", checksum(summed)) + head[4:], identity)


def wrap(tunnel: Tunnel, source: Address, target: Address, inner: bytes) -> bytes:
    """Encapsulate a packet as the director's data plane does (GUE without the optional UDP checksum)."""
    carried = IPIP if inner[0] >> 4 == 4 else IPV6
    if tunnel.type is TunnelType.IPIP:
        return ip(source, target, carried, inner)
    if tunnel.type is TunnelType.GUE:
        gue = struct.pack("!BBH", 0, carried, 0) + inner
        return ip(source, target, UDP, struct.pack("!HHHH", GUE_SOURCE, tunnel.port, 8 + len(gue), 0) + gue)
    kind = ETH_P_IP if carried == IPIP else ETH_P_IPV6
    if tunnel.checksum is TunnelChecksum.NONE:
        return ip(source, target, GRE, struct.pack("!HH", 0, kind) + inner)
    whole = struct.pack("!HHHH", GRE_CHECKSUM, kind, 0, 0) + inner
    return ip(source, target, GRE, whole[:4] + struct.pack("!H", checksum(whole)) + whole[6:])


def frame(source: bytes, target: bytes, packet: bytes) -> bytes:
    """An Ethernet frame of an IP packet."""
    return target + source + struct.pack("!H", ETH_P_IP if packet[0] >> 4 == 4 else ETH_P_IPV6) + packet


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet that came: addresses, protocol, and in `payload` what it carries, as far as it was captured."""

    version: int
    source: Address
    target: Address
    protocol: int
    payload: bytes

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port; (0, 0) of a protocol without ports."""
        if self.protocol not in PORTED or len(self.payload) < 4:
            return 0, 0
        return struct.unpack("!HH", self.payload[:4])

    @property
    def tcp_flags(self) -> int:
        """The byte of flags (SYN, RST, ACK, …); 0 if this is not TCP."""
        return self.payload[13] if self.protocol == TCP and len(self.payload) >= 20 else 0

    @property
    def echo_reply(self) -> int | None:
        """The identifier of an ICMP echo reply; None if this is not one."""
        protocol, _, reply = ECHO[self.version]
        if self.protocol != protocol or len(self.payload) < 8 or self.payload[0] != reply:
            return None
        return int.from_bytes(self.payload[4:6], "big")

    @property
    def error(self) -> tuple[int, int, int] | None:
        """(IP version, type, code) of an ICMP error; None if this is not one."""
        if self.protocol != ECHO[self.version][0] or len(self.payload) < 8:
            return None
        return (self.version, *self.payload[:2]) if self.payload[0] in ERRORS[self.version] else None

    @property
    def quoted(self) -> bytes:
        """The start of the packet that an ICMP error is about."""
        return self.payload[8:]

    @property
    def mtu(self) -> int:
        """The MTU that an ICMP error of "too big" gives, in bytes."""
        start = 4 if self.version == 6 else 6
        return int.from_bytes(self.payload[start:8], "big")

    def inner(self, gue_port: int = GUE_PORT) -> Seen | None:
        """The packet that IPIP, GRE or GUE (at this UDP port) carries; None if this is no tunnel's packet."""
        if self.protocol in (IPIP, IPV6):
            return parse_ip(self.payload)
        if self.protocol == GRE and len(self.payload) >= 4:
            optional = 4 if self.payload[0] & GRE_CHECKSUM >> 8 else 0
            return parse_ip(self.payload[4 + optional :])
        if self.protocol == UDP and self.ports[1] == gue_port and len(self.payload) >= 12:
            optional = 4 * (self.payload[8] & 0x1F)  # Hlen, in words of 32 bits
            return parse_ip(self.payload[8 + 4 + optional :])
        return None


def parse(frame: bytes) -> Seen | None:
    """The IP packet of an Ethernet frame; None for anything else, or one cut short."""
    return parse_ip(frame[14:])


def parse_ip(data: bytes) -> Seen | None:
    """An IP packet; None for anything else, or one cut short."""
    if len(data) < 20:
        return None
    if data[0] >> 4 == 4:
        start = (data[0] & 15) * 4
        return Seen(4, ip_address(data[12:16]), ip_address(data[16:20]), data[9], data[start:])
    if data[0] >> 4 == 6 and len(data) >= 40:
        return Seen(6, ip_address(data[8:24]), ip_address(data[24:40]), data[6], data[40:])
    return None
