# SPDX-License-Identifier: GPL-2.0-or-later
"""The director's neighbour table has another hardware address for a real server than the one that answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import of

LIKELIHOOD = 88


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        known = patient.neighbour
        if known is None or not patient.way or not patient.misdirected:
            continue
        found = of(
            patient,
            "wrong_neighbour",
            f"the director sends what is for {patient.address} to {known.mac}, which is not its hardware address",
            f"ip neigh del {patient.address} dev {patient.way.interface}",
            LIKELIHOOD,
            f"ip neigh: {patient.address} dev {patient.way.interface} lladdr {known.mac} {known.state}",
        )
        yield replace(found, machine="director")
