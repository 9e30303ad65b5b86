# SPDX-License-Identifier: GPL-2.0-or-later
"""Values in, findings out: each diagnosis by what it is given, without a network."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest

from pylvs.dataplane.attach import Attachment
from pylvs.doctor import diagnoses, offloads
from pylvs.doctor.diagnoses import packets_dropped
from pylvs.doctor.evidence import REFUSED_XDP, Capture, DirectorEvidence, HostState, VipEvidence
from pylvs.doctor.finding import Finding, Health
from pylvs.doctor.firewall import Rule
from pylvs.doctor.report import DIRECTOR, REAL_SERVER, found, judge, modules
from pylvs.doctor.ruleset import Ruleset
from pylvs.doctor.server_state import RealServerState, VipState
from pylvs.host.machine import Held
from pylvs.host.neighbours import Neighbour
from pylvs.host.probes import Reply, Result
from pylvs.lab.faults import FAULTS
from pylvs.model import Destination, DestinationState, ForwardingMethod, ServiceState, VirtualService
from pylvs.realserver import plan
from pylvs.table import outcomes
from tests.doctor.values import (
    AT_XDP,
    CLIENT,
    DIP,
    HOST,
    KEPT_HERE,
    KEY,
    MAC,
    OPEN,
    PROHIBITED,
    REFUSED,
    RIP,
    ROUTED,
    SILENT,
    STRANGER,
    UNKNOWN_TUNNEL,
    UNREACHABLE,
    VIP,
    at,
    director,
    segment,
)

DR, TUN, NAT, FULLNAT = ForwardingMethod.DR, ForwardingMethod.TUN, ForwardingMethod.NAT, ForwardingMethod.FULLNAT
HIDDEN = VipEvidence(VIP, HOST, answers=False)
DROP_ARP = Rule("arp", "filter", "input", "input", 3, "arp operation request drop")
DROP_INVALID = Rule("inet", "filter", "forward", "forward", 4, "ct state invalid drop")
DROP_SENT = Rule("inet", "filter", "output", "output", 5, "tcp dport 80 drop")
STUCK = {"half_open": 9, "other_states": 1}
LOST = Capture((), {"eth0": 7})
UNSUMMED = segment(source=CLIENT, sport=40000, target=VIP, dport=80, answer=False, unsummed=True)
QUIESCED = ServiceState(VirtualService(KEY), (DestinationState(Destination(RIP, 80, NAT, weight=0)),))
VIRTIO = """Features for eth0:
rx-checksumming: on [fixed]
	tx-checksum-ip-generic: on
generic-receive-offload: on
large-receive-offload: off [fixed]
rx-gro-hw: {}
"""


def without(vip: Any) -> HostState:
    """The director's host without one address."""
    return replace(HOST, addresses=tuple(held for held in HOST.addresses if held.address.ip != vip))


def vip_on(*held: Held, **changes: Any) -> VipEvidence:
    host = replace(
        without(VIP), addresses=(*without(VIP).addresses, *held), sysctls={"net.ipv4.conf.all.arp_ignore": 1}
    )
    return VipEvidence(VIP, host, **changes)


# what it is, the evidence, the faults that are named, and what the first fix begins with
ROWS: list[tuple[str, DirectorEvidence, list[str], str]] = [
    ("all is well", director(at()), [], ""),
    ("all is well with TUN", director(at(TUN)), [], ""),
    ("all is well with NAT", director(at(NAT, tcp_from_outside=OPEN)), [], ""),
    ("not attached", director(at(), attachments=()), ["not_attached"], "pylvs attach eth0"),
    ("a VIP on no segment", director(at(), attachments=(), vips=(VipEvidence(CLIENT, HOST),)), ["vip_not_here"],
     f"ip addr add {CLIENT}/32 dev eth0"),
    ("lo does not forward", director(at(), host=replace(HOST, sysctls={}), outcomes={"REFUSE_NO_ROUTE": 2}),
     ["no_forwarding_of_lo"], "sysctl -w net.ipv4.conf.lo.forwarding=1"),
    ("the VIP is not here", director(at(), vips=(vip_on(),)), ["vip_not_here"], f"ip addr add {VIP}/24 dev eth0"),
    ("the VIP is on lo", director(at(), vips=(vip_on(Held("lo", ip_interface(f"{VIP}/32")), answers=False),)),
     ["vip_unanswered"], f"ip addr add {VIP}/32 dev eth0"),
    ("arp_ignore", director(at(), vips=(vip_on(Held("eth1", ip_interface(f"{VIP}/24")), answers=False),)),
     ["not_attached", "vip_unanswered"], "pylvs attach eth1"),
    ("it cannot be asked", director(at(), vips=(VipEvidence(VIP, HOST, answers=None),)), [], ""),
    ("a rule drops ARP", director(at(), vips=(HIDDEN,), firewall=(DROP_ARP,)), ["firewall_on_director"],
     "nft delete rule arp filter input handle 3"),
    ("a rule that does not concern ARP", director(at(), vips=(HIDDEN,), firewall=(DROP_INVALID,)), ["vip_unanswered"],
     "sysctl -w net.ipv4.conf.all.arp_ignore=0"),
    ("no destination", director(services=(ServiceState(VirtualService(KEY)),)), ["no_destination"],
     f"pylvsadm -a -t {VIP}:80 -r RIP -g"),
    ("weight 0", director(services=(QUIESCED,)), ["no_destination"], f"pylvsadm -e -t {VIP}:80 -r {RIP}:80 -m -w 1"),
    ("another MAC", director(at(neighbour=Neighbour(STRANGER, "PERMANENT"), tcp_to_rip=SILENT)), ["wrong_neighbour"],
     f"ip neigh del {RIP} dev eth0"),
    ("a second machine", director(at(), vips=(VipEvidence(VIP, HOST, (STRANGER,), True),)), ["vip_claimed"],
     f"ip addr del {VIP}/32 dev IF"),
    ("a real server", director(at(), vips=(VipEvidence(VIP, HOST, (MAC,), True),)), ["arp_answered"],
     "sysctl -w net.ipv4.conf.all.arp_ignore=1"),
    ("no route", director(at(route=None, arp_macs=(), tcp_to_rip=Result(Reply.NO_ROUTE), tcp_to_vip=None)),
     ["wrong_rip"], f"pylvsadm -d -t {VIP}:80 -r {RIP}:80"),
    ("a slip", director(at(TUN, route=None, arp_macs=(), tcp_to_rip=None, tcp_to_vip=None, meant=DIP)), ["wrong_rip"],
     f"pylvsadm -d -t {VIP}:80 -r {RIP}:80 && pylvsadm -a -t {VIP}:80 -r {DIP}:80 -i -w 1"),
    ("DR behind a router", director(at(route=ROUTED, tcp_to_vip=None)), ["wrong_rip"],
     f"pylvsadm -e -t {VIP}:80 -r {RIP}:80 -i"),
    ("the VIP as /24", director(at(tcp_to_rip=SILENT, tcp_to_vip=SILENT, ping_of_rip=SILENT, ipv6_replies=True)),
     ["vip_with_network"], f"ip addr del {VIP}/24 dev lo"),
    ("the VIP as /24, strict", director(at(arp_macs=(), arp_probe_macs=(MAC,), tcp_to_rip=SILENT, tcp_to_vip=None)),
     ["vip_with_network"], f"ip addr del {VIP}/24 dev lo"),
    ("nobody there", director(at(arp_macs=(), tcp_to_rip=SILENT, tcp_to_vip=None, neighbour=None)),
     ["real_server_down"], "ip link set eth0 up"),
    ("nobody there, routed", director(at(TUN, route=ROUTED, arp_macs=(), tcp_to_rip=SILENT, tcp_to_vip=SILENT,
                                         ping_of_rip=SILENT)), ["real_server_down"], "ip link set eth0 up"),
    ("no tunnel", director(at(TUN, tcp_to_vip=UNKNOWN_TUNNEL)), ["decapsulator_missing"],
     f"pylvs realserver join {VIP} --method tun"),
    ("a stateful router", director(at(TUN, route=ROUTED, tcp_to_vip=SILENT, ping_of_vip=SILENT, ack_of_vip=OPEN)),
     ["conntrack_invalid"], "nft 'add table ip lvs;"),
    ("a stateful director", director(at(**STUCK), capture=Capture((segment(),)), firewall=(DROP_INVALID,)),
     ["conntrack_invalid"], "nft 'add table ip lvs;"),
    ("replies by the director", director(at(**STUCK), capture=Capture((segment(),))), ["replies_by_director"],
     "sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf.eth0.accept_local=1"),
    ("replies of another machine", director(at(**STUCK), capture=Capture((segment(mac=STRANGER),))), ["way_back"],
     "pylvs doctor"),
    ("dropped on the machine", director(at(tcp_to_rip=SILENT, tcp_to_vip=SILENT, ping_of_rip=OPEN)),
     ["firewall_on_real_server"], "nft -a list ruleset"),
    ("rejected there", director(at(tcp_to_rip=PROHIBITED, tcp_to_vip=PROHIBITED)), ["firewall_on_real_server"],
     "nft -a list ruleset"),
    ("only the VIP's port", director(at(tcp_to_vip=SILENT, ping_of_vip=OPEN)), ["firewall_on_real_server"],
     "nft -a list ruleset"),
    ("only the RIP's port", director(at(tcp_to_rip=SILENT)), [], ""),
    ("dropped by the director", director(at(tcp_to_rip=SILENT, tcp_to_vip=KEPT_HERE)), [], ""),
    ("perhaps by the director", director(at(NAT, tcp_to_rip=SILENT, ping_of_rip=OPEN), firewall=(DROP_SENT,)), [], ""),
    ("another port", director(at(tcp_to_rip=REFUSED, tcp_to_vip=REFUSED, other_ports=(8080,))), ["port_mismatch"],
     "let it listen at 80"),
    ("another port with NAT", director(at(NAT, tcp_to_rip=REFUSED, other_ports=(8080,))), ["port_mismatch"],
     f"pylvsadm -a -t {VIP}:80 -r {RIP}:8080 -m && pylvsadm -d -t {VIP}:80 -r {RIP}:80"),
    ("no port", director(at(FULLNAT, tcp_to_rip=REFUSED)), ["service_stopped"], "systemctl start apache2"),
    ("only at the RIP", director(at(tcp_to_vip=REFUSED)), ["bound_to_rip"], f"Listen 80 instead of {RIP}:80"),
    ("no VIP", director(at(tcp_to_vip=SILENT, ping_of_vip=SILENT)), ["vip_missing"],
     f"pylvs realserver join {VIP} --method dr"),
    ("no VIP on one that routes", director(at(tcp_to_vip=UNREACHABLE, ping_of_vip=UNREACHABLE)), ["vip_missing"],
     f"pylvs realserver join {VIP} --method dr"),
    ("NAT around the director", director(at(NAT, tcp_from_outside=SILENT)), ["nat_return"],
     f"ip route replace default via {DIP}"),
    ("no checksum", director(at(half_open=4), attachments=AT_XDP, capture=Capture((UNSUMMED,), LOST.frames_lost)),
     ["xdp_offloads"], "ethtool -K IF tx off"),
    ("no checksum, at TC", director(at(), capture=Capture((UNSUMMED,))), [], ""),
    ("no checksum, not ours", director(at(), attachments=AT_XDP, capture=Capture((replace(UNSUMMED, dport=22),))), [],
     ""),
    ("frames lost behind XDP", director(at(**STUCK), attachments=AT_XDP, capture=LOST), ["xdp_offloads"],
     "pylvs attach --mode tc eth0"),
    ("the path is narrower", director(at(TUN, route=ROUTED, full_ping_of_vip=Result(Reply.TOO_BIG, "", 1400))),
     ["tunnel_mtu"], f"ip route replace {RIP} via {ROUTED.gateway} dev eth0 mtu 1400"),
    ("the path is narrower and silent", director(at(TUN, full_ping_of_vip=SILENT)), ["tunnel_mtu"],
     f"ip route replace {RIP} dev eth0 mtu 1280"),
    ("the tunnel's packets fit", director(at(TUN, full_ping_of_vip=OPEN)), [], ""),
    ("ARP in the VIP's name", director(at(arp_sender=VIP)), ["arp_announced"], "sysctl -w net.ipv4.conf.all.arp_annou"),
    ("ARP in its own name", director(at(arp_sender=RIP)), [], ""),
    ("half-open connections", director(at(**STUCK)), ["way_back"], "pylvs doctor"),
    ("a few of them", director(at(half_open=2)), [], ""),
    ("more that are established", director(at(half_open=9, other_states=10)), [], ""),
    ("half-open, no route back", director(at(**STUCK), outcomes={"DROP_NO_ROUTE": 9}), ["packets_dropped"],
     "ip route add CLIENT via ROUTER"),
    ("two faults", director(at(), at(arp_macs=(), tcp_to_rip=SILENT, tcp_to_vip=None), at(tcp_to_rip=REFUSED)),
     ["real_server_down", "service_stopped"], "ip link set"),
]  # fmt: skip


@pytest.mark.parametrize(("evidence", "names", "fix"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_a_director(evidence: DirectorEvidence, names: list[str], fix: str) -> None:
    """What is named, in order; every finding has evidence and a fix."""
    findings = found(DIRECTOR, evidence)
    assert [finding.name for finding in findings] == names
    assert all(finding.what and all(finding.evidence) and finding.evidence for finding in findings)
    assert "".join(finding.fix for finding in findings[:1]).startswith(fix)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("on", "ethtool -K eth0 rx-gro-hw off && pylvs attach eth0"),
        ("on [fixed]", "pylvs attach --mode tc eth0   (the host has to switch off the guest's offloads)"),
        ("off", None),
    ],
)
def test_a_virtual_interface_that_refuses_xdp(text: str, fix: str | None) -> None:
    """By the output of `ethtool -k` for virtio_net, whose host merges packets for it."""
    attachments = (Attachment("eth0", ("tc",), "virtio_net", REFUSED_XDP),)
    refusing = {"eth0": offloads.merging(VIRTIO.format(text))}
    findings = found(DIRECTOR, director(at(), attachments=attachments, offloads=refusing))
    assert [finding.fix for finding in findings] == ([fix] if fix else [])


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
    """What is lost during the probes; not what was lost before, nor what is as it should be."""
    evidence = director(outcomes_before={name: 5}, outcomes={name: 5 + grown})
    findings = found(DIRECTOR, evidence)
    assert [finding.health for finding in findings] == ([health] if health else [])
    assert all(f"{grown} packets during the probes, {5 + grown} in all" in one.evidence[0] for one in findings)


def test_outcomes_are_those_of_the_data_plane() -> None:
    """Every name that the diagnosis knows exists."""
    assert packets_dropped.LOSSES.keys() <= outcomes.MEANINGS.keys()


RS_HOST = HostState(
    (Held("eth0", ip_interface(f"{RIP}/24")), Held("lo", ip_interface(f"{VIP}/32"))), ("eth0",)
)  # fmt: skip
ANY = ip_address("0.0.0.0")
DROP_80 = [
    {"chain": {"family": "inet", "table": "t", "name": "in", "hook": "input", "policy": "accept"}},
    {"rule": {"family": "inet", "table": "t", "chain": "in", "handle": 2, "expr": [
        {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}},
        {"drop": None}]}},
]  # fmt: skip


def real_server(*listening: tuple[Any, int], vip: VipState | None = None, **changes: Any) -> RealServerState:
    """A real server of DR where programs listen, at any address and port 80 if nothing else is said."""
    vips = (vip or VipState(VIP, "dr", "eth0", None, VIP),)
    state = RealServerState(RS_HOST, vips=vips, listening=frozenset(listening or [(ANY, 80)]))
    return replace(state, **changes)


def checked(method: str = "dr", **findings: plan.Finding) -> VipState:
    return VipState(VIP, method, "eth0", None, VIP, **{name: (finding,) for name, finding in findings.items()})


def wrong(what: str = "it is so", fix: str = "true") -> plan.Finding:
    return plan.Finding(what, "it is not", False, fix)


STRICT = replace(RS_HOST, sysctls={"net.ipv4.conf.eth0.rp_filter": 1})
RULES = Ruleset(DROP_80)
SERVER_ROWS: list[tuple[str, RealServerState, list[str], str]] = [
    ("all is well", real_server(), [], ""),
    ("nobody listens", real_server((ip_address("127.0.0.1"), 80)), ["service_stopped"], "systemctl start apache2"),
    ("at the RIP only", real_server((RIP, 80)), ["bound_to_rip"], f"Listen 80 instead of Listen {RIP}:80"),
    ("at the RIP only, with NAT", real_server((RIP, 80), vip=VipState(VIP, "nat", "eth0", None, RIP)), [], ""),
    ("the port is dropped", real_server(ruleset=RULES), ["firewall_on_real_server"],
     "nft delete rule inet t in handle 2"),
    ("one port of two", real_server((ANY, 80), (ANY, 22), ruleset=RULES), [], ""),
    ("one port of two, asked for", real_server((ANY, 80), (ANY, 22), ruleset=RULES, requests=frozenset({(VIP, 80)})),
     ["firewall_on_real_server"], "nft delete rule inet t in handle 2"),
    ("the other one, asked for", real_server((ANY, 80), (ANY, 22), ruleset=RULES, requests=frozenset({(VIP, 22)})),
     [], ""),
    ("strict rp_filter", real_server(host=STRICT, routes_out=("default dev eth1",), rp_filter_drops=3),
     ["strict_rp_filter"], "sysctl -w net.ipv4.conf.eth0.rp_filter=2"),
    ("strict, and one way out", real_server(host=STRICT, routes_out=("default dev eth0",)), [], ""),
    ("a longer name", real_server(host=STRICT, routes_out=("default dev eth01",)), ["strict_rp_filter"], "sysctl"),
    ("loose rp_filter", real_server(routes_out=("default dev eth1",)), [], ""),
    ("no VIP", real_server(vip=checked(on_lo=wrong(fix="ip addr add"))), ["vip_missing"], "ip addr add"),
    ("the VIP as /24", real_server(vip=checked(on_lo=wrong(fix="ip addr del"))), ["vip_with_network"], "ip addr del"),
    ("arp_ignore", real_server(vip=checked(arp_sysctls=wrong("arp_ignore hides it"))), ["arp_answered"], "true"),
    ("arp_announce", real_server(vip=checked(arp_sysctls=wrong("arp_announce hides it"))), ["arp_announced"], "true"),
    ("it answers ARP", real_server(vip=checked(arp_reply=wrong())), ["arp_answered"], "true"),
    ("no decapsulator", real_server(vip=checked("tun", decapsulator=wrong())), ["decapsulator_missing"], "true"),
    ("no return route", real_server(vip=checked("nat", return_route=wrong())), ["nat_return"], "true"),
    ("not known", real_server(vip=checked(arp_reply=plan.Finding("silent", "could not ask", None))), [], ""),
]  # fmt: skip


@pytest.mark.parametrize(("state", "names", "fix"), [pytest.param(*row[1:], id=row[0]) for row in SERVER_ROWS])
def test_a_real_server(state: RealServerState, names: list[str], fix: str) -> None:
    """What is named, in order, from inside."""
    findings = found(REAL_SERVER, state)
    assert [finding.name for finding in findings] == names
    assert "".join(finding.fix for finding in findings[:1]).startswith(fix)


def test_every_diagnosis_has_a_row() -> None:
    """A new file among the diagnoses is not forgotten here."""
    named = {name for row in (*ROWS, *SERVER_ROWS) for name in row[2]}
    assert {module.__name__.rpartition(".")[2] for module in modules(DIRECTOR)} <= named


def test_health() -> None:
    """Nothing wrong is healthy; otherwise the worst counts."""
    mild, bad = (Finding("x", "", (), "", "", health) for health in (Health.DEGRADED, Health.BROKEN))
    assert judge([], []) is Health.HEALTHY
    assert judge([mild], []) is Health.DEGRADED
    assert judge([mild, bad], []) is Health.BROKEN


def test_a_service_without_a_working_destination_is_broken() -> None:
    """One of two that is faulty degrades it, unless the other one has weight 0."""
    first, second = Destination(RIP, 80), Destination(DIP, 80)
    faulty = Finding("x", "", (), "", "", service=KEY, destination=first)
    both = ServiceState(VirtualService(KEY), (DestinationState(first), DestinationState(second)))
    quiesced = replace(both, destinations=(DestinationState(first), DestinationState(replace(second, weight=0))))
    assert judge([faulty], [both]) is Health.DEGRADED
    assert judge([faulty], [quiesced]) is Health.BROKEN


def test_every_fault_of_the_lab_has_a_diagnosis() -> None:
    """Each diagnosis states in its file's first line what it is about, and has its own likelihood."""
    files = list(Path(diagnoses.__path__[0]).glob("[!_]*.py"))
    names = {module.__name__.rpartition(".")[2] for package in (DIRECTOR, REAL_SERVER) for module in modules(package)}
    named = {word for path in files for word in re.findall(r'"([a-z_]+)"', path.read_text())} | names
    assert {fault.named for fault in FAULTS.values()} <= named
    orders = [module.LIKELIHOOD for module in modules(DIRECTOR)]
    assert len(orders) == len(set(orders))
    assert all(module.__doc__ for module in modules(DIRECTOR))


def test_diagnoses_stand_alone() -> None:
    """None imports another one, and none can reach the network or this machine: they take from `host` values only."""
    packages = (DIRECTOR, REAL_SERVER)
    for module in (module for package in packages for module in modules(package)):
        imported = re.findall(r"^\s*(?:from|import) (\S+)", Path(module.__file__).read_text(), re.MULTILINE)
        assert [name for name in imported if name.startswith(packages)] == []
        assert not {"socket", "subprocess", "pylvs.doctor.runner", "pylvs.host"} & set(imported)
