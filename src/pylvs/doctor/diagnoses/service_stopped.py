# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing listens on a real server: its httpd has stopped."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import of, replied
from pylvs.host.probes import Reply

LIKELIHOOD = 68


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if replied(patient.direct, Reply.REFUSED) and not patient.other_ports:
            yield of(
                patient,
                "service_stopped",
                f"nothing listens at port {patient.port} of {patient.address}",
                f"systemctl start apache2   (on {patient.address}, or whatever serves port {patient.port})",
                LIKELIHOOD,
                f"no usual port of {patient.address} answers",
            )
