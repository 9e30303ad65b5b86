# SPDX-License-Identifier: GPL-2.0-or-later
"""The decapsulator, a sentence and a whole packet each: what it is given, what is left, under which name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import GRE, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from pylvs.dataplane.kernel import skb_context, xdp_context
from pylvs.realserver.decapsulator import Decapsulator
from tests.realserver.conftest import ip

DIRECTOR, REAL, CLIENT, VIP = "192.168.248.134", "192.168.248.135", "192.168.247.1", "192.168.247.100"
DIRECTOR6, REAL6, CLIENT6, VIP6 = "fd00:248::134", "fd00:248::135", "fd00:247::1", "fd00:247::100"
ELSEWHERE = "192.168.249.9"
OWN = "02:00:00:00:00:02"
PASS = {"tc": -1, "xdp": 2}
DROP = {"tc": 2, "xdp": 1}


def frame(*layers: Packet, to: str = OWN) -> Packet:
    whole: Packet = Ether(src="02:00:00:00:00:01", dst=to)
    for layer in layers:
        whole = whole / layer
    return whole


REQUEST = IP(src=CLIENT, dst=VIP, ttl=62, id=7) / TCP(sport=4321, dport=80, flags="S") / Raw(b"hello")
REQUEST6 = IPv6(src=CLIENT6, dst=VIP6, hlim=62) / TCP(sport=4321, dport=80, flags="S") / Raw(b"hello")
OUTER = IP(src=DIRECTOR, dst=REAL)
OUTER6 = IPv6(src=DIRECTOR6, dst=REAL6)
GUE4, GUE6 = Raw(b"\x00\x04\x00\x00"), Raw(b"\x00\x29\x00\x00")


def marked(inner: Packet, ecn: int) -> Packet:
    """A copy of the packet with these ECN bits."""
    copy = inner.copy()
    if IPv6 in copy:
        copy.tc = ecn
    else:
        copy.tos = ecn
    return copy


@dataclass(frozen=True)
class Row:
    """A frame, what is left of it (None: the same frame), and the name under which it counts."""

    sentence: str
    given: Packet
    outcome: str
    left: Packet | None = None


UNWRAPPED = [
    Row("IPIP", frame(OUTER, REQUEST), "FAR_IPIP", frame(REQUEST)),
    Row("IPIP with options in the outer header", frame(IP(src=DIRECTOR, dst=REAL, options=[b"\x01" * 8]), REQUEST),
        "FAR_IPIP", frame(REQUEST)),
    Row("6in4", frame(IP(src=DIRECTOR, dst=REAL, proto=41), REQUEST6), "FAR_IPIP", frame(REQUEST6)),
    Row("4in6", frame(OUTER6, REQUEST), "FAR_IPIP", frame(REQUEST)),
    Row("6in6", frame(OUTER6, REQUEST6), "FAR_IPIP", frame(REQUEST6)),
    Row("6in6 behind an encapsulation limit, as Linux sends it",
        frame(OUTER6, IPv6ExtHdrDestOpt(nh=41, options=[PadN(optdata=b"\0\0\0\0")]), REQUEST6), "FAR_IPIP",
        frame(REQUEST6)),
    Row("GUE", frame(OUTER, UDP(sport=50000, dport=6080), GUE4, REQUEST), "FAR_GUE", frame(REQUEST)),
    Row("GUE without a UDP checksum", frame(OUTER, UDP(sport=50000, dport=6080, chksum=0), GUE4, REQUEST),
        "FAR_GUE", frame(REQUEST)),
    Row("GUE with IPv6 in IPv4", frame(OUTER, UDP(sport=50000, dport=6080), GUE6, REQUEST6), "FAR_GUE",
        frame(REQUEST6)),
    Row("GUE over IPv6", frame(OUTER6, UDP(sport=50000, dport=6080), GUE4, REQUEST), "FAR_GUE", frame(REQUEST)),
    Row("GUE variant 1, which is the packet itself", frame(OUTER, UDP(sport=50000, dport=6080), REQUEST),
        "FAR_GUE", frame(REQUEST)),
    Row("GRE", frame(OUTER, GRE(), REQUEST), "FAR_GRE", frame(REQUEST)),
    Row("GRE with a checksum", frame(OUTER, GRE(chksum_present=1), REQUEST), "FAR_GRE", frame(REQUEST)),
    Row("GRE with IPv6 in IPv4", frame(OUTER, GRE(proto=0x86DD), REQUEST6), "FAR_GRE", frame(REQUEST6)),
    Row("GRE over IPv6", frame(OUTER6, GRE(), REQUEST), "FAR_GRE", frame(REQUEST)),
    Row("an inner packet shorter than the smallest frame",
        frame(OUTER, IP(src=CLIENT, dst=VIP), UDP(sport=1, dport=2)), "FAR_IPIP",
        frame(IP(src=CLIENT, dst=VIP), UDP(sport=1, dport=2))),
    Row("a packet longer than usual", frame(OUTER, IP(src=CLIENT, dst=VIP), TCP(), Raw(bytes(3000))), "FAR_IPIP",
        frame(IP(src=CLIENT, dst=VIP), TCP(), Raw(bytes(3000)))),
    Row("congestion marked on the way is told to the inner packet",
        frame(IP(src=DIRECTOR, dst=REAL, tos=3), marked(REQUEST, 2)), "FAR_IPIP", frame(marked(REQUEST, 3))),
    Row("and to one of the other ECN-capable kind",
        frame(IP(src=DIRECTOR, dst=REAL, tos=3), marked(REQUEST, 1)), "FAR_IPIP", frame(marked(REQUEST, 3))),
    Row("and to IPv6", frame(IPv6(src=DIRECTOR6, dst=REAL6, tc=3), marked(REQUEST6, 2)), "FAR_IPIP",
        frame(marked(REQUEST6, 3))),
]  # fmt: skip
UNTOUCHED = [
    Row("ARP", frame(ARP(), to="ff:ff:ff:ff:ff:ff"), "FAR_PASS_OTHER"),
    Row("a packet that is no tunnel", frame(REQUEST), "FAR_PASS_OTHER"),
    Row("UDP to another port", frame(OUTER, UDP(dport=6081), GUE4, REQUEST), "FAR_PASS_OTHER"),
    Row("a frame cut off in its IP header", frame(Raw(b"\x45\0\0\x14"), to=OWN), "FAR_PASS_OTHER"),
    Row("a fragment that is no tunnel's", frame(IP(src=CLIENT, dst=REAL, flags="MF"), UDP()), "FAR_PASS_OTHER"),
    Row("a tunnel that goes on to another host", frame(IP(src=DIRECTOR, dst=ELSEWHERE), REQUEST),
        "FAR_PASS_NOT_HERE"),
    Row("a packet for an address that was not joined", frame(OUTER, IP(src=CLIENT, dst="192.168.247.101"), TCP()),
        "FAR_PASS_NOT_JOINED"),
    Row("a packet for our own address inside a tunnel", frame(OUTER, IP(src=CLIENT, dst=REAL), TCP()),
        "FAR_PASS_NOT_JOINED"),
    Row("GRE that carries something else", frame(OUTER, GRE(proto=0x6558), Ether(), REQUEST),
        "FAR_PASS_NOT_JOINED"),
    Row("the first piece of a tunnelled packet", frame(IP(src=DIRECTOR, dst=REAL, flags="MF"), REQUEST),
        "FAR_PASS_FRAGMENT"),
    Row("a later piece", frame(IP(src=DIRECTOR, dst=REAL, frag=100, proto=4), Raw(bytes(100))),
        "FAR_PASS_FRAGMENT"),
    Row("GRE with a key", frame(OUTER, GRE(key_present=1, key=5), REQUEST), "FAR_PASS_OPTION"),
    Row("a GUE control message", frame(OUTER, UDP(dport=6080), Raw(b"\x20\x01\0\0"), REQUEST), "FAR_PASS_OPTION"),
    Row("GUE with flags, as for remote checksums", frame(OUTER, UDP(dport=6080), Raw(b"\x02\x04\0\x01" + bytes(8)),
        REQUEST), "FAR_PASS_OPTION"),
    Row("an inner packet cut off", frame(IP(src=DIRECTOR, dst=REAL, proto=4), Raw(bytes(REQUEST)[:18])),
        "FAR_PASS_MALFORMED"),
    Row("an inner packet longer than the outer one",
        frame(OUTER, IP(src=CLIENT, dst=VIP, len=1400), TCP()), "FAR_PASS_MALFORMED"),
    Row("an inner packet of the wrong version", frame(IP(src=DIRECTOR, dst=REAL, proto=4), REQUEST6),
        "FAR_PASS_MALFORMED"),
    Row("an inner IPv6 packet longer than the outer one",
        frame(IP(src=DIRECTOR, dst=REAL, proto=41), IPv6(src=CLIENT6, dst=VIP6, plen=900), TCP()),
        "FAR_PASS_MALFORMED"),
]  # fmt: skip
DROPPED = [
    Row("congestion marked on a packet that cannot say so",
        frame(IP(src=DIRECTOR, dst=REAL, tos=3), marked(REQUEST, 0)), "FAR_DROP_ECN"),
    Row("the same in IPv6", frame(IPv6(src=DIRECTOR6, dst=REAL6, tc=3), marked(REQUEST6, 0)), "FAR_DROP_ECN"),
]  # fmt: skip


class Host:
    """A real server that has joined both VIPs and would forward for others, so that its routes are asked."""

    def __init__(self) -> None:
        ip(
            f"addr add {REAL}/24 dev eth0",
            f"addr add {REAL6}/64 dev eth0 nodad",
            f"route add {ELSEWHERE}/32 via {DIRECTOR}",
        )
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        # The wire's other end must send nothing by itself, which would be counted too.
        Path("/proc/sys/net/ipv6/conf/peer0/disable_ipv6").write_text("1")
        self.decapsulator = Decapsulator.here()
        for vip in (VIP, VIP6):
            self.decapsulator.join(ip_address(vip), "eth0")
        self.index = socket.if_nametoindex("eth0")

    def run(self, hook: str, data: bytes) -> tuple[int, bytes]:
        """Verdict and frame."""
        context = skb_context(self.index) if hook == "tc" else xdp_context(len(data), self.index)
        with self.decapsulator.instance.program(f"far_end_{hook}") as program:
            result = program.test_run(data, context)
        return result.retval, result.data


@pytest.fixture
def host(network: None) -> Iterator[Host]:
    made = Host()
    yield made
    made.decapsulator.instance.remove()


def counted(host: Host, before: dict[str, int]) -> dict[str, int]:
    return {name: n - before[name] for name, n in host.decapsulator.outcomes().items() if n != before[name]}


def one(host: Host, hook: str, given: bytes) -> tuple[int, bytes, dict[str, int]]:
    before = host.decapsulator.outcomes()
    verdict, left = host.run(hook, given)
    return verdict, left, counted(host, before)


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_rows(host: Host, hook: str) -> None:
    """Every row: verdict, whole frame, exactly one outcome."""
    wrong: list[Any] = []
    for rows, verdict in ((UNWRAPPED, PASS), (UNTOUCHED, PASS), (DROPPED, DROP)):
        for row in rows:
            given = bytes(row.given)
            expected = (verdict[hook], given if row.left is None else bytes(row.left), {row.outcome: 1})
            if (said := one(host, hook, given)) != expected:
                wrong.append((row.sentence, said, expected))
    assert not wrong, "\n".join(f"{sentence}: {said} instead of {want}" for sentence, said, want in wrong)
