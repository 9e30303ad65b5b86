# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts that more than one diagnosis needs, each a function of the evidence."""

from __future__ import annotations

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, VipEvidence
from pylvs.doctor.firewall import Rule
from pylvs.host.capture import Heard
from pylvs.model import Address

NEIGHBOUR_HOOKS = ("ingress", "prerouting", "input", "output", "egress")  # that ARP and neighbour discovery pass
FORWARDED_HOOKS = ("ingress", "prerouting", "forward", "postrouting")


def reply_through_director(evidence: DirectorEvidence, destination: DestinationEvidence) -> Heard | None:
    """A reply of this real server to a client that arrived at the director; with DR and TUN none should."""
    if not destination.hidden_vip or not destination.stuck or evidence.capture is None:
        return None
    for one in evidence.capture.segments:
        its_own = one.mac in destination.arp_macs or not destination.on_link
        from_vip = (one.source, one.sport) == (destination.vip, destination.port)
        if one.answer and its_own and from_vip and not evidence.host.holders(one.target):
            return one
    return None


def rules_dropping_invalid(evidence: DirectorEvidence, destination: DestinationEvidence) -> list[Rule]:
    """The director's rules that drop forwarded packets which conntrack calls INVALID."""
    families = ("ip", "inet") if destination.address.version == 4 else ("ip6", "inet")
    found = (rule for rule in evidence.firewall if rule.matches_invalid)
    return [rule for rule in found if rule.hook in FORWARDED_HOOKS and rule.family in families]


def unanswered(evidence: DirectorEvidence) -> list[VipEvidence]:
    """The VIPs that the director has, and does not answer for when a neighbour asks."""
    return [vip for vip in evidence.vips if vip.held and vip.answers is False]


def rules_dropping_neighbours(evidence: DirectorEvidence, vip: Address) -> list[Rule]:
    """The director's rules at hooks that ARP or neighbour discovery for a VIP has to pass."""
    families = ("arp", "netdev", "bridge") if vip.version == 4 else ("inet", "ip6", "netdev", "bridge")
    return [rule for rule in evidence.firewall if rule.family in families and rule.hook in NEIGHBOUR_HOOKS]


def without_checksum(evidence: DirectorEvidence) -> list[Heard]:
    """One segment of each sender that left the checksum to its NIC, where XDP forwards it without."""
    if evidence.capture is None:
        return []
    found = {one.source: one for one in evidence.capture.segments if one.unsummed and _forwarded(evidence, one)}
    return list(found.values())


def _forwarded(evidence: DirectorEvidence, one: Heard) -> bool:
    """Whether XDP forwards this segment: it is to a service, or from a real server of NAT or FULLNAT."""
    if one.interface not in evidence.virtual_xdp:
        return False
    for destination in evidence.destinations:
        to_service = (one.target, one.dport) == (destination.vip, destination.service.service.key.port)
        from_server = (one.source, one.sport) == (destination.address, destination.port)
        if to_service or (from_server and not destination.hidden_vip):
            return True
    return False


def frames_lost(evidence: DirectorEvidence) -> dict[str, int]:
    """Frames that XDP sent by an interface and whose other end did not take them."""
    if evidence.capture is None or without_checksum(evidence):
        return {}
    return {interface: count for interface, count in evidence.capture.frames_lost.items() if count > 0}


def director_loses_packets(evidence: DirectorEvidence) -> bool:
    """Whether connections stay half-open for a reason that is on the director."""
    lost_at_xdp = bool(without_checksum(evidence) or frames_lost(evidence))
    return bool(evidence.forwarding_off) or lost_at_xdp or bool(evidence.growth.get("DROP_NO_ROUTE"))
