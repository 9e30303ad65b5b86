# SPDX-License-Identifier: GPL-2.0-or-later
"""The document's sign: connections stay in SYN_RECV at a destination that answers us: its replies get lost."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.diagnosis import Diagnosis
from pylvs.doctor.evidence import of, replied
from pylvs.doctor.examination import Examination, Patient
from pylvs.doctor.probes import Reply

LIKELIHOOD = 30
FEW = 3


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if not replied(patient.through or patient.direct, Reply.OPEN) or not _stuck(patient):
            continue
        yield of(
            patient,
            "way_back",
            f"{patient.address} answers the director, but its replies do not reach the clients",
            f"pylvs doctor   (on {patient.address}: its rp_filter, its routes towards the clients)",
            LIKELIHOOD,
            f"{patient.half_open} young connections are in SYN_RECV, {patient.others} in any other state",
        )


def _stuck(patient: Patient) -> bool:
    return patient.half_open >= FEW and patient.half_open > patient.others
