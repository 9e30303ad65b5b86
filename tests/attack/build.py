# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets as bytes, with right checksums and lengths, faster than scapy makes them."""

from __future__ import annotations

import socket
import struct
from functools import lru_cache

from tests.attack.native import crc32c
from tests.attack.sums import FRAGMENT, ICMP, ICMPV6, SCTP, TCP, UDP, checksum
from tests.packets.cast import Host, own_side

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MORE = 0x2000
INIT, INIT_ACK, ABORT, COOKIE_ECHO = 1, 2, 6, 10  # chunks of SCTP


@lru_cache(maxsize=4096)
def raw(address: str) -> bytes:
    """The address's bytes in network order."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def ipv4(
    src: bytes, dst: bytes, protocol: int, body: bytes, *,
    ttl: int = 64, tos: int = 0, ident: int = 7, fragment: int = 0, options: bytes = b"",
) -> bytes:  # fmt: skip
    """`fragment`: flags and offset, as in the header."""
    options += bytes(-len(options) % 4)
    size = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x40 | size // 4, tos, size + len(body), ident, fragment, ttl, protocol, 0, src, dst
    )
    head += options
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def ipv6(src: bytes, dst: bytes, protocol: int, body: bytes, *, ttl: int = 64, tos: int = 0) -> bytes:
    """`protocol`: of the first header behind IPv6's own."""
    return struct.pack("!IHBB", 6 << 28 | tos << 20, len(body), protocol, ttl) + src + dst + body


def extension(following: int, words: int = 0) -> bytes:
    """A header of options that say nothing, of 8 * (words + 1) bytes."""
    size = 8 * words + 4
    return bytes((following, words, 1, size)) + bytes(size)


def fragment_header(following: int, ident: int, offset: int, more: bool) -> bytes:
    """`offset` in bytes."""
    return struct.pack("!BBHI", following, 0, offset | more, ident)


def ip(src: bytes, dst: bytes, protocol: int, body: bytes, ttl: int = 64) -> bytes:
    """Of the family of the addresses."""
    return (ipv4 if len(src) == 4 else ipv6)(src, dst, protocol, body, ttl=ttl)


def transport_sum(src: bytes, dst: bytes, protocol: int, body: bytes) -> bytes:
    """TCP's, UDP's or ICMPv6's checksum, where the field in `body` is zero."""
    value = checksum(src + dst + struct.pack("!II", len(body), protocol) + body)
    return (value or 0xFFFF).to_bytes(2, "big")


def tcp(
    src: bytes, dst: bytes, sport: int, dport: int, flags: int, data: bytes = b"", options: bytes = b"", seq: int = 1000
) -> bytes:
    """A segment; options are padded to words."""
    options += bytes(-len(options) % 4)
    size = 20 + len(options)
    body = struct.pack("!HHIIBBHHH", sport, dport, seq, 2000 if flags & ACK else 0, size // 4 << 4, flags, 8192, 0, 0)
    body += options + data
    return body[:16] + transport_sum(src, dst, TCP, body) + body[18:]


def udp(src: bytes, dst: bytes, sport: int, dport: int, data: bytes = b"query", summed: bool = True) -> bytes:
    """A datagram, with or without a checksum."""
    body = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    return body[:6] + transport_sum(src, dst, UDP, body) + body[8:] if summed else body


def sctp(sport: int, dport: int, chunk: int = INIT, data: bytes = bytes(16)) -> bytes:
    """A packet of one chunk."""
    body = struct.pack("!HHIIBBH", sport, dport, 1, 0, chunk, 0, 4 + len(data)) + data
    return body[:8] + crc32c(body) + body[12:]


def icmp(type: int, code: int, rest: int, quoted: bytes) -> bytes:
    """An ICMP message of IPv4."""
    body = struct.pack("!BBHI", type, code, 0, rest) + quoted
    return body[:2] + checksum(body).to_bytes(2, "big") + body[4:]


def icmpv6(src: bytes, dst: bytes, type: int, code: int, rest: int, quoted: bytes) -> bytes:
    """An ICMP message of IPv6."""
    body = struct.pack("!BBHI", type, code, 0, rest) + quoted
    return body[:2] + transport_sum(src, dst, ICMPV6, body) + body[4:]


def error(src: bytes, dst: bytes, type: int, code: int, rest: int, quoted: bytes) -> bytes:
    """A whole ICMP packet of the family of the addresses."""
    if len(src) == 4:
        return ipv4(src, dst, ICMP, icmp(type, code, rest, quoted))
    return ipv6(src, dst, ICMPV6, icmpv6(src, dst, type, code, rest, quoted))


def transport(
    protocol: int, src: bytes, dst: bytes, sport: int, dport: int, flags: int = SYN, data: bytes = b""
) -> bytes:
    """What opens a flow: a segment with these flags, a datagram, or an SCTP INIT."""
    if protocol == TCP:
        return tcp(src, dst, sport, dport, flags, data)
    return udp(src, dst, sport, dport, data or b"query") if protocol == UDP else sctp(sport, dport)


def packet(protocol: int, src: bytes, dst: bytes, sport: int, dport: int, flags: int = SYN, data: bytes = b"") -> bytes:
    """The same in an IP packet."""
    return ip(src, dst, protocol, transport(protocol, src, dst, sport, dport, flags, data))


def fragments(whole: bytes, size: int, ident: int) -> list[bytes]:
    """An IP packet without options or extension headers in fragments of `size` bytes (a multiple of 8) and a rest."""
    src, dst = (whole[12:16], whole[16:20]) if whole[0] >> 4 == 4 else (whole[8:24], whole[24:40])
    protocol, body = (whole[9], whole[20:]) if len(src) == 4 else (whole[6], whole[40:])
    found = []
    for at in range(0, len(body), size):
        more, piece = at + size < len(body), body[at : at + size]
        if len(src) == 4:
            found.append(ipv4(src, dst, protocol, piece, ident=ident & 0xFFFF, fragment=at // 8 | MORE * more))
        else:
            found.append(ipv6(src, dst, FRAGMENT, fragment_header(protocol, ident, at, more) + piece))
    return found


def ether(host: Host, data: bytes, tag: bytes = b"") -> bytes:
    """The frame in which the host sends this packet to the director; `tag`: a VLAN's, in front of the type."""
    return _macs(host) + tag + (b"\x86\xdd" if data[:1] >= b"\x60" else b"\x08\x00") + data


@lru_cache(maxsize=64)
def _macs(host: Host) -> bytes:
    return bytes.fromhex((own_side(host).mac + host.mac).replace(":", ""))


__all__ = ["SCTP"]
