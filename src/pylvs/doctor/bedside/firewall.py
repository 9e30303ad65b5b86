# SPDX-License-Identifier: GPL-2.0-or-later
"""A firewall of the real server's own drops packets that come in."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.diagnosis import Diagnosis, Health
from pylvs.doctor.visit import Visit

LIKELIHOOD = 70
HOOKS = ("ingress", "prerouting", "input", "output", "postrouting", "egress")


def diagnose(visit: Visit) -> Iterator[Diagnosis]:
    for rule in visit.firewall if visit.vips else []:
        if rule.hook in HOOKS:
            yield Diagnosis(
                "firewall_on_real_server",
                f"a firewall rule here drops packets (hook {rule.hook})",
                (f"{rule.family} table {rule.table}, chain {rule.chain}: {rule.text}",),
                "this real server",
                rule.mend,
                Health.DEGRADED,
                LIKELIHOOD,
            )
