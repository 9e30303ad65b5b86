# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server answers ARP for the VIP: clients that get its answer first send everything to it alone."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, VipEvidence
from pylvs.doctor.finding import Finding, Health

LIKELIHOOD = 86
HIDE = "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for vip in evidence.vips:
        for mac in vip.claimed_by:
            if owner := evidence.owner(mac):
                yield _finding(vip, owner, mac)


def _finding(vip: VipEvidence, owner: DestinationEvidence, mac: str) -> Finding:
    return Finding(
        "arp_answered",
        f"the real server {owner.address} answers for the VIP {vip.address}, which only the director may",
        (
            f"who has {vip.address}, asked on {vip.interface}: it is at {mac}",
            f"{mac} is the address of {owner.address}",
        ),
        str(owner.address),
        HIDE if vip.address.version == 4 else f"pylvs realserver join {vip.address}",
        Health.BROKEN,
        LIKELIHOOD,
    )
