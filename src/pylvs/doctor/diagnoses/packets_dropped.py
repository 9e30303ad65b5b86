# SPDX-License-Identifier: GPL-2.0-or-later
"""The data plane itself drops packets, or forgets them, and says why: its outcomes grow while the doctor looks."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis, Health

LIKELIHOOD = 57
_BIGGER = "pylvsadm -Sn >/tmp/table && pylvs detach --unload && PYLVS_CONN_TAB_SIZE=… pylvsadm -R </tmp/table"
# By outcome: what is wrong, what to type, what it makes of the service.
LOSSES = {
    "DROP_NO_ROUTE": (
        "the director has no route back to clients, and drops replies of NAT", "ip route add CLIENT via ROUTER",
        Health.BROKEN,
    ),
    "DROP_NO_ENTRY": (
        "the connection table is full: new connections of NAT are dropped", _BIGGER, Health.BROKEN,
    ),
    "FORWARD_STATELESS": (
        "the connection table is full: new connections go by a hash alone", _BIGGER, Health.DEGRADED,
    ),
    "DROP_NO_PORT": (
        "no port is left for new connections of FULLNAT",
        "pylvsadm -e … --fullnat --local-address ADDRESS,ANOTHER", Health.BROKEN,
    ),
    "DROP_ERROR": (
        "the kernel refuses to change packets as the data plane asks", "pylvs trace outcome DROP_ERROR",
        Health.DEGRADED,
    ),
}  # fmt: skip


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for name, count in examination.growth.items():
        if count > 0 and name in LOSSES:
            what, mend, health = LOSSES[name]
            seen = (
                f"{count} packets while the doctor looked, {examination.outcomes.get(name, 0)} in all (pylvs outcomes)"
            )
            yield Diagnosis("packets_dropped", what, (f"{name}: {seen}",), "director", mend, health, LIKELIHOOD)
