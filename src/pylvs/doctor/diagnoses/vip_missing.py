# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server does not have the VIP: packets for it are not for that machine."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import WORDS, of, replied, tell
from pylvs.host.probes import Reply

LIKELIHOOD = 66
SILENCE = (Reply.SILENT, Reply.UNREACHABLE)  # one that routes says unreachable


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        silent = replied(patient.through, *SILENCE) and not replied(patient.echo, Reply.OPEN)
        if not silent or not replied(patient.direct, Reply.OPEN) or replied(patient.bare_ack, Reply.OPEN):
            continue
        yield of(
            patient,
            "vip_missing",
            f"{patient.address} does not have the VIP {patient.vip} on its lo",
            f"pylvs realserver join {patient.vip} --method {WORDS[patient.method]}   (on {patient.address})",
            LIKELIHOOD,
            f"a ping of the VIP through it: {tell(patient.echo)}" if patient.echo else "",
        )
