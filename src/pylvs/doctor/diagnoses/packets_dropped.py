# SPDX-License-Identifier: GPL-2.0-or-later
"""The data plane itself drops packets, or loses count of their connections: those outcomes grow during the probes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pylvs.doctor.evidence import DirectorEvidence
from pylvs.doctor.finding import Finding, Health

LIKELIHOOD = 57
LARGER_TABLE = "pylvsadm -Sn >/tmp/table && pylvs detach --unload && PYLVS_CONN_TAB_SIZE=… pylvsadm -R </tmp/table"


class Loss(NamedTuple):
    """What is wrong when an outcome grows, what fixes it, and what that makes of the service."""

    what: str
    fix: str
    health: Health


LOSSES = {
    "DROP_NO_ROUTE": Loss(
        "the director has no route back to clients, and drops replies of NAT",
        "ip route add CLIENT via ROUTER",
        Health.BROKEN,
    ),
    "DROP_NO_ENTRY": Loss(
        "the connection table is full: new connections of NAT are dropped",
        LARGER_TABLE,
        Health.BROKEN,
    ),
    "FORWARD_STATELESS": Loss(
        "the connection table is full: new connections are forwarded by a hash alone",
        LARGER_TABLE,
        Health.DEGRADED,
    ),
    "DROP_NO_PORT": Loss(
        "no port is left for new connections of FULLNAT",
        "pylvsadm -e … --fullnat --local-address ADDRESS,ANOTHER",
        Health.BROKEN,
    ),
    "DROP_ERROR": Loss(
        "the kernel refuses to change packets as the data plane asks",
        "pylvs trace outcome DROP_ERROR",
        Health.DEGRADED,
    ),
}


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for name, count in evidence.growth.items():
        if count > 0 and name in LOSSES:
            loss, total = LOSSES[name], evidence.outcomes[name]
            counts = f"{name}: {count} packets during the probes, {total} in all (pylvs outcomes)"
            yield Finding("packets_dropped", loss.what, (counts,), "director", loss.fix, loss.health, LIKELIHOOD)
