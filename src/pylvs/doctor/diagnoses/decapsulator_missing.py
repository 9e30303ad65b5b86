# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server of TUN does not take packets out of the tunnel."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import method, of, replied
from pylvs.host.probes import Reply
from pylvs.model import ForwardingMethod

LIKELIHOOD = 76


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if patient.method is ForwardingMethod.TUN and replied(patient.through, Reply.UNKNOWN_TUNNEL):
            yield of(
                patient,
                "decapsulator_missing",
                f"{patient.address} does not know the tunnel {method(patient)}: nothing unwraps it there",
                f"pylvs realserver join {patient.vip} --method tun   (on {patient.address})",
                LIKELIHOOD,
            )
