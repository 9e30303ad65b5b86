# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server names the VIP as the sender of its ARP requests: whoever receives one takes the VIP to be there."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about

LIKELIHOOD = 58


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        if one.vip and one.arp_sender == one.vip:
            yield about(
                one,
                "arp_announced",
                f"{one.address} sends ARP requests with the VIP {one.vip} as their sender (arp_announce is not 2)",
                f"sysctl -w net.ipv4.conf.all.arp_announce=2   (on {one.address})",
                LIKELIHOOD,
                f"a SYN from an unused address of its segment made it send an ARP request: tell {one.vip}",
            )
