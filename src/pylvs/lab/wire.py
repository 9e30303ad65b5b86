# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking at frames: who answers for an address, and what passes a card."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from pylvs.host import netns
from pylvs.model import Address

ETH_P_ALL, ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0800, 0x0806, 0x86DD  # linux/if_ether.h
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
SOL_PACKET, PACKET_STATISTICS = 263, 6  # linux/if_packet.h
ICMPV6, SOLICITATION, ADVERTISEMENT = 58, 135, 136  # RFC 4861
SNAP = 192  # bytes kept of a frame: every header that is looked at


def mac_text(mac: bytes) -> str:
    return mac.hex(":")


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def who_has(interface: str, mac: str, own: Address, target: Address, window: float = 0.4) -> list[str]:
    """Ask the segment who has an address, and return every MAC that answers within `window` seconds."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with raw:
        raw.bind((interface, ETH_P_ALL))
        raw.send(_question(_bytes(mac), own, target))
        deadline, found = time.monotonic() + window, []
        while (left := deadline - time.monotonic()) > 0:
            if select.select([raw], [], [], left)[0]:
                answer = _answer(raw.recv(SNAP), target)
                found += [mac_text(answer)] if answer else []
    return found


def _question(mac: bytes, own: Address, target: Address) -> bytes:
    if isinstance(own, IPv4Address):
        asked = struct.pack("!HHBBH6s4s6s4s", 1, ETH_P_IP, 6, 4, 1, mac, own.packed, bytes(6), target.packed)
        return b"\xff" * 6 + mac + struct.pack("!H", ETH_P_ARP) + asked
    group = b"\xff\x02" + bytes(9) + b"\x01\xff" + target.packed[-3:]
    message = struct.pack("!BBHI16s", SOLICITATION, 0, 0, 0, target.packed) + b"\x01\x01" + mac
    message = message[:2] + struct.pack("!H", _icmpv6_checksum(own.packed, group, message)) + message[4:]
    header = struct.pack("!IHBB16s16s", 6 << 28, len(message), ICMPV6, 255, own.packed, group)
    return b"\x33\x33" + group[-4:] + mac + struct.pack("!H", ETH_P_IPV6) + header + message


def _icmpv6_checksum(source: bytes, target: bytes, message: bytes) -> int:
    """The checksum over the pseudo-header and the message, whose own field is 0."""
    pseudo = source + target + struct.pack("!II", len(message), ICMPV6) + message
    total: int = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _answer(frame: bytes, target: Address) -> bytes | None:
    """The MAC that a frame gives as that of `target`, if it is an answer at all."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ETH_P_ARP and frame[20:22] == b"\x00\x02" and frame[28:32] == target.packed:
        return frame[22:28]
    if kind == ETH_P_IPV6 and frame[20] == ICMPV6 and frame[54:55] == bytes([ADVERTISEMENT]):
        return frame[6:12] if frame[62:78] == target.packed else None
    return None


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet on a wire; ports are 0 where there are none, `inner` is what a tunnel carries."""

    source: Address
    target: Address
    protocol: int
    sport: int
    dport: int
    length: int
    inner: Packet | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame at a card: MACs, whether the card sent it, and its packet if it is IP."""

    source: str
    target: str
    sent: bool
    packet: Packet


def parse(data: bytes) -> Packet | None:
    """An IPv4 or IPv6 packet from its bytes, with what IPIP, GRE or GUE carries; None for anything else."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        start, protocol, length = (data[0] & 15) * 4, data[9], int.from_bytes(data[2:4], "big")
        source, target = data[12:16], data[16:20]
    elif len(data) >= 40 and data[0] >> 4 == 6:
        start, protocol, length = 40, data[6], 40 + int.from_bytes(data[4:6], "big")
        source, target = data[8:24], data[24:40]
    else:
        return None
    rest = data[start:]
    sport, dport = struct.unpack("!HH", rest[:4]) if protocol in (6, 17) and len(rest) >= 4 else (0, 0)
    inner = _inside(protocol, dport, rest)
    return Packet(ip_address(source), ip_address(target), protocol, sport, dport, length, inner)


GUE_PORT = 6080  # the lab's own choice and that of the kernel's documentation


def _inside(protocol: int, dport: int, rest: bytes) -> Packet | None:
    if protocol in (4, 41):
        return parse(rest)
    if protocol == 47 and len(rest) >= 4:
        return parse(rest[4 + 4 * bool(rest[0] & 0x80) :])
    if protocol == 17 and dport == GUE_PORT and len(rest) >= 12:
        return parse(rest[8 + 4 + 4 * (rest[8] & 0x1F) :])
    return None


class Capture:
    """Everything that passes one card of one machine from now on."""

    def __init__(self, namespace: str, interface: str) -> None:
        with netns.inside(namespace):
            self._raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
            self._raw.bind((interface, ETH_P_ALL))
        self._raw.setblocking(False)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def frames(self) -> Iterator[Frame]:
        """The IP frames that came since the last call."""
        while True:
            try:
                data, (_, _, kind, _, _) = self._raw.recvfrom(SNAP)
            except BlockingIOError:
                return
            packet = parse(data[14:])
            if packet:
                yield Frame(mac_text(data[6:12]), mac_text(data[:6]), kind == socket.PACKET_OUTGOING, packet)

    def missed(self) -> int:
        """How many frames there was no room for since the last call."""
        counts = self._raw.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        return int(struct.unpack("II", counts)[1])
