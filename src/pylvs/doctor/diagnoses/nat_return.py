# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server of NAT does not send its replies through the director, which has to translate them back."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence, replied
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about, told
from pylvs.host.probes import Reply

LIKELIHOOD = 64


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        outside = one.tcp_from_outside
        if outside is None or outside.reply is Reply.OPEN or not one.route or not replied(one.tcp_to_rip, Reply.OPEN):
            continue
        director = one.route.source
        yield about(
            one,
            "nat_return",
            f"{one.address} does not send replies to other networks through the director",
            f"ip route replace default via {director}   (on {one.address};"
            f" or: pylvs realserver join {one.vip} --method nat --gateway {director})",
            LIKELIHOOD,
            f"TCP to {one.endpoint} from an address of the director's other side: {told(outside)}",
        )
