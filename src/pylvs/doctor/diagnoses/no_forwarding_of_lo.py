# SPDX-License-Identifier: GPL-2.0-or-later
"""The data plane finds no route: it looks routes up as if from lo, on which forwarding must be allowed.

Nothing but the host itself sends by lo. Setting `net.ipv4.ip_forward=0` later switches it off there too.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence
from pylvs.doctor.finding import Finding, Health

LIKELIHOOD = 97


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    refused = evidence.outcomes.get("REFUSE_NO_ROUTE", 0)
    for sysctl in evidence.forwarding_off:
        yield Finding(
            "no_forwarding_of_lo",
            "the data plane may not look up routes: forwarding is off on lo",
            (f"{sysctl} is 0", f"{refused} packets refused so far for lack of a route (pylvs outcomes)"),
            "director",
            f"sysctl -w {sysctl}=1",
            Health.BROKEN,
            LIKELIHOOD,
        )
