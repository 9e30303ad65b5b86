# SPDX-License-Identifier: GPL-2.0-or-later
"""Direct routing, packet by packet."""

from __future__ import annotations

import struct
from typing import Any

from scapy.layers.inet import IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q
from scapy.packet import Raw

from tests.packets.cast import (
    CLIENT,
    JUMBO,
    REAL_1,
    REAL_2,
    SECOND,
    TCP,
    TUN_VIP,
    VIP,
    VIP6,
    Ether,
    Host,
    Packet,
    sent_by,
    sent_to,
)
from tests.packets.plane import Plane
from tests.packets.rows import TO_TC, Row, Step, aged, each, ip, payload, play, tcp, udp

ONE = ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1 -g")
TWO = (*ONE, "-a -t VIP:80 -r REAL_2 -g")
DNS = ("-A -u VIP:53 -s rr", "-a -u VIP:53 -r REAL_1 -g")
ONE_6 = ("-A -t VIP_6:80 -s rr", "-a -t VIP_6:80 -r REAL_1_6:80 -g")
SCTP = ("-A --sctp-service VIP:80 -s rr", "-a --sctp-service VIP:80 -r REAL_1 -g")
BIG = ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r JUMBO -g")


def request(transport: Packet, client: Host = CLIENT, **fields: Any) -> Packet:
    return ip(client.ip, VIP, **fields) / transport


def request6(transport: Packet, **fields: Any) -> Packet:
    return ip(CLIENT.ip6, VIP6, **fields) / transport


def forwarded(packet: Packet, real: Host = REAL_1, client: Host = CLIENT, **step: Any) -> Step:
    """DR: the MAC addresses, and one hop less to live; nothing else."""
    return Step(sent_by(client, packet), "FORWARD_DR", sent_to(real, aged(packet)), **step)


def passed(packet: Packet, outcome: str, **step: Any) -> Step:
    """The host's, as it came."""
    return Step(sent_by(CLIENT, packet), outcome, **step)


def with_options(*options: Packet) -> dict[str, Any]:
    return {"options": list(options)}


SYN, ACK = tcp(20000, 80, "S"), tcp(20000, 80)
OTHER = [tcp(20000 + i, 80, "S") for i in range(4)]

ROWS = [
    Row(
        "a SYN reaches the real server as it was, with one hop less to live",
        ONE,
        [forwarded(request(SYN))],
        listing=["TCP VIP:80 rr", "-> REAL_1:80 Route 1 1 0"],
        connections=["TCP SYN_RECV CLIENT:20000 VIP:80 REAL_1:80"],
        totals=(1, 1, 0, 40, 0),
    ),
    Row(
        "a connection opens, speaks and closes as the director of DR sees it",
        ONE,
        [
            forwarded(request(SYN)),
            forwarded(request(ACK)),
            forwarded(request(tcp(20000, 80, "PA", 100))),
            forwarded(request(tcp(20000, 80, "FA"))),
        ],
        listing=["TCP VIP:80 rr", "-> REAL_1:80 Route 1 0 1"],
        connections=["TCP FIN_WAIT CLIENT:20000 VIP:80 REAL_1:80"],
        totals=(1, 4, 0, 40 * 4 + 100, 0),
    ),
    Row(
        "new connections alternate, an old one stays where it is",
        TWO,
        [
            forwarded(request(OTHER[0]), REAL_2),
            forwarded(request(OTHER[1]), REAL_1),
            forwarded(request(OTHER[2]), REAL_2),
            forwarded(request(tcp(20001, 80)), REAL_1),
            forwarded(request(tcp(20000, 80)), REAL_2),
        ],
        listing=["TCP VIP:80 rr", "-> REAL_1:80 Route 1 1 0", "-> REAL_2:80 Route 1 2 0"],
        totals=(3, 5, 0, 200, 0),
    ),
    Row(
        "the same port of another client is another connection",
        TWO,
        [forwarded(request(SYN), REAL_2), forwarded(request(SYN, SECOND), REAL_1, SECOND)],
        connections=[
            "TCP SYN_RECV CLIENT:20000 VIP:80 REAL_2:80",
            "TCP SYN_RECV SECOND:20000 VIP:80 REAL_1:80",
        ],
    ),
    Row("TOS stays", ONE, [forwarded(request(SYN, tos=0x48))]),
    Row("ECN stays", ONE, [forwarded(request(SYN, tos=0x03))]),
    Row("DF off and an ID stay", ONE, [forwarded(request(SYN, flags=0, id=0xBEEF))]),
    Row("a TTL of 2 becomes 1", ONE, [forwarded(request(SYN, ttl=2))]),
    Row("a TTL of 255 becomes 254", ONE, [forwarded(request(SYN, ttl=255))]),
    Row("IP options stay", ONE, [forwarded(request(SYN, **with_options(*[IPOption_NOP()] * 4)))]),
    Row(
        "the longest IP header",
        ONE,
        [
            forwarded(
                request(
                    SYN,
                    **with_options(IPOption_RR(length=39, pointer=4, routers=["0.0.0.0"] * 9), IPOption_NOP()),
                )
            )
        ],
    ),
    Row(
        "TCP options stay",
        ONE,
        [forwarded(request(TCP(sport=20000, dport=80, flags="S", options=[("MSS", 1460), ("WScale", 7)])))],
    ),
    Row("SYN and FIN together open", ONE, [forwarded(request(tcp(20000, 80, "SF")))]),
    Row("SYN and ACK together open", ONE, [forwarded(request(tcp(20000, 80, "SA")))]),
    Row("SYN and RST together do not open", ONE, [passed(request(tcp(20000, 80, "SR")), "PASS_NO_CONNECTION")]),
    Row(
        "an ACK without a connection is the host's, which answers RST",
        ONE,
        [passed(request(ACK), "PASS_NO_CONNECTION")],
        connections=[],
        totals=(0, 0, 0, 0, 0),
    ),
    Row("so is a RST", ONE, [passed(request(tcp(20000, 80, "R")), "PASS_NO_CONNECTION")]),
    Row("so is a FIN", ONE, [passed(request(tcp(20000, 80, "FA")), "PASS_NO_CONNECTION")]),
    Row(
        "so is a TCP packet without any flag",
        ONE,
        [passed(request(tcp(20000, 80, "")), "PASS_NO_CONNECTION")],
    ),
    Row(
        "sloppy_tcp: an ACK opens a connection",
        ONE,
        [forwarded(request(ACK))],
        connections=["TCP ESTABLISHED CLIENT:20000 VIP:80 REAL_1:80"],
        knobs={"sloppy_tcp": 1},
    ),
    Row(
        "sloppy_tcp: a RST does not",
        ONE,
        [passed(request(tcp(20000, 80, "R")), "PASS_NO_CONNECTION")],
        knobs={"sloppy_tcp": 1},
    ),
    Row("another port of the VIP is not ours", ONE, [passed(request(tcp(20000, 81, "S")), "PASS_NOT_OURS")]),
    Row("UDP to a TCP service is not ours", ONE, [passed(request(udp(20000, 80)), "PASS_NOT_OURS")]),
    Row("another address is not ours", ONE, [passed(ip(CLIENT.ip, TUN_VIP) / SYN, "PASS_NOT_OURS")]),
    Row(
        "a packet that another host is meant by is not ours",
        ONE,
        [passed(ip(CLIENT.ip, "198.51.100.1") / SYN, "PASS_NOT_OURS")],
    ),
    Row(
        "an ICMP echo to the VIP is the host's",
        ONE,
        [passed(ip(CLIENT.ip, VIP, proto=1) / Raw(bytes.fromhex("0800f7fd00010001")), "PASS_NOT_OURS")],
    ),
    Row(
        "GRE to the VIP is the host's",
        ONE,
        [passed(ip(CLIENT.ip, VIP, proto=47) / payload(20), "PASS_NOT_OURS")],
    ),
    Row("ARP is the host's", ONE, [passed(ARP(psrc=CLIENT.ip, pdst=VIP), "PASS_NOT_IP")]),
    Row(
        "an unknown Ethernet type is the host's",
        ONE,
        [Step(Ether(src=CLIENT.mac, dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / payload(46), "PASS_NOT_IP")],
    ),
    Row(
        "one VLAN tag: it comes again on the VLAN's own interface",
        ONE,
        [passed(Dot1Q(vlan=5) / request(SYN), "PASS_VLAN")],
        connections=[],
    ),
    Row(
        "two VLAN tags",
        ONE,
        [passed(Dot1AD(vlan=7) / Dot1Q(vlan=5) / request(SYN), "PASS_VLAN")],
        connections=[],
    ),
    Row("without any service nothing is ours", (), [passed(request(SYN), "PASS_NOT_OURS")]),
    Row(
        "UDP is forwarded",
        DNS,
        [forwarded(request(udp(20000, 53)))],
        connections=["UDP UDP CLIENT:20000 VIP:53 REAL_1:53"],
        listing=["UDP VIP:53 rr", "-> REAL_1:53 Route 1 0 1"],
    ),
    Row("UDP without a checksum", DNS, [forwarded(request(udp(20000, 53, chksum=0)))]),
    Row("an empty UDP datagram", DNS, [forwarded(request(udp(20000, 53, 0)))]),
    Row(
        "a UDP datagram padded to Ethernet's least frame",
        DNS,
        [
            Step(
                sent_by(CLIENT, request(udp(20000, 53, 1)) / Raw(bytes(17))),
                "FORWARD_DR",
                sent_to(REAL_1, aged(request(udp(20000, 53, 1))) / Raw(bytes(17))),
            )
        ],
    ),
    Row(
        "SCTP: INIT opens",
        SCTP,
        [
            forwarded(
                ip(CLIENT.ip, VIP, proto=132)
                / Raw(struct.pack("!HHII", 20000, 80, 0, 0) + bytes([1, 0, 0, 20]) + bytes(16))
            )
        ],
        connections=["SCTP INIT1 CLIENT:20000 VIP:80 REAL_1:80"],
    ),
    Row(
        "SCTP: DATA does not",
        SCTP,
        [
            passed(
                ip(CLIENT.ip, VIP, proto=132)
                / Raw(struct.pack("!HHII", 20000, 80, 0, 0) + bytes([0, 3, 0, 20]) + bytes(16)),
                "PASS_NO_CONNECTION",
            )
        ],
    ),
    Row(
        "IPv6: a SYN",
        ONE_6,
        [forwarded(request6(SYN))],
        connections=["TCP SYN_RECV CLIENT_6:20000 VIP_6:80 REAL_1_6:80"],
        totals=(1, 1, 0, 60, 0),
    ),
    Row("IPv6: traffic class and flow label stay", ONE_6, [forwarded(request6(SYN, tc=0x48, fl=0x12345))]),
    Row("IPv6: hop-by-hop options", ONE_6, [forwarded(request6(IPv6ExtHdrHopByHop() / SYN))]),
    Row("IPv6: destination options", ONE_6, [forwarded(request6(IPv6ExtHdrDestOpt() / SYN))]),
    Row(
        "IPv6: four extension headers",
        ONE_6,
        [
            forwarded(
                request6(
                    IPv6ExtHdrHopByHop()
                    / IPv6ExtHdrDestOpt()
                    / IPv6ExtHdrRouting(addresses=["fd00::99"], segleft=0)
                    / IPv6ExtHdrDestOpt()
                    / SYN
                )
            )
        ],
    ),
    Row("IPv6: a hop limit of 2 becomes 1", ONE_6, [forwarded(request6(SYN, hlim=2))]),
    Row("IPv6 to the VIP of an IPv4 service is not ours", ONE, [passed(request6(SYN), "PASS_NOT_OURS")]),
    Row("60 bytes, the least Ethernet frame", ONE, [forwarded(request(tcp(20000, 80, "S", 6)))]),
    Row("1,500 bytes", ONE, [forwarded(request(tcp(20000, 80, "S", 1460)))]),
    Row(
        "a frame shorter than its IP header says is the host's, which drops it",
        ONE,
        [
            passed(request(SYN, len=41), "PASS_MALFORMED"),
            passed(request(SYN, len=1400), "PASS_MALFORMED"),
        ],
        connections=[],
    ),
    Row(
        "IPv6: a frame shorter than its header says",
        ONE_6,
        [passed(request6(SYN, plen=21), "PASS_MALFORMED")],
        connections=[],
    ),
    Row(
        "nor is half a UDP header one",
        DNS,
        [passed(request(udp(20000, 53), len=27), "PASS_MALFORMED")],
        connections=[],
    ),
    Row(
        "what pads the frame is no transport header",
        ONE,
        [
            passed(request(SYN, len=20), "PASS_MALFORMED"),
            passed(request(SYN, len=39), "PASS_MALFORMED"),
        ],
        connections=[],
    ),
    Row("an IP header of less than five words", ONE, [passed(request(SYN, ihl=4), "PASS_MALFORMED")]),
    Row("another IP version", ONE, [passed(request(SYN, version=5), "PASS_MALFORMED")]),
    Row(
        "a neighbour that is not known yet is left to the kernel, which asks and waits",
        ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r NOBODY -g"),
        [Step(sent_by(CLIENT, request(SYN)), "FORWARD_DR", sent_by(CLIENT, aged(request(SYN))), xdp=TO_TC)],
    ),
    Row(
        "the director as its own destination takes the packet as it is",
        ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r 127.0.0.1 -g"),
        [passed(request(SYN), "PASS_LOCAL", xdp=TO_TC)],
    ),
    Row(
        "jumbo frames, where the destination's wire takes them",
        BIG,
        [
            forwarded(request(tcp(20000, 80, "S")), JUMBO),
            forwarded(request(tcp(20000, 80, "A", 3000)), JUMBO),
        ],
    ),
]

# A test run takes at most 3,656 bytes at TC, and no segments at XDP; test_wire.py has the larger ones.
LARGE = [
    Row(
        "9,000 bytes",
        BIG,
        [forwarded(request(SYN), JUMBO), forwarded(request(tcp(20000, 80, "A", 8960)), JUMBO)],
        totals=(1, 2, 0, 9040, 0),
        hooks=["xdp"],
    ),
    Row(
        "what the card will cut to segments of 1,448 bytes",
        ONE,
        [forwarded(request(SYN)), forwarded(request(tcp(20000, 80, "A", 3560)), gso_size=1448)],
        totals=(1, 2, 0, 3640, 0),
        hooks=["tc"],
    ),
    Row(
        "IPv6: what the card will cut to segments of 1,428 bytes",
        ONE_6,
        [forwarded(request6(SYN)), forwarded(request6(tcp(20000, 80, "A", 3560)), gso_size=1428)],
        hooks=["tc"],
    ),
]


@each([*ROWS, *LARGE])
def test_direct_routing(plane: Plane, row: Row, hook: str) -> None:
    """What the client sent arrives at the real server, but for the TTL."""
    play(plane, row, hook)
