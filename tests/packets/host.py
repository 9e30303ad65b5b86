# SPDX-License-Identifier: GPL-2.0-or-later
"""What the director's own stack does with a frame that the data plane passes to it: a test run does not reach it."""

from __future__ import annotations

import struct

from tests.packets import cast
from tests.packets.describe import ICMP, SCTP, TCP, UDP, describe

OWN = {*cast.VIPS, *(side.ip for side in cast.DIRECTOR.values())}
ACK, RST = 16, 4
UNREACHABLE = {UDP: 3, SCTP: 2}  # the code of ICMP's type 3: port, protocol


def answers(sender: str, packet: bytes) -> list[str]:
    """Lines of `seen`: the RST or the ICMP error of a host without any listener, or the packet forwarded."""
    src, dst = (".".join(map(str, packet[at : at + 4])) for at in (12, 16))
    if dst not in OWN:
        return _forwarded(sender, packet)
    size, protocol = (packet[0] & 15) * 4, packet[9]
    if protocol == TCP:
        return _reset(sender, packet[size:], f"{dst}:{{}}>{src}:{{}}")
    if protocol in UNREACHABLE:
        return [_error(sender, dst, src, 3, UNREACHABLE[protocol], packet)]
    assert protocol == ICMP
    return []


def _reset(sender: str, segment: bytes, ends: str) -> list[str]:
    sport, dport = struct.unpack_from("!HH", segment)
    flags = segment[13]
    if flags & RST:
        return []
    return [f"{sender}: TCP {ends.format(dport, sport)} [{'R' if flags & ACK else 'RA'}] len0 ttl64 DF"]


def _forwarded(sender: str, packet: bytes) -> list[str]:
    if packet[8] <= 1:
        src = ".".join(map(str, packet[12:16]))
        return [_error(sender, cast.BACK.ip, src, 11, 0, packet)]
    older = bytearray(packet)
    older[8] -= 1
    check = struct.unpack_from("!H", older, 10)[0] + 0x0100
    struct.pack_into("!H", older, 10, (check & 0xFFFF) + (check >> 16))
    return [f"c: {describe(bytes(older))}"]


def _error(sender: str, src: str, dst: str, type: int, code: int, packet: bytes) -> str:
    return f"{sender}: ICMP {src}>{dst} type{type} code{code} ttl64 tos192 {{{describe(packet)}}}"
