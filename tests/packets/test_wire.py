# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test run cannot have: frames that come over a wire, larger than a page, with offloads and hardware VLAN tags.

The wires' other ends are in the same namespace; nothing leaves it.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

import pytest
from scapy.layers.l2 import GRE, Dot1AD, Dot1Q
from scapy.packet import Raw

from pylvs.dataplane.attach import Attacher
from pylvs.dataplane.interfaces import interfaces
from tests.packets import cast
from tests.packets.cast import (
    BACK,
    BACK_1,
    CLIENT,
    JUMBO,
    NAT_VIP,
    REAL_1,
    TUN_VIP,
    VIP,
    Ether,
    Packet,
    sent_by,
    sent_to,
)
from tests.packets.plane import Network, Plane
from tests.packets.quick import ones_sum
from tests.packets.rows import aged, ip, tcp, udp

ETH_P_ALL, SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING = 3, 263, 15, 4
NEEDS_CSUM, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 = 1, 0, 1, 4, 5
VNET = struct.Struct("=BBHHHH")  # struct virtio_net_hdr of linux/virtio_net.h
DEADLINE = 5.0
LARGE = 60000


class Offload(NamedTuple):
    """What a frame leaves to the card: cutting to segments, and the checksum."""

    gso_type: int = GSO_NONE
    gso_size: int = 0


PLAIN, SEGMENTS, SEGMENTS_6 = Offload(), Offload(GSO_TCPV4, 1448), Offload(GSO_TCPV6, 1428)


class Wire:
    """The far ends of the director's wires."""

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
        header = VNET.pack(0, GSO_NONE, 0, 0, 0, 0)
        if offload.gso_type:
            l4 = 54 if offload.gso_type == GSO_TCPV6 else 34
            size, check = (8, 6) if offload.gso_type == GSO_UDP_L4 else (20, 16)
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
                _, gso_type, _, gso_size, _, _ = VNET.unpack_from(data)
                return frame, Offload(gso_type, gso_size)

    def close(self) -> None:
        for end in self.ends.values():
            end.close()


class Wired(NamedTuple):
    network: Network
    plane: Plane
    wire: Wire


@pytest.fixture(scope="module")
def attached(network: Network) -> Iterator[Wired]:
    """A director that is attached to its three wires, at the TC hook."""
    made = Network()
    with made.inside():
        plane, wire = Plane(), Wire()
        Attacher(plane.instance).attach([link for link in interfaces() if link.name in cast.DIRECTOR])
    yield Wired(made, plane, wire)
    with made.inside():
        wire.close()
        plane.close()
    made.close()


@pytest.fixture
def wired(attached: Wired) -> Iterator[Wired]:
    with attached.network.inside():
        attached.plane.wipe()
        yield attached


def partial(packet: Packet) -> Packet:
    """The same with the checksum left to the card: its field holds the pseudo header's sum."""
    whole = packet.__class__(bytes(packet))
    transport, protocol = (whole[cast.TCP], 6) if cast.TCP in whole else (whole[cast.UDP], 17)
    ends = ip_address(whole.src).packed + ip_address(whole.dst).packed
    transport.chksum = ones_sum(ends + struct.pack("!IHH", len(bytes(transport)), 0, protocol))
    return whole


def open_connection(wired: Wired, src: str, dst: str) -> None:
    wired.plane.run("tc", bytes(sent_by(CLIENT, ip(src, dst) / tcp(20000, 80, "S"))))


def passes(wired: Wired, sends: Packet, arrives: Packet, offload: Offload = PLAIN) -> None:
    """The frame arrives, as much left to the card as before."""
    wired.wire.send(bytes(sends), offload)
    frame, left = wired.wire.receive(arrives)
    assert left == offload
    assert frame == bytes(arrives)


def test_jumbo_frames(wired: Wired) -> None:
    """DR: 9,000 bytes over a wire that takes them."""
    for line in ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r JUMBO -g"):
        wired.plane.adm(line)
    packet = ip(CLIENT.ip, VIP) / tcp(20000, 80, "S", 1440)
    passes(wired, sent_by(CLIENT, packet), sent_to(JUMBO, aged(packet)))
    packet = ip(JUMBO.ip, VIP) / tcp(20000, 80, "S", 8960)
    passes(wired, sent_by(JUMBO, packet), sent_to(JUMBO, aged(packet)))


def test_segments_by_dr(wired: Wired) -> None:
    """Many segments in one frame, whose checksum is the card's to fill in, go through as they are."""
    for line in ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1 -g"):
        wired.plane.adm(line)
    open_connection(wired, CLIENT.ip, VIP)
    packet = partial(ip(CLIENT.ip, VIP) / tcp(20000, 80, "A", LARGE))
    passes(wired, sent_by(CLIENT, packet), sent_to(REAL_1, aged(packet)), SEGMENTS)
    assert wired.plane.outcomes()["FORWARD_DR"] == 2


def test_segments_by_nat(wired: Wired) -> None:
    """The card's checksum starts from another pseudo header, both ways."""
    for line in ("-A -t NAT_VIP:80 -s rr", "-a -t NAT_VIP:80 -r BACK_1:8080 -m"):
        wired.plane.adm(line)
    open_connection(wired, CLIENT.ip, NAT_VIP)
    sends = partial(ip(CLIENT.ip, NAT_VIP) / tcp(20000, 80, "A", LARGE))
    arrives = partial(ip(CLIENT.ip, BACK_1.ip, ttl=63) / tcp(20000, 8080, "A", LARGE))
    passes(wired, sent_by(CLIENT, sends), sent_to(BACK_1, arrives), SEGMENTS)
    sends = partial(ip(BACK_1.ip, CLIENT.ip) / tcp(8080, 20000, "A", LARGE))
    arrives = partial(ip(NAT_VIP, CLIENT.ip, ttl=63) / tcp(80, 20000, "A", LARGE))
    passes(wired, sent_by(BACK_1, sends), sent_to(CLIENT, arrives), SEGMENTS)


def test_segments_by_nat_of_ipv6(wired: Wired) -> None:
    """The same for IPv6."""
    for line in ("-A -t NAT_VIP_6:80 -s rr", "-a -t NAT_VIP_6:80 -r BACK_1_6:8080 -m"):
        wired.plane.adm(line)
    open_connection(wired, CLIENT.ip6, cast.NAT_VIP6)
    sends = partial(ip(CLIENT.ip6, cast.NAT_VIP6) / tcp(20000, 80, "A", LARGE))
    arrives = partial(ip(CLIENT.ip6, BACK_1.ip6, hlim=63) / tcp(20000, 8080, "A", LARGE))
    passes(wired, sent_by(CLIENT, sends), sent_to(BACK_1, arrives), SEGMENTS_6)


def test_segments_by_tunnel(wired: Wired) -> None:
    """IPIP: the card cuts what is within to the segments that they were."""
    for line in ("-A -t TUN_VIP:80 -s rr", "-a -t TUN_VIP:80 -r BACK_1 -i"):
        wired.plane.adm(line)
    open_connection(wired, CLIENT.ip, TUN_VIP)
    packet = partial(ip(CLIENT.ip, TUN_VIP) / tcp(20000, 80, "A", LARGE))
    outer = ip(BACK.ip, BACK_1.ip, id=0, ttl=63, proto=4) / Raw(bytes(aged(packet)))
    passes(wired, sent_by(CLIENT, packet), sent_to(BACK_1, outer), Offload(GSO_TCPV4, 1428))


def test_datagrams_by_tunnel(wired: Wired) -> None:
    """Many datagrams of one flow in one frame, too."""
    for line in ("-A -u TUN_VIP:53 -s rr", "-a -u TUN_VIP:53 -r BACK_1 -i"):
        wired.plane.adm(line)
    packet = partial(ip(CLIENT.ip, TUN_VIP) / udp(20000, 53, LARGE))
    outer = ip(BACK.ip, BACK_1.ip, id=0, ttl=63, proto=4) / Raw(bytes(aged(packet)))
    passes(wired, sent_by(CLIENT, packet), sent_to(BACK_1, outer), Offload(GSO_UDP_L4, 1200))


def test_segments_have_no_common_checksum(wired: Wired) -> None:
    """GRE with a checksum: the kernel would give every segment that it cuts off the same one, so there is none."""
    for line in ("-A -t TUN_VIP:80 -s rr", "-a -t TUN_VIP:80 -r BACK_1 -i --tun-type gre --tun-csum"):
        wired.plane.adm(line)
    open_connection(wired, CLIENT.ip, TUN_VIP)
    packet = partial(ip(CLIENT.ip, TUN_VIP) / tcp(20000, 80, "A", LARGE))
    outer = ip(BACK.ip, BACK_1.ip, id=0, ttl=63) / GRE(proto=0x0800) / Raw(bytes(aged(packet)))
    passes(wired, sent_by(CLIENT, packet), sent_to(BACK_1, outer), Offload(GSO_TCPV4, 1400))


@pytest.mark.parametrize("tags", [Dot1Q(vlan=5), Dot1AD(vlan=7) / Dot1Q(vlan=5)], ids=["one tag", "two tags"])
def test_vlan_tags_that_the_kernel_took_off(wired: Wired, tags: Packet) -> None:
    """The packet is the VLAN interface's: it comes again there, without the tag."""
    for line in ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1 -g"):
        wired.plane.adm(line)
    wired.wire.send(bytes(sent_by(CLIENT, tags / ip(CLIENT.ip, VIP) / tcp(20000, 80, "S"))))
    deadline = time.monotonic() + DEADLINE
    while not wired.plane.outcomes()["PASS_VLAN"] and time.monotonic() < deadline:
        time.sleep(0.01)
    counts = {name: count for name, count in wired.plane.outcomes().items() if count}
    for of_hosts in ("PASS_NOT_IP", "PASS_NOT_OURS"):  # what kernels say by themselves
        counts.pop(of_hosts, None)
    assert counts == {"PASS_VLAN": 1}
    assert wired.plane.connections() == []
