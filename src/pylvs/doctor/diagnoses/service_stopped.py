# SPDX-License-Identifier: GPL-2.0-or-later
"""No program listens on a real server: its httpd has stopped."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence, replied
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about
from pylvs.host.probes import Reply

LIKELIHOOD = 68


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        if replied(one.tcp_to_rip, Reply.REFUSED) and not one.other_ports:
            yield about(
                one,
                "service_stopped",
                f"nothing listens at port {one.port} of {one.address}",
                f"systemctl start apache2   (on {one.address}, or whatever serves port {one.port})",
                LIKELIHOOD,
                f"no usual port of {one.address} answers",
            )
