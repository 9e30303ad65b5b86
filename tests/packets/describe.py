# SPDX-License-Identifier: GPL-2.0-or-later
"""A frame as one line of text, in the words of the recorded walks' `seen`."""

from __future__ import annotations

import socket
import struct

from tests.packets.quick import ones_sum

FLAGS = (("S", 2), ("F", 1), ("R", 4), ("P", 8), ("A", 16), ("U", 32), ("E", 64), ("C", 128))
TCP, UDP, ICMP, IPIP, SCTP = 6, 17, 1, 4, 132
ICMP_ERRORS = (3, 5, 11, 12)


def describe(packet: bytes) -> str:
    """An IPv4 packet with right checksums; a wrong one is said so."""
    total, offset = struct.unpack_from("!H", packet, 2)[0], struct.unpack_from("!H", packet, 6)[0]
    packet = packet[:total]
    return _describe(packet, sums=len(packet) == total and not offset & 0x3FFF)


def _describe(packet: bytes, sums: bool) -> str:
    size, protocol = (packet[0] & 15) * 4, packet[9]
    body = packet[size:]
    ends = tuple(map(socket.inet_ntoa, (packet[12:16], packet[16:20])))
    tail = f"ttl{packet[8]}{' DF' if packet[6] & 0x40 else ''}{f' tos{packet[1]}' if packet[1] else ''}"
    tail += "" if ones_sum(packet[:size]) == 0xFFFF else " BADIPSUM"
    if sums and _is_wrong(packet, body, protocol):
        tail += " BADCSUM"
    if protocol in (TCP, UDP):
        return _transport(body, protocol, ends, tail)
    if protocol == ICMP:
        return _icmp(body, ends, tail)
    if protocol == IPIP:
        identity = "nonzero" if any(packet[4:6]) else "0"
        return f"IPIP {ends[0]}>{ends[1]} id{identity} {tail} {{{describe(body)}}}"
    return f"proto{protocol} {ends[0]}>{ends[1]} {tail}"


def _is_wrong(packet: bytes, body: bytes, protocol: int) -> bool:
    pseudo = packet[12:20] + struct.pack("!BBH", 0, protocol, len(body))
    if protocol == TCP or (protocol == UDP and any(body[6:8])):
        return ones_sum(pseudo + body) != 0xFFFF
    return protocol == ICMP and ones_sum(body) != 0xFFFF


def _transport(body: bytes, protocol: int, ends: tuple[str, ...], tail: str) -> str:
    sport, dport = struct.unpack_from("!HH", body)
    between = f"{ends[0]}:{sport}>{ends[1]}:{dport}"
    if protocol == UDP:
        return f"UDP {between} len{len(body) - 8} {tail}"
    flags = "".join(name for name, bit in FLAGS if body[13] & bit)
    return f"TCP {between} [{flags}] len{len(body) - (body[12] >> 4) * 4} {tail}"


def _icmp(body: bytes, ends: tuple[str, ...], tail: str) -> str:
    about = ""
    if body[0] in ICMP_ERRORS:
        quoted = body[8:]
        about = _describe(quoted[: struct.unpack_from("!H", quoted, 2)[0]], sums=False)
    return f"ICMP {ends[0]}>{ends[1]} type{body[0]} code{body[1]} {tail} {{{about}}}"
