# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections stay in SYN_RECV at a destination that answers the director: its replies are lost on the return path."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence
from pylvs.doctor.facts import director_loses_packets, reply_through_director
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about, half_open

LIKELIHOOD = 30


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    if director_loses_packets(evidence):
        return
    for one in evidence.destinations:
        if one.stuck and not reply_through_director(evidence, one):
            yield about(
                one,
                "way_back",
                f"{one.address} answers the director, but its replies do not reach the clients",
                f"pylvs doctor   (on {one.address}: its rp_filter, its routes to the clients)",
                LIKELIHOOD,
                half_open(one),
            )
