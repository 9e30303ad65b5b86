# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a packet: checksums and lengths of its layers (RFC 791, 768, 9293, 792, 4443, 9260, 2784, 8200).

A director may be given anything. What it hands on has no fault that was not in what came.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.attack.native import crc32c

ICMP, IPIP, TCP, UDP, SIX, GRE, ICMPV6, SCTP = 1, 4, 6, 17, 41, 47, 58, 132
EXTENSIONS = (0, 43, 60)  # hop by hop, routing, destination options
FRAGMENT, AUTHENTICATION = 44, 51
GUE_PORT = 6080
ETHERNET = 14
ICMP_ERRORS = (3, 4, 5, 11, 12)
LEAST = {TCP: 20, UDP: 8, ICMP: 8, ICMPV6: 8, SCTP: 12, GRE: 4}

Faults = frozenset[str]


def ones_sum(data: bytes) -> int:
    """The Internet checksum's sum (RFC 1071): a multiple of 0xffff where the checksum is right."""
    if len(data) % 2:
        data += b"\0"
    return int.from_bytes(data, "big") % 0xFFFF


def checksum(data: bytes) -> int:
    """What makes the sum right."""
    return 0xFFFF - ones_sum(data)


class Ip:
    """One IP packet: where its parts are, as far as they are there."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.version = data[0] >> 4 if data else 0
        self.faults: set[str] = set()
        self.fragment = False
        self.protocol = -1  # not known
        self.body = b""
        if self.version == 4 and len(data) >= 20:
            self._four()
        elif self.version == 6 and len(data) >= 40:
            self._six()
        else:
            self.faults.add("IP header")

    def _four(self) -> None:
        header, total = (self.data[0] & 15) * 4, int.from_bytes(self.data[2:4], "big")
        if not 20 <= header <= total <= len(self.data):
            self.faults.add("IP length")
            return
        if ones_sum(self.data[:header]):
            self.faults.add("IP checksum")
        self.pseudo = self.data[12:20]
        self.fragment = bool(int.from_bytes(self.data[6:8], "big") & 0x3FFF)
        self.protocol, self.body = self.data[9], self.data[header:total]

    def _six(self) -> None:
        total = 40 + int.from_bytes(self.data[4:6], "big")
        if total > len(self.data):
            self.faults.add("IP length")
            return
        self.pseudo = self.data[8:40]
        protocol, at = self.data[6], 40
        while protocol in (*EXTENSIONS, FRAGMENT, AUTHENTICATION):
            if at + 8 > total:
                self.faults.add("extension header")
                return
            word = int.from_bytes(self.data[at + 2 : at + 4], "big") if protocol == FRAGMENT else 0
            self.fragment |= bool(word & 0xFFF9)  # neither more of it nor an offset: it is whole (RFC 6946)
            later = word & 0xFFF8
            length = self.data[at + 1]
            size = 8 if protocol == FRAGMENT else (length + 2) * 4 if protocol == AUTHENTICATION else (length + 1) * 8
            protocol, at = self.data[at], at + size
            if later:
                break
        self.protocol, self.body = protocol, self.data[at:total]

    def sum_of_body(self) -> int:
        """Of the body with its pseudo header."""
        pseudo = len(self.body).to_bytes(4, "big") + self.protocol.to_bytes(4, "big")
        return ones_sum(self.pseudo + pseudo + self.body)


def layers(packet: bytes) -> Iterator[Faults]:
    """The faults of the packet, and of each packet that is in it, the outermost first."""
    ip = Ip(packet)
    faults, inner = set(ip.faults), b""
    if not faults - {"IP checksum"} and not ip.fragment:
        found, inner = _transport(ip)
        faults |= found
    yield frozenset(faults)
    if inner:
        yield from layers(inner)


def _transport(ip: Ip) -> tuple[set[str], bytes]:
    """Faults of what the packet carries, and the packet that is tunnelled in it."""
    body = ip.body
    if ip.protocol in (IPIP, SIX):
        return set(), body
    if len(body) < LEAST.get(ip.protocol, 0):
        return {"transport header"}, b""
    if ip.protocol == GRE:
        return _gre(body)
    if ip.protocol == UDP:
        return _udp(ip), _tunnelled(body)
    return _sums(ip), b""


def _sums(ip: Ip) -> set[str]:
    body = ip.body
    if ip.protocol == TCP:
        return {"TCP checksum"} if ip.sum_of_body() else set()
    if ip.protocol == SCTP:
        return set() if crc32c(body[:8] + bytes(4) + body[12:]) == body[8:12] else {"SCTP checksum"}
    if ip.protocol == ICMP and ip.version == 4:
        return ({"ICMP checksum"} if ones_sum(body) else set()) | (_quoted(body) if body[0] in ICMP_ERRORS else set())
    if ip.protocol == ICMPV6 and ip.version == 6:
        return {"ICMPv6 checksum"} if ip.sum_of_body() else set()
    return set()


def _quoted(body: bytes) -> set[str]:
    """An error quotes a header, whole or not at all."""
    quoted = body[8:]
    size = (quoted[0] & 15) * 4 if quoted else 0
    if size < 20 or len(quoted) < size or quoted[0] >> 4 != 4:
        return {"quoted header"}
    return {"quoted IP checksum"} if ones_sum(quoted[:size]) else set()


def _udp(ip: Ip) -> set[str]:
    if int.from_bytes(ip.body[4:6], "big") != len(ip.body):
        return {"UDP length"}
    if not any(ip.body[6:8]):  # none, as tunnels may have it over IPv6 too (RFC 6935)
        return set() if ip.version == 4 or _tunnelled(ip.body) else {"UDP checksum"}
    return {"UDP checksum"} if ip.sum_of_body() else set()


def _tunnelled(body: bytes) -> bytes:
    """The packet in a datagram of GUE."""
    if int.from_bytes(body[2:4], "big") != GUE_PORT or len(body) < 12:
        return b""
    gue = body[8:]
    if gue[0] >> 6 == 1:
        return gue
    return gue[4 + (gue[0] & 31) * 4 :]


def _gre(body: bytes) -> tuple[set[str], bytes]:
    has_sum = body[0] & 0x80
    wrong = has_sum and (len(body) < 8 or ones_sum(body))
    return ({"GRE checksum"} if wrong else set()), body[8 if has_sum else 4 :]


def new_faults(came: bytes, left: bytes, answered: bool) -> set[str]:
    """Faults of what left that were not in what came. `answered`: it is a packet of the director's own. Both are IP
    packets.

    A tunnel's checksum may follow from that of what is in it (local checksum offload), and be as wrong.
    """
    before, after = list(layers(came)), list(layers(left))
    if answered:
        return set(after[0]) - ({"quoted IP checksum"} if "IP checksum" in before[0] else set())
    outer: set[str] = set()
    if len(after) > len(before):
        followed = {"UDP checksum", "GRE checksum"} if before[0] else set()
        outer = {f"outer {fault}" for fault in after[0] - followed}
        after = after[1:]
    return outer.union(*(a - b for a, b in zip(after, before, strict=False)))
