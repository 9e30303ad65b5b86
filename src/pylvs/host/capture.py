# SPDX-License-Identifier: GPL-2.0-or-later
"""Listening to the TCP that comes in by this machine's cards while nothing is asked of anybody."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from pylvs.host import neighbours, packets
from pylvs.model import Address

SOL_PACKET, PACKET_AUXDATA = 263, 8  # linux/if_packet.h
TP_STATUS_CSUMNOTREADY = 1 << 3
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
SNAP = 128
MOST = 2000  # frames in one listening: what is to be learned is learned from the first few

Program = tuple[tuple[int, int, int, int], ...]

# Classic BPF (code, true, false, operand): TCP with SYN, over IPv4 or IPv6 without extension headers. A loaded director
# is not to copy every packet for us.
SYN_ONLY: Program = (
    (0x28, 0, 0, 12),  # ether type
    (0x15, 0, 7, 0x0800),
    (0x30, 0, 0, 23),  # IPv4: protocol
    (0x15, 0, 10, 6),
    (0x28, 0, 0, 20),  # fragment offset
    (0x45, 8, 0, 0x1FFF),
    (0xB1, 0, 0, 14),  # length of the header
    (0x50, 0, 0, 27),  # TCP's flags behind it
    (0x05, 0, 0, 4),
    (0x15, 0, 4, 0x86DD),
    (0x30, 0, 0, 20),  # IPv6: next header
    (0x15, 0, 2, 6),
    (0x30, 0, 0, 67),
    (0x45, 1, 0, 0x02),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, SNAP),
)
ANY_TCP = (*SYN_ONLY[:-3], (0x05, 0, 0, 1), *SYN_ONLY[-2:])


@dataclass(frozen=True, slots=True)
class Heard:
    """TCP that came in; `answer`: a SYN+ACK. `unsummed`: its sender left the checksum to a card that never did it."""

    card: str
    mac: str
    source: Address
    sport: int
    target: Address
    dport: int
    answer: bool
    unsummed: bool


def overhear(cards: Iterable[str], seconds: float, whole: Container[str] = ()) -> list[Heard]:
    """What comes in by these cards in so many seconds, each once: SYNs and SYN+ACKs; all of TCP on the `whole` ones."""
    found: dict[Heard, None] = {}
    number = 0
    with ExitStack() as open_sockets:
        raws = {open_sockets.enter_context(_ear(card, ANY_TCP if card in whole else SYN_ONLY)): card for card in cards}
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and number < MOST:
            for raw in select.select(list(raws), [], [], left)[0]:
                found |= dict.fromkeys(_frame(raw, raws[raw]))
                number += 1
    return list(found)


def attach(lines: Program, to: socket.socket) -> None:
    """Let a socket receive only what the filter lets through."""
    held = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    to.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(lines), ctypes.addressof(held)))


def _ear(card: str, lines: Program) -> socket.socket:
    """A socket for some of what comes by a card; the filter is there before the card, so that nothing else gets in."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    attach(lines, raw)
    raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    raw.bind((card, neighbours.ETH_P_ALL))
    return raw


def _frame(raw: socket.socket, card: str) -> Iterator[Heard]:
    data, said, _, (_, _, kind, _, _) = raw.recvmsg(SNAP, socket.CMSG_SPACE(AUXDATA.size))
    seen = packets.parse(data)
    if seen is None or kind == socket.PACKET_OUTGOING:
        return
    texts = [text for level, name, text in said if (level, name) == (SOL_PACKET, PACKET_AUXDATA)]
    status = AUXDATA.unpack(texts[0])[0] if texts else 0
    mac, (sport, dport) = neighbours.mac_text(data[6:12]), seen.ports
    answer = seen.tcp_flags & (packets.SYN | packets.ACK) == packets.SYN | packets.ACK
    unsummed = bool(status & TP_STATUS_CSUMNOTREADY)
    yield Heard(card, mac, seen.source, sport, seen.target, dport, answer, unsummed)
