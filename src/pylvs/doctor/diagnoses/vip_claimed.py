# SPDX-License-Identifier: GPL-2.0-or-later
"""A second machine has the VIP: another director, or a mistake."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence, VipEvidence
from pylvs.doctor.finding import Finding, Health

LIKELIHOOD = 87


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for vip in evidence.vips:
        strangers = [mac for mac in vip.claimed_by if evidence.owner(mac) is None]
        for mac in strangers if vip.held else []:
            yield _finding(vip, mac)


def _finding(vip: VipEvidence, mac: str) -> Finding:
    return Finding(
        "vip_claimed",
        f"a second machine claims the VIP {vip.address}: {mac}, which is no destination",
        (
            f"who has {vip.address}, asked on {vip.interface}: it is at {mac}",
            f"the director has it on {vip.interface}, too",
        ),
        mac,
        f"ip addr del {vip.address}/32 dev IF   (on the machine with {mac}; ip neigh tells its address)",
        Health.BROKEN,
        LIKELIHOOD,
    )
