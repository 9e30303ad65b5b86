# SPDX-License-Identifier: GPL-2.0-or-later
"""What the doctor looks at and probes, in which order, when and why: data. runner.py carries it out.

Each step fills in one field of the evidence. `needed` decides from the fields before it, without I/O, whether the step
can tell anything; so a probe whose reply takes time is made only where a diagnosis depends on it. `packets` and
`seconds` are upper bounds of what one step sends and how long it takes.

1. `TABLE`, then `HOST`: this machine and its data plane. Nothing is sent.
2. `VIP` for every VIP and `DESTINATION` for every destination, up to `PROBERS` at the same time. `CAPTURE_MEANWHILE`
   listens to what arrives by itself.
3. `AFTERWARDS`: once all replies are there.

A real server is looked at from inside by `SERVER`, and each of its VIPs by `SERVER_VIP`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pylvs.doctor.evidence import REFUSED_XDP, DestinationEvidence, DirectorEvidence, VipEvidence, replied
from pylvs.doctor.server_state import RealServerState, VipState
from pylvs.host.probes import PATIENCE, TRIES, Reply
from pylvs.model import ForwardingMethod

Values = TypeVar("Values", DirectorEvidence, VipEvidence, DestinationEvidence, RealServerState, VipState)

PROBERS = 16  # probes at the same time
MOST = 64  # destinations probed in one run
LISTENING = 2.5  # seconds: a SYN or SYN+ACK is sent again after 1, 3 and 7
SERVER_LISTENING = 1.5  # seconds
USUAL_PORTS = (80, 443, 8080, 8000, 8008, 8081, 8443, 8888, 3000, 5000)
ROWS = 200_000  # of the connection table, at most
RECENT = 12  # seconds: half-open connections older than that tell of the past
SETTLED = 2  # seconds: a younger half-open connection may be in the middle of its handshake
SELF_TEST = 1.0  # seconds for the director's own reply to ARP, which is there at once
SIMILAR = 16  # addresses tried in place of one that is out of reach
# A frame that is made by hand needs the MAC address of the next hop first; a handshake is ended by RST.
ASKED = PATIENCE * TRIES
ARP_PACKETS = 2
BY_HAND = PATIENCE + ASKED


@dataclass(frozen=True)
class Step(Generic[Values]):
    """One look or one probe: the field of the evidence that it fills in, and when and why."""

    field: str
    why: str
    needed: Callable[[Values], bool] = lambda values: True
    packets: int = 0
    seconds: float = 0.0


TABLE: tuple[Step[DirectorEvidence], ...] = (
    Step("loaded", "without a data plane there is no table"),
    Step("services", "what is balanced, and to where", lambda e: e.loaded),
)

HOST: tuple[Step[DirectorEvidence], ...] = (
    Step("attachments", "the interfaces on which the data plane is", lambda e: e.loaded),
    Step("offloads", "some keep a driver from XDP", lambda e: any(_refused_xdp(e))),
    Step("firewall", "rules that drop may stop ARP, replies, and the doctor's own probes"),
    Step("connections", "half-open ones are those whose replies are lost", lambda e: e.loaded),
    Step("outcomes_before", "what the data plane drops meanwhile is the difference", lambda e: e.loaded),
)

VIP: tuple[Step[VipEvidence], ...] = (
    Step("claimed_by", "nobody but the director may answer for it", lambda v: v.interface != "", ARP_PACKETS, PATIENCE),
    Step(
        "answers",
        "the director must, where it has the VIP",
        lambda v: bool(v.held) and v.interface in v.host.interfaces,
        packets=1,
        seconds=SELF_TEST,
    ),
)

CAPTURE_MEANWHILE: Step[DirectorEvidence] = Step(
    "capture",
    "with XDP on a virtual interface, checksums and frames are lost that nothing else shows",
    lambda e: bool(e.virtual_xdp),
    seconds=LISTENING,
)

AFTERWARDS: tuple[Step[DirectorEvidence], ...] = (
    Step(
        "capture",
        "connections are half-open: do their replies arrive here?",
        lambda e: e.capture is None and e.stuck,
        seconds=LISTENING,
    ),
    Step("outcomes", "what the data plane dropped since the first probe", lambda e: e.loaded),
)


def _refused_xdp(evidence: DirectorEvidence) -> list[str]:
    """The interfaces whose drivers refused XDP."""
    return [row.interface for row in evidence.attachments if row.hooks and row.why == REFUSED_XDP]


def _reachable(one: DestinationEvidence) -> bool:
    """Whether a frame can be sent to it: by a router, or to the MAC address that answered."""
    return one.route is not None and (not one.on_link or bool(one.arp_macs))


def _forwardable(one: DestinationEvidence) -> bool:
    """Whether the VIP can be probed by the forwarding path."""
    return one.path is not None and _reachable(one)


def _no_reply(one: DestinationEvidence) -> bool:
    return _reachable(one) and replied(one.tcp_to_rip, Reply.SILENT, Reply.UNREACHABLE)


def _no_ipv4(one: DestinationEvidence) -> bool:
    """Whether an IPv4 real server that has to hide the VIP answers ARP, and neither TCP nor ping."""
    silent = replied(one.tcp_to_rip, Reply.SILENT) and replied(one.ping_of_rip, Reply.SILENT)
    return silent and one.on_link and one.address.version == 4 and one.hidden_vip


def _vip_does_not_accept(one: DestinationEvidence) -> bool:
    return replied(one.tcp_to_vip, *(set(Reply) - {Reply.OPEN, Reply.REFUSED, Reply.KEPT_HERE}))


def _vip_is_silent(one: DestinationEvidence) -> bool:
    """Whether RIP:port accepts, and the VIP on the same machine replies to nothing."""
    silent = replied(one.tcp_to_vip, Reply.SILENT) and replied(one.ping_of_vip, Reply.SILENT)
    return silent and replied(one.tcp_to_rip, Reply.OPEN)


def _in_tunnel(one: DestinationEvidence) -> bool:
    return one.method is ForwardingMethod.TUN and replied(one.tcp_to_vip, Reply.OPEN)


def _sends_arp(one: DestinationEvidence) -> bool:
    """Whether its replies from the VIP make it ask for their next hop by ARP."""
    direct = one.method is ForwardingMethod.DR and one.address.version == 4
    return direct and replied(one.tcp_to_vip, Reply.OPEN, Reply.REFUSED)


def _from_outside(one: DestinationEvidence) -> bool:
    nat = one.method is ForwardingMethod.NAT and one.outside is not None
    return nat and replied(one.tcp_to_rip, Reply.OPEN)


DESTINATION: tuple[Step[DestinationEvidence], ...] = (
    Step("route", "interface, next hop and MTU", lambda d: not d.local),
    Step("arp_macs", "is a machine there?", lambda d: d.on_link, ARP_PACKETS, PATIENCE),
    Step(
        "arp_probe_macs",
        "one that takes the director's address for its own still answers a probe that names no sender",
        lambda d: d.on_link and not d.arp_macs,
        ARP_PACKETS,
        PATIENCE,
    ),
    Step("neighbour", "the MAC address to which the director sends", lambda d: d.on_link),
    Step("tcp_to_rip", "does the program accept?", lambda d: d.is_tcp and not d.local, 3, ASKED),
    Step(
        "tcp_to_vip",
        "does it accept what is forwarded?",
        lambda d: d.is_tcp and _forwardable(d),
        ARP_PACKETS + 3,
        BY_HAND,
    ),
    Step("tcp_from_outside", "do replies to other networks return through the director?", _from_outside, 3, ASKED),
    Step("ping_of_rip", "a machine that is up with a port that is dropped", _no_reply, ARP_PACKETS + 2, BY_HAND),
    Step("ipv6_replies", "all of IPv4 is silent, the machine is not", _no_ipv4, ARP_PACKETS + 2, BY_HAND),
    Step("ping_of_vip", "has it the VIP?", _vip_does_not_accept, ARP_PACKETS + 2, BY_HAND),
    Step("ack_of_vip", "a firewall may drop a SYN+ACK as INVALID", _vip_is_silent, ARP_PACKETS + 4, BY_HAND),
    Step("full_ping_of_vip", "do packets that fill the tunnel pass?", _in_tunnel, ARP_PACKETS + 2, BY_HAND),
    Step(
        "other_ports",
        "the program may listen at another port",
        lambda d: replied(d.tcp_to_rip, Reply.REFUSED),
        3 * len(USUAL_PORTS),
        ASKED,
    ),
    Step("arp_sender", "its ARP requests must not name the VIP", _sends_arp, 24, 2 * (4 * 0.3 + 2 * PATIENCE)),
    Step("meant", "an address may be a slip", lambda d: d.out_of_reach and d.is_tcp, 3 * SIMILAR, ASKED),
)

SERVER: tuple[Step[RealServerState], ...] = (
    Step("listening", "where programs accept TCP"),
    Step("ruleset", "its firewall, as the kernel goes through it"),
    Step("routes_out", "replies may leave by another interface"),
    Step("rp_filter_drops", "what a strict rp_filter has dropped"),
    Step(
        "requests",
        "of ports that are blocked beside others that are not, those count that somebody asks for",
        lambda state: state.partly_blocked,
        seconds=SERVER_LISTENING,
    ),
)

SERVER_VIP: tuple[Step[VipState], ...] = (
    Step("on_lo", "the VIP is on lo, one address wide", lambda v: v.hidden),
    Step("arp_sysctls", "arp_ignore and arp_announce hide it", lambda v: v.hidden and v.vip.version == 4),
    Step("arp_reply", "the machine itself, asked as by a neighbour, is silent", lambda v: v.hidden),
    Step("decapsulator", "the tunnel ends here", lambda v: v.method == "tun"),
    Step("return_route", "replies leave by the director", lambda v: v.method == "nat", ARP_PACKETS, PATIENCE),
)
