# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server's program listens at its own address only, and not at the VIP."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import of, replied
from pylvs.host.probes import Reply

LIKELIHOOD = 67


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if replied(patient.direct, Reply.OPEN) and replied(patient.through, Reply.REFUSED):
            yield of(
                patient,
                "bound_to_rip",
                f"{patient.address} listens at its own address only, not at {patient.vip} port {patient.port}",
                f"Listen {patient.port} instead of {patient.name} in httpd.conf, then restart   (on {patient.address})",
                LIKELIHOOD,
            )
