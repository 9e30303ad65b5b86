# SPDX-License-Identifier: GPL-2.0-or-later
"""The VIP is on a real server's lo with the mask of its network, which makes the whole network local to it.

It then takes the director's and the clients' addresses for its own, and its replies go to itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about

LIKELIHOOD = 80
USUAL_LENGTH = 24  # of the prefix, where the director does not have the VIP


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        if one.takes_network_for_its_own:
            yield _finding(one)


def _finding(one: DestinationEvidence) -> Finding:
    held = one.host.holders(one.vip) if one.vip else []
    length = held[0].address.network.prefixlen if held else USUAL_LENGTH
    if one.arp_macs:
        seen = "a ping of it: no reply; a ping by IPv6 on the same segment: answers"
    else:
        seen = f"an ARP probe, which names no sender: it is at {one.arp_probe_macs[0]}"
    return about(
        one,
        "vip_with_network",
        f"{one.address} takes the director for itself: the VIP is on its lo with a network's mask, not /32",
        f"ip addr del {one.vip}/{length} dev lo && ip addr add {one.vip}/32 dev lo",
        LIKELIHOOD,
        seen,
    )
