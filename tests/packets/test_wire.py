# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test run cannot have: frames that come over a wire, larger than a page, with offloads and hardware VLAN tags.

The wires' other ends are in the same namespace; nothing leaves it.
"""

from __future__ import annotations

import os
import time

import pytest
from scapy.layers.l2 import GRE, Dot1AD, Dot1Q
from scapy.packet import Raw

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
    Packet,
    sent_by,
    sent_to,
)
from tests.packets.rows import aged, ip, tcp, udp
from tests.packets.wire import DEADLINE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, OWED, PLAIN, Offload, Wired, partial

LARGE = 60000
SEGMENTS, SEGMENTS_6 = Offload(GSO_TCPV4, 1448, owed=True), Offload(GSO_TCPV6, 1428, owed=True)


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


@pytest.mark.parametrize("kind", ["TCP", "UDP"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_checksum_that_is_left_to_the_card_by_nat(wired: Wired, kind: str, version: int) -> None:
    """Both ways the card finds the sum over the right pseudo header, whatever the port."""
    client, vip, real = (CLIENT.ip, NAT_VIP, BACK_1.ip) if version == 4 else (CLIENT.ip6, cast.NAT_VIP6, BACK_1.ip6)
    aged_one = {"ttl": 63} if version == 4 else {"hlim": 63}
    service, back = ("NAT_VIP", "BACK_1") if version == 4 else ("NAT_VIP_6", "BACK_1_6")
    wired.plane.adm(f"-A -{kind[0].lower()} {service}:80 -s rr")
    wired.plane.adm(f"-a -{kind[0].lower()} {service}:80 -r {back}:8080 -m")

    def data(sport: int, dport: int, flags: str) -> Packet:
        return tcp(sport, dport, flags, 100) if kind == "TCP" else udp(sport, dport, 100)

    sends = partial(ip(client, vip) / data(20000, 80, "S"))
    passes(wired, sent_by(CLIENT, sends),
           sent_to(BACK_1, partial(ip(client, real, **aged_one) / data(20000, 8080, "S"))), OWED)  # fmt: skip
    sends = partial(ip(real, client) / data(8080, 20000, "SA"))
    passes(wired, sent_by(BACK_1, sends),
           sent_to(CLIENT, partial(ip(vip, client, **aged_one) / data(80, 20000, "SA"))), OWED)  # fmt: skip


def test_segments_by_tunnel(wired: Wired) -> None:
    """IPIP: the card cuts what is within to the segments that they were."""
    for line in ("-A -t TUN_VIP:80 -s rr", "-a -t TUN_VIP:80 -r BACK_1 -i"):
        wired.plane.adm(line)
    open_connection(wired, CLIENT.ip, TUN_VIP)
    packet = partial(ip(CLIENT.ip, TUN_VIP) / tcp(20000, 80, "A", LARGE))
    outer = ip(BACK.ip, BACK_1.ip, id=0, ttl=63, proto=4) / Raw(bytes(aged(packet)))
    passes(wired, sent_by(CLIENT, packet), sent_to(BACK_1, outer), Offload(GSO_TCPV4, 1428, owed=True))


def test_datagrams_by_tunnel(wired: Wired) -> None:
    """Many datagrams of one flow in one frame, too."""
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 2):
        pytest.skip("needs Linux 6.2, by which a packet socket can send such a frame")
    for line in ("-A -u TUN_VIP:53 -s rr", "-a -u TUN_VIP:53 -r BACK_1 -i"):
        wired.plane.adm(line)
    packet = partial(ip(CLIENT.ip, TUN_VIP) / udp(20000, 53, LARGE))
    outer = ip(BACK.ip, BACK_1.ip, id=0, ttl=63, proto=4) / Raw(bytes(aged(packet)))
    passes(wired, sent_by(CLIENT, packet), sent_to(BACK_1, outer), Offload(GSO_UDP_L4, 1200, owed=True))


def test_segments_have_no_common_checksum(wired: Wired) -> None:
    """GRE with a checksum: the kernel would give every segment that it cuts off the same one, so there is none."""
    for line in ("-A -t TUN_VIP:80 -s rr", "-a -t TUN_VIP:80 -r BACK_1 -i --tun-type gre --tun-csum"):
        wired.plane.adm(line)
    open_connection(wired, CLIENT.ip, TUN_VIP)
    packet = partial(ip(CLIENT.ip, TUN_VIP) / tcp(20000, 80, "A", LARGE))
    outer = ip(BACK.ip, BACK_1.ip, id=0, ttl=63) / GRE(proto=0x0800) / Raw(bytes(aged(packet)))
    passes(wired, sent_by(CLIENT, packet), sent_to(BACK_1, outer), Offload(GSO_TCPV4, 1400, owed=True))


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
