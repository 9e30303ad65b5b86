# SPDX-License-Identifier: GPL-2.0-or-later
"""The data plane is not on the interface by which requests arrive."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence
from pylvs.doctor.finding import Finding, Health

LIKELIHOOD = 98


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    attached = sorted(set(evidence.attached))
    for vip in evidence.vips:
        interface = vip.interface
        if evidence.loaded and interface and interface not in attached:
            yield Finding(
                "not_attached",
                f"the data plane is not on {interface}, by which requests for {vip.address} arrive",
                (
                    f"{vip.address} belongs to {interface}",
                    f"the data plane is on: {', '.join(attached) or 'no interface'}",
                ),
                "director",
                f"pylvs attach {interface}",
                Health.BROKEN,
                LIKELIHOOD,
            )
