# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs listen at the machine's own address, and none at the VIP."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.finding import Diagnosis, Health
from pylvs.doctor.server_state import Visit

LIKELIHOOD = 60


def diagnose(visit: Visit) -> Iterator[Diagnosis]:
    for vip in visit.vips:
        if visit.subject(vip).method == "nat":
            continue
        here = {port for address, port in visit.listening if address.is_unspecified or address == vip}
        only = sorted({(str(a), p) for a, p in visit.listening if not a.is_unspecified and not a.is_loopback
                       and a not in visit.vips and p not in here})  # fmt: skip
        if not here:
            said = ", ".join(f"{address}:{port}" for address, port in only) or "nobody listens for TCP at all"
            yield Diagnosis(
                "bound_to_rip" if only else "service_stopped",
                f"nobody here listens at the VIP {vip}",
                (f"listening: {said}",),
                "this real server",
                f"Listen {only[0][1]} instead of Listen {only[0][0]}:{only[0][1]} in httpd.conf, then restart"
                if only
                else "systemctl start apache2   (or whatever serves the VIP)",
                Health.BROKEN,
                LIKELIHOOD,
            )
