# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server is not there: its segment does not know it."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination, Patient
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import of, replied, tell
from pylvs.host.probes import Reply

LIKELIHOOD = 78


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if patient.way is None or patient.here or not _gone(patient):
            continue
        yield of(
            patient,
            "real_server_down",
            f"the real server {patient.address} is down, or off its network"
            + ("" if patient.on_link else ", or drops all that comes (firewall, strict rp_filter)"),
            f"ip link set {patient.way.interface} up   (on {patient.address}, after a look at its cable and power)",
            LIKELIHOOD,
            *([f"a ping of {patient.address}: {tell(patient.ping)}"] if patient.ping else []),
        )


def _gone(patient: Patient) -> bool:
    if patient.on_link:
        return not patient.macs and not patient.macs_by_probe
    return replied(patient.direct, Reply.UNREACHABLE, Reply.SILENT) and not patient.alive
