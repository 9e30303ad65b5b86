# SPDX-License-Identifier: GPL-2.0-or-later
"""The director's neighbour table has another MAC address for a real server than the one that answers."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about

LIKELIHOOD = 88


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        known = one.neighbour
        if known and one.route and one.wrong_mac:
            at = f"{one.address} dev {one.route.interface}"
            yield about(
                one,
                "wrong_neighbour",
                f"the director sends what is for {one.address} to {known.mac}, which is not its hardware address",
                f"ip neigh del {at}",
                LIKELIHOOD,
                f"ip neigh: {at} lladdr {known.mac} {known.state}",
                machine="director",
            )
