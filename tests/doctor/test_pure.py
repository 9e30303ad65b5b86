# SPDX-License-Identifier: GPL-2.0-or-later
"""The doctor's pure parts: packets as scapy has them, firewall rules from nft's JSON, the verdict."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from scapy.layers.inet import GRE, ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pylvs.dataplane.attach import Attachment
from pylvs.doctor import diagnoses
from pylvs.doctor import offloads as cards
from pylvs.doctor.diagnoses import packets_dropped, xdp_offloads
from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis, Health, modules
from pylvs.doctor.firewall import parse
from pylvs.doctor.main import DIRECTOR, REAL_SERVER, judge
from pylvs.host import capture as overhearing
from pylvs.host import packets
from pylvs.lab.faults import FAULTS
from pylvs.model import Tunnel, TunnelChecksum, TunnelType
from pylvs.table import outcomes

A, B = ip_address("192.0.2.1"), ip_address("192.0.2.2")
A6, B6 = ip_address("2001:db8::1"), ip_address("2001:db8::2")
CABLE = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")  # or scapy would ask the network for it


def outer(a: object, b: object, **fields: int) -> Packet:
    return IPv6(src=str(a), dst=str(b), hlim=64, **fields) if ":" in str(a) else IP(
        src=str(a), dst=str(b), id=0, flags="DF", **fields)  # fmt: skip


@pytest.mark.parametrize(("a", "b"), [(A, B), (A6, B6)])
def test_a_syn(a: packets.Address, b: packets.Address) -> None:
    """Byte for byte as scapy makes it, checksums too."""
    ours = packets.tcp(a, 4321, b, 80, packets.SYN, 7)
    assert ours == bytes(outer(a, b) / TCP(sport=4321, dport=80, flags="S", seq=7, window=packets.WINDOW))


@pytest.mark.parametrize("size", [64, 65, 1480])
def test_an_echo_request(size: int) -> None:
    """The size is that of the whole packet; the checksum holds for odd sizes too."""
    four, six = packets.echo(A, B, 9, size), packets.echo(A6, B6, 9, size)
    assert len(four) == len(six) == size
    assert four[20:] == bytes(ICMP(type=8, id=9, seq=1) / Raw(bytes(size - 28)))
    assert six == bytes(outer(A6, B6) / ICMPv6EchoRequest(id=9, seq=1, data=bytes(size - 48)))


@pytest.mark.parametrize(
    ("tunnel", "layers"),
    [
        (Tunnel(), []),
        (Tunnel(TunnelType.GUE, 6080), [UDP(sport=49153, dport=6080, chksum=0), Raw(b"\0\x04\0\0")]),
        (Tunnel(TunnelType.GRE), [GRE()]),
        (Tunnel(TunnelType.GRE, 0, TunnelChecksum.CSUM), [GRE(chksum_present=1)]),
    ],
)
def test_tunnels(tunnel: Tunnel, layers: list[Packet]) -> None:
    """Each type of tunnel, whole."""
    inner = outer(A, B) / TCP(sport=1, dport=2)
    wanted: Packet = outer(B, A)
    for layer in layers:
        wanted = wanted / layer
    assert packets.wrap(tunnel, B, A, bytes(inner)) == bytes(wanted / inner)


def test_what_comes_back_is_read() -> None:
    """A SYN+ACK, an echo reply of either family, and an ICMP error with its MTU."""
    seen = packets.parse(bytes(CABLE / outer(B, A) / TCP(sport=80, dport=4321, flags="SA")))
    assert seen is not None
    assert (seen.ports, seen.tcp_flags, seen.error, seen.echo_reply) == ((80, 4321), 0x12, None, None)
    for reply in (outer(B, A) / ICMP(type=0, id=9), outer(B6, A6) / ICMPv6EchoReply(id=9)):
        seen = packets.parse(bytes(CABLE / reply))
        assert seen is not None
        assert seen.echo_reply == 9
    too_big = packets.parse(bytes(CABLE / outer(B, A) / ICMP(type=3, code=4, nexthopmtu=1400) / outer(A, B)))
    assert too_big is not None
    assert (too_big.error in packets.TOO_BIG, too_big.mtu) == (True, 1400)


@pytest.mark.parametrize("length", range(60))
def test_frames_cut_short_are_borne(length: int) -> None:
    """Whatever is missing, nothing is raised."""
    for whole in (CABLE / outer(B, A) / ICMP(type=3, code=4), CABLE / outer(B6, A6) / ICMPv6EchoReply()):
        if seen := packets.parse(bytes(whole)[:length]):
            _ = seen.ports, seen.tcp_flags, seen.error, seen.echo_reply


NFT = [
    {"chain": {"family": "inet", "table": "f", "name": "in", "hook": "input", "policy": "drop"}},
    {"chain": {"family": "netdev", "table": "g", "name": "out", "hook": "egress", "policy": "accept"}},
    {"rule": {"family": "netdev", "table": "g", "chain": "out", "handle": 4, "expr": [
        {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}},
        {"counter": {"packets": 3, "bytes": 120}}, {"drop": None}]}},
    {"rule": {"family": "netdev", "table": "g", "chain": "out", "handle": 5, "expr": [{"accept": None}]}},
]  # fmt: skip


def test_firewall_rules() -> None:
    """A policy and a rule that drop; one that accepts is left out; each knows what takes it away."""
    policy, rule = parse(NFT)
    assert (policy.hook, policy.mend) == ("input", "nft add chain inet f in '{ policy accept; }'")
    assert (rule.hook, rule.text) == ("egress", "tcp dport 80 (3 packets) drop")
    assert rule.mend == "nft delete rule netdev g out handle 4"


@pytest.mark.parametrize(("right", "wants"), [("invalid", True), (["established", "related"], False)])
def test_a_rule_that_drops_what_conntrack_does_not_know(right: object, wants: bool) -> None:
    """Only one that drops INVALID."""
    state = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": right}}
    rule = {"family": "inet", "table": "f", "chain": "in", "handle": 2, "expr": [state, {"drop": None}]}
    assert [one.wants_state for one in parse([NFT[0], {"rule": rule}])] == [False, wants]


@pytest.mark.parametrize(
    ("name", "grown", "health"),
    [
        ("DROP_NO_ENTRY", 3, Health.BROKEN),
        ("FORWARD_STATELESS", 3, Health.DEGRADED),
        ("DROP_NO_PORT", 1, Health.BROKEN),
        ("DROP_NO_PORT", 0, None),
        ("FORWARD_DR", 9, None),
        ("REFUSE_TOO_BIG", 9, None),
    ],
)
def test_outcomes_that_grow(name: str, grown: int, health: Health | None) -> None:
    """What is lost while the doctor looks, and not what was lost long ago, or is as it should be."""
    examination = Examination()
    examination.__dict__.update(outcomes_before={name: 5}, outcomes={name: 5 + grown})
    found = list(packets_dropped.diagnose(examination))
    assert [one.health for one in found] == ([health] if health else [])
    assert all(f"{grown} packets while the doctor looked, {5 + grown} in all" in one.evidence[0] for one in found)


def test_outcomes_are_those_of_the_data_plane() -> None:
    """Every name that it speaks of exists."""
    assert packets_dropped.LOSSES.keys() <= outcomes.MEANINGS.keys()


VIRTIO = """Features for eth0:
rx-checksumming: on [fixed]
	tx-checksum-ip-generic: on
generic-receive-offload: on
large-receive-offload: off [fixed]
rx-gro-hw: {}
"""


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ("on", "ethtool -K eth0 rx-gro-hw off && pylvs attach eth0"),
        ("on [fixed]", "pylvs attach --mode tc eth0   (the host has to switch off the guest's offloads)"),
        ("off", None),
    ],
)
def test_a_virtual_card_that_refuses_xdp(monkeypatch: pytest.MonkeyPatch, said: str, mend: str | None) -> None:
    """What `ethtool -k` says of a virtio card whose host joins packets for it."""
    monkeypatch.setattr(cards, "_ethtool", lambda *_: VIRTIO.format(said))
    examination = Examination()
    examination.__dict__["patients"] = []
    examination.__dict__["attachments"] = [Attachment("eth0", ("tc",), "virtio_net", "native XDP was refused")]
    assert [one.mend for one in xdp_offloads.diagnose(examination)] == ([mend] if mend else [])


@pytest.mark.parametrize(("a", "b"), [(A, B), (A6, B6)])
@pytest.mark.parametrize("flags", ["S", "SA", "A", "FA"])
def test_what_is_overheard(a: packets.Address, b: packets.Address, flags: str) -> None:
    """The kernel's filter lets handshakes through, of both families, or all of TCP where that is asked for."""
    segment = bytes(CABLE / outer(a, b) / TCP(sport=1, dport=2, flags=flags))
    datagram = bytes(CABLE / outer(a, b) / UDP())
    assert lets_through(overhearing.SYN_ONLY, segment, datagram) == ([segment] if "S" in flags else [])
    assert lets_through(overhearing.ANY_TCP, segment, datagram) == [segment]


def lets_through(lines: overhearing.Program, *frames: bytes) -> list[bytes]:
    """What arrives of these frames behind the filter; the last that is sent is known to."""
    last = bytes(CABLE / outer(A, B) / TCP(flags="S", seq=99))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        overhearing.attach(lines, ours)
        for frame in (*frames, last):
            with suppress(PermissionError):  # what the filter drops is refused at once between the two
                theirs.send(frame)
        return list(iter(lambda: ours.recv(9000), last))


def test_the_verdict() -> None:
    """Nothing wrong is healthy; otherwise the worst counts."""
    mild, bad = (Diagnosis("x", "", (), "", "", health) for health in (Health.DEGRADED, Health.BROKEN))
    assert judge([]) is Health.HEALTHY
    assert judge([mild]) is Health.DEGRADED
    assert judge([mild, bad]) is Health.BROKEN


def test_every_fault_of_the_lab_has_a_diagnosis() -> None:
    """And each diagnosis says in its file's first line what it is about, and has its own likelihood."""
    names = {module.__name__.rpartition(".")[2] for package in (DIRECTOR, REAL_SERVER) for module in modules(package)}
    files = list(Path(diagnoses.__path__[0]).glob("[!_]*.py"))
    said = {word for path in files for word in re.findall(r'"([a-z_]+)"', path.read_text())} | names
    assert {fault.named for fault in FAULTS.values()} <= said
    orders = [module.LIKELIHOOD for module in modules(DIRECTOR)]
    assert len(orders) == len(set(orders))
    assert all(module.__doc__ for module in modules(DIRECTOR))
