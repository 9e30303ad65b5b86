# SPDX-License-Identifier: GPL-2.0-or-later
"""Evidence for the diagnoses, made up: a director and one destination of it, healthy but for what a test changes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from pylvs.dataplane.attach import Attachment
from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, HostState, VipEvidence
from pylvs.host.capture import Heard
from pylvs.host.machine import Held
from pylvs.host.neighbours import Neighbour
from pylvs.host.probes import Reply, Result
from pylvs.host.routes import Route
from pylvs.model import (
    Destination,
    DestinationState,
    ForwardingMethod,
    Protocol,
    ServiceKey,
    ServiceState,
    VirtualService,
)

VIP, DIP, RIP = ip_address("192.0.2.100"), ip_address("192.0.2.1"), ip_address("192.0.2.11")
CLIENT, ROUTER, OUTSIDE = ip_address("198.51.100.7"), ip_address("192.0.2.254"), ip_address("203.0.113.1")
MAC, STRANGER = "02:00:00:00:00:11", "02:00:00:00:00:99"
KEY = ServiceKey(Protocol.TCP, VIP, 80)
HOST = HostState(
    (
        Held("eth0", ip_interface(f"{DIP}/24")),
        Held("eth0", ip_interface(f"{VIP}/24")),
        Held("eth1", ip_interface(f"{OUTSIDE}/24")),
    ),
    ("eth0", "eth1"),
    (ip_network("192.0.2.0/24"), ip_network("203.0.113.0/24")),
    {"net.ipv4.conf.lo.forwarding": 1},
)
LOCAL = Route("eth0", DIP, None)
AT_XDP = (Attachment("eth0", ("xdp", "tc"), "veth", "mode xdp"),)
ROUTED = Route("eth0", DIP, ROUTER)

OPEN, REFUSED, SILENT = Result(Reply.OPEN, str(RIP)), Result(Reply.REFUSED, str(RIP)), Result(Reply.SILENT)
UNREACHABLE, PROHIBITED = Result(Reply.UNREACHABLE, str(ROUTER)), Result(Reply.PROHIBITED, str(RIP))
UNKNOWN_TUNNEL, KEPT_HERE = Result(Reply.UNKNOWN_TUNNEL, str(RIP)), Result(Reply.KEPT_HERE, "this machine")


def at(method: ForwardingMethod = ForwardingMethod.DR, **changes: Any) -> DestinationEvidence:
    """A destination that answers; by other fields of the destination (`weight`), or of its evidence."""
    configured = {name: changes.pop(name) for name in set(changes) & set(Destination.__slots__) - {"tunnel"}}
    destination = replace(Destination(RIP, 80, method), **configured)
    healthy = DestinationEvidence(
        ServiceState(VirtualService(KEY), (DestinationState(destination),)),
        DestinationState(destination),
        HOST,
        frozenset({VIP}),
        route=LOCAL,
        arp_macs=(MAC,),
        neighbour=Neighbour(MAC, "REACHABLE"),
        tcp_to_rip=OPEN,
        tcp_to_vip=OPEN if method in (ForwardingMethod.DR, ForwardingMethod.TUN) else None,
    )
    return replace(healthy, **changes)


def director(*destinations: DestinationEvidence, **changes: Any) -> DirectorEvidence:
    """A director with these destinations, attached by TC."""
    evidence = DirectorEvidence(
        loaded=True,
        host=HOST,
        services=tuple(one.service for one in destinations),
        attachments=(Attachment("eth0", ("tc",), "veth", "mode tc"),),
        vips=(VipEvidence(VIP, HOST, answers=True),),
        destinations=destinations,
    )
    return replace(evidence, **changes)


def segment(**changes: Any) -> Heard:
    """A SYN+ACK from the VIP to a client, by the real server, that arrived at the director."""
    return replace(Heard("eth0", MAC, VIP, 80, CLIENT, 40000, answer=True, unsummed=False), **changes)
