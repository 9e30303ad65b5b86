# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames by the thousand: the least headers that a director looks at, without scapy's cost. Checksums are right."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_ETHER = bytes.fromhex("02000000000102000000000a0800")
_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")


class Seen(NamedTuple):
    """Where a frame went: the last byte of the MAC address in hexadecimal, and its ports and addresses."""

    host: str
    src: str
    dst: str
    sport: int
    dport: int


def ones_sum(data: bytes) -> int:
    """The Internet checksum's sum (RFC 1071), folded."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) & 1 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _frame(src: str, dst: str, protocol: int, transport: bytes, checksum_at: int | None) -> bytes:
    ends = socket.inet_aton(src) + socket.inet_aton(dst)
    if checksum_at is not None:
        pseudo = ends + struct.pack("!BBH", 0, protocol, len(transport))
        check = 0xFFFF - ones_sum(pseudo + transport) or 0xFFFF
        transport = transport[:checksum_at] + check.to_bytes(2, "big") + transport[checksum_at + 2 :]
    header = _IP.pack(0x45, 0, 20 + len(transport), 7, 0x4000, 64, protocol, 0, ends[:4], ends[4:])
    header = header[:10] + (0xFFFF - ones_sum(header)).to_bytes(2, "big") + header[12:]
    return _ETHER + header + transport


def tcp_frame(src: str, sport: int, dst: str, dport: int, flags: int, data: bytes = b"") -> bytes:
    """A TCP segment in a frame to the director."""
    return _frame(src, dst, 6, _TCP.pack(sport, dport, 1000, 2000, 0x50, flags, 65535, 0, 0) + data, 16)


def udp_frame(src: str, sport: int, dst: str, dport: int, data: bytes = b"q") -> bytes:
    """A UDP datagram in a frame to the director."""
    return _frame(src, dst, 17, _UDP.pack(sport, dport, 8 + len(data), 0) + data, 6)


def seen(frame: bytes) -> Seen:
    """What a frame with an IPv4 header of 20 bytes says of its way."""
    src, dst = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
    sport, dport = struct.unpack_from("!HH", frame, 34)
    return Seen(frame[5:6].hex(), src, dst, sport, dport)


def sctp_frame(src: str, sport: int, dst: str, dport: int, chunks: int) -> bytes:
    """An SCTP packet with a chunk of the type `chunks & 255` and, if there is more in it, one of type `chunks >> 8`.

    The first is of 14 bytes and padded, its checksum is 0, which no director looks at.
    """
    packet = struct.pack("!HHII", sport, dport, 1, 0) + bytes([chunks & 255, 0, 0, 14]) + bytes(12)
    if chunks >> 8:
        packet += bytes([chunks >> 8, 0, 0, 4])
    return _frame(src, dst, 132, packet, None)
