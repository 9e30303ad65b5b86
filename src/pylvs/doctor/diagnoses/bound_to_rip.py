# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server's program listens at its own address only, and not at the VIP."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence, replied
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about
from pylvs.host.probes import Reply

LIKELIHOOD = 67


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        if replied(one.tcp_to_rip, Reply.OPEN) and replied(one.tcp_to_vip, Reply.REFUSED):
            yield about(
                one,
                "bound_to_rip",
                f"{one.address} listens at its own address only, not at {one.vip} port {one.port}",
                f"Listen {one.port} instead of {one.endpoint} in httpd.conf, then restart   (on {one.address})",
                LIKELIHOOD,
            )
