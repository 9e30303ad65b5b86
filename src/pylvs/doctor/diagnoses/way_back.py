# SPDX-License-Identifier: GPL-2.0-or-later
"""The document's sign: connections stay in SYN_RECV at a destination that answers us: its replies get lost."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.diagnoses import xdp_offloads
from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import half_open, of

LIKELIHOOD = 30


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    if examination.routeless or any(xdp_offloads.lost(examination)) or examination.growth.get("DROP_NO_ROUTE"):
        return  # it is the director
    for patient in examination.patients:
        if not patient.stuck or examination.replies_here(patient):
            continue
        yield of(
            patient,
            "way_back",
            f"{patient.address} answers the director, but its replies do not reach the clients",
            f"pylvs doctor   (on {patient.address}: its rp_filter, its routes towards the clients)",
            LIKELIHOOD,
            half_open(patient),
        )
