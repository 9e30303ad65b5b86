# SPDX-License-Identifier: GPL-2.0-or-later
"""Listening on interfaces by packet sockets (packet(7)): every frame of one, or the TCP that comes in by several."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from pylvs.host import neighbours, netns, packets
from pylvs.host.packets import Seen
from pylvs.model import Address

SOL_PACKET, PACKET_AUXDATA = 263, 8  # linux/if_packet.h
TP_STATUS_CSUMNOTREADY = 1 << 3
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33  # asm-generic/socket.h
AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
RECEIVE_BUFFER = 32 << 20  # bytes: some megabytes of traffic wait in it until they are looked at
SNAP = 192  # bytes kept of a frame: every header that is looked at, a tunnel's too
MOST = 2000  # frames in one listening: what is to be learned is learned from the first few

Program = tuple[tuple[int, int, int, int], ...]

# Classic BPF (code, jump if true, jump if false, operand): TCP with SYN, over IPv4 or IPv6 without extension headers.
# A director under load must not copy every packet for us.
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
    """TCP that came in by an interface; `answer`: a SYN+ACK.

    `unsummed`: its checksum was offloaded to a virtual NIC that filled none in (CHECKSUM_PARTIAL).
    """

    interface: str
    mac: str
    source: Address
    sport: int
    target: Address
    dport: int
    answer: bool
    unsummed: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame at an interface: MAC addresses, whether the interface sent it, and the IP packet in it."""

    source: str
    target: str
    sent: bool
    packet: Seen


class Capture:
    """Every IP packet that passes an interface of a network namespace (a name of `ip netns`) from now on."""

    def __init__(self, namespace: str, interface: str) -> None:
        with netns.inside(namespace):
            self._raw = neighbours.listen(interface)
        self._raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self._raw.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def frames(self) -> Iterator[Frame]:
        """What came since the last call."""
        while True:
            try:
                data, (_, _, kind, _, _) = self._raw.recvfrom(SNAP)
            except BlockingIOError:
                return
            packet = packets.parse(data)
            if packet:
                sent = kind == socket.PACKET_OUTGOING
                yield Frame(neighbours.mac_text(data[6:12]), neighbours.mac_text(data[:6]), sent, packet)


def overhear(interfaces: Iterable[str], seconds: float, whole: Container[str] = ()) -> list[Heard]:
    """The SYNs and SYN+ACKs that come in by these interfaces in so many seconds, each once; nobody is asked for any.

    On the interfaces of `whole` every TCP segment counts.
    """
    found: dict[Heard, None] = {}
    number = 0
    with ExitStack() as open_sockets:
        filters = {name: ANY_TCP if name in whole else SYN_ONLY for name in interfaces}
        raws = {open_sockets.enter_context(_filtered(name, lines)): name for name, lines in filters.items()}
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and number < MOST:
            for raw in select.select(list(raws), [], [], left)[0]:
                found |= dict.fromkeys(_heard(raw, raws[raw]))
                number += 1
    return list(found)


def attach(lines: Program, to: socket.socket) -> None:
    """Let a socket receive only what the filter lets through."""
    held = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    to.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(lines), ctypes.addressof(held)))


def _filtered(interface: str, lines: Program) -> socket.socket:
    """A packet socket with a filter; it is bound after it has the filter, so that nothing else gets in."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    attach(lines, raw)
    raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    raw.bind((interface, neighbours.ETH_P_ALL))
    return raw


def _heard(raw: socket.socket, interface: str) -> Iterator[Heard]:
    """The next frame of the socket, if it is TCP that came in."""
    data, ancillary, _, (_, _, kind, _, _) = raw.recvmsg(SNAP, socket.CMSG_SPACE(AUXDATA.size))
    seen = packets.parse(data)
    if seen is None or kind == socket.PACKET_OUTGOING:
        return
    records = [record for level, name, record in ancillary if (level, name) == (SOL_PACKET, PACKET_AUXDATA)]
    status = AUXDATA.unpack(records[0])[0] if records else 0
    sport, dport = seen.ports
    yield Heard(
        interface=interface,
        mac=neighbours.mac_text(data[6:12]),
        source=seen.source,
        sport=sport,
        target=seen.target,
        dport=dport,
        answer=seen.tcp_flags & (packets.SYN | packets.ACK) == packets.SYN | packets.ACK,
        unsummed=bool(status & TP_STATUS_CSUMNOTREADY),
    )
