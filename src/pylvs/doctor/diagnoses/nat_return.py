# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server of NAT does not send its replies through the director, which would have to change them back."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import of, replied, tell
from pylvs.host.probes import Reply

LIKELIHOOD = 64


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if not replied(patient.direct, Reply.OPEN) or patient.back is None or patient.back.reply is Reply.OPEN:
            continue
        way = patient.way
        assert way
        yield of(
            patient,
            "nat_return",
            f"{patient.address} does not send replies to other networks through the director",
            f"ip route replace default via {way.source}   (on {patient.address};"
            f" or: pylvs realserver join {patient.vip} --method nat --gateway {way.source})",
            LIKELIHOOD,
            f"TCP to {patient.name} from an address of the director's other side: {tell(patient.back)}",
        )
