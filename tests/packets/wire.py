# SPDX-License-Identifier: GPL-2.0-or-later
"""A director that is attached to its wires, and the wires' other ends, which are in the same namespace."""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import ip_address
from typing import NamedTuple

from tests.packets import cast
from tests.packets.cast import Ether, Packet
from tests.packets.plane import Network, Plane
from tests.packets.quick import ones_sum

ETH_P_ALL, SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING = 3, 263, 15, 4
NEEDS_CSUM, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 = 1, 0, 1, 4, 5
VNET = struct.Struct("=BBHHHH")  # struct virtio_net_hdr of linux/virtio_net.h
DEADLINE = 30.0  # seconds, for what takes milliseconds


class Offload(NamedTuple):
    """What a frame leaves to the card: cutting to segments, and the checksum."""

    gso_type: int = GSO_NONE
    gso_size: int = 0
    owed: bool = False


PLAIN, OWED = Offload(), Offload(owed=True)


class Wire:
    """The decapsulators of the director's wires."""

    def __init__(self) -> None:
        self.ends = {name: self._end(f"p{number}") for number, name in enumerate(cast.DIRECTOR)}

    @staticmethod
    def _end(name: str) -> socket.socket:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        end.bind((name, ETH_P_ALL))
        return end

    def send(self, frame: bytes, offload: Offload = PLAIN) -> None:
        """Into the director, by the wire that the sender's MAC address is on."""
        interface = cast.INTERFACE_OF[Ether(frame).src]
        header = bytes(VNET.size)
        if offload.owed:
            l4, udp = (54, frame[20] == 17) if frame[12] == 0x86 else (34, frame[23] == 17)
            size, check = (8, 6) if udp else (20, 16)
            header = VNET.pack(NEEDS_CSUM, offload.gso_type, l4 + size, offload.gso_size, l4, check)
        self.ends[interface].send(header + frame)

    def receive(self, wanted: Packet) -> tuple[bytes, Offload]:
        """The frame that goes to `wanted`'s MAC address next."""
        end, deadline = self.ends[cast.INTERFACE_OF[wanted.dst]], time.monotonic() + DEADLINE
        while True:
            end.settimeout(max(0.01, deadline - time.monotonic()))
            data, (_, _, kind, *_) = end.recvfrom(1 << 17)
            frame = data[VNET.size :]
            if kind != PACKET_OUTGOING and Ether(frame[:14]).dst == wanted.dst:
                flags, gso_type, _, gso_size, _, _ = VNET.unpack_from(data)
                return frame, Offload(gso_type, gso_size, bool(flags & NEEDS_CSUM))

    def close(self) -> None:
        for end in self.ends.values():
            end.close()


class Wired(NamedTuple):
    network: Network
    plane: Plane
    wire: Wire


def partial(packet: Packet) -> Packet:
    """The same with the checksum left to the card: its field holds the pseudo header's sum."""
    whole = packet.__class__(bytes(packet))
    transport, protocol = (whole[cast.TCP], 6) if cast.TCP in whole else (whole[cast.UDP], 17)
    ends = ip_address(whole.src).packed + ip_address(whole.dst).packed
    transport.chksum = ones_sum(ends + struct.pack("!IHH", len(bytes(transport)), 0, protocol))
    return whole
