# SPDX-License-Identifier: GPL-2.0-or-later
"""The data plane finds no route: it asks the routing table as from lo, which must be allowed to forward.

Nothing but the host itself sends by lo. `net.ipv4.ip_forward=0`, typed later, switches it off there too.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis, Health

LIKELIHOOD = 97


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for key in examination.routeless:
        refused = examination.outcomes.get("REFUSE_NO_ROUTE", 0)
        yield Diagnosis(
            "no_forwarding_of_lo",
            "the data plane may not ask for routes: forwarding is off on lo",
            (f"{key} is 0", f"{refused} packets refused so far for want of a route (pylvs outcomes)"),
            "director",
            f"sysctl -w {key}=1",
            Health.BROKEN,
            LIKELIHOOD,
        )
