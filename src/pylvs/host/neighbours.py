# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has an address: the neighbour table, and asking the segment by ARP or neighbour solicitation (RFC 826, 4861).

A probe (RFC 5227 and duplicate address detection, RFC 4862) asks without an address of ours in it: it changes nobody's
neighbour table.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from pylvs.host import iproute
from pylvs.host.packets import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ICMPV6, checksum, pseudo_header
from pylvs.model import Address

ETH_P_ALL = 0x0003  # linux/if_ether.h
ARP_ETHERNET, ARP_REQUEST, ARP_REPLY = 1, 1, 2
SOLICITATION, ADVERTISEMENT = 135, 136  # ICMPv6 types
BROADCAST = b"\xff" * 6
SNAP = 128  # bytes kept of a frame: all of an answer
PATIENCE = 0.5  # seconds for an answer; on one segment it takes less than a millisecond


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the neighbour table: MAC address and state, such as REACHABLE or PERMANENT."""

    mac: str
    state: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Somebody says that the address asked for is at `mac`; `sent` if it was this interface that said so."""

    mac: str
    sent: bool = False


def known(interface: str, address: Address) -> Neighbour | None:
    """The neighbour table's entry; None where there is none with a MAC address."""
    for row in iproute.listed("neigh", "show", "to", str(address), "dev", interface):
        if "lladdr" in row:
            return Neighbour(row["lladdr"], " ".join(row.get("state", [])))
    return None


def mac_text(mac: bytes) -> str:
    """`02:00:00:00:00:01`."""
    return mac.hex(":")


def mac_of(interface: str) -> bytes:
    """The MAC address of an interface of this namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        return bytes(raw.getsockname()[4])


def question(mac: bytes, target: Address, own: Address | None = None) -> bytes:
    """The frame that asks who has `target`; without `own` it is a probe."""
    if isinstance(target, IPv4Address):
        sender = own.packed if own else bytes(4)
        arp = struct.pack(
            "!HHBBH6s4s6s4s", ARP_ETHERNET, ETH_P_IP, 6, 4, ARP_REQUEST, mac, sender, bytes(6), target.packed
        )
        return BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + arp
    group = b"\xff\x02" + bytes(9) + b"\x01\xff" + target.packed[-3:]  # solicited-node multicast address
    return b"\x33\x33" + group[-4:] + mac + struct.pack("!H", ETH_P_IPV6) + _solicitation(mac, target, group, own)


def _solicitation(mac: bytes, target: IPv6Address, group: bytes, own: Address | None) -> bytes:
    source = own.packed if own else bytes(16)
    option = b"\x01\x01" + mac if own else b""  # a probe has no source to give the MAC address of
    message = struct.pack("!BBHI16s", SOLICITATION, 0, 0, 0, target.packed) + option
    check = checksum(pseudo_header(source, group, ICMPV6, len(message)) + message)
    message = message[:2] + struct.pack("!H", check) + message[4:]
    return struct.pack("!IHBB16s16s", 6 << 28, len(message), ICMPV6, 255, source, group) + message


def answer_in(frame: bytes, target: Address) -> str:
    """The MAC address that a frame gives for `target`; '' if it is no answer to that."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ETH_P_ARP and frame[20:22] == struct.pack("!H", ARP_REPLY) and frame[28:32] == target.packed:
        return mac_text(frame[22:28])
    if kind == ETH_P_IPV6 and frame[20] == ICMPV6 and frame[54:55] == bytes([ADVERTISEMENT]):
        return mac_text(frame[6:12]) if frame[62:78] == target.packed else ""
    return ""


def asker_in(frame: bytes, target: Address) -> tuple[bytes, Address] | None:
    """MAC and IP address of whoever asks by ARP for `target` in this frame; None if it is no such request."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ETH_P_ARP and frame[20:22] == struct.pack("!H", ARP_REQUEST) and frame[38:42] == target.packed:
        return frame[6:12], ip_address(frame[28:32])
    return None


def listen(interface: str) -> socket.socket:
    """A socket that sees every frame of an interface, those that it sends too."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(ETH_P_ALL))
    raw.bind((interface, ETH_P_ALL))
    return raw


def answers(raw: socket.socket, target: Address, patience: float | None = None, enough: int = 0) -> list[Answer]:
    """The answers that come within `patience` seconds, each once; done early after `enough` of them."""
    found: list[Answer] = []
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while (left := deadline - time.monotonic()) > 0 and not (enough and len(found) >= enough):
        if not select.select([raw], [], [], left)[0]:
            break
        frame, (_, _, kind, _, _) = raw.recvfrom(SNAP)
        mac = answer_in(frame, target)
        answer = Answer(mac, kind == socket.PACKET_OUTGOING)
        if mac and answer not in found:
            found.append(answer)
    return found


def ask(
    interface: str, target: Address, own: Address | None = None, patience: float | None = None, enough: int = 0
) -> list[str]:
    """Ask the interface's segment who has `target`; the MAC addresses of all who say that they do.

    Asked twice within `patience` seconds if nobody answers at first, for a question may get lost.
    """
    half = (PATIENCE if patience is None else patience) / 2
    with listen(interface) as raw:
        for _ in range(2):
            try:
                raw.send(question(mac_of(interface), target, own))
            except OSError:  # down meanwhile, or dropped at egress: nobody can answer
                return []
            found = [answer.mac for answer in answers(raw, target, half, enough) if not answer.sent]
            if found and not enough:
                found += [a.mac for a in answers(raw, target, half) if not a.sent and a.mac not in found]
            if found:
                return found
    return []
