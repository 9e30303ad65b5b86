# SPDX-License-Identifier: GPL-2.0-or-later
"""The data plane is not on the card by which requests come in."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis, Health

LIKELIHOOD = 98


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    cards = set(examination.ours())
    for vip in examination.vips:
        card = examination.card_of(vip)
        if examination.instance and card and card not in cards:
            yield Diagnosis(
                "not_attached",
                f"the data plane is not on {card}, by which requests for {vip} come in",
                (f"{vip} belongs to {card}", f"the data plane is on: {', '.join(sorted(cards)) or 'no card'}"),
                "director",
                f"pylvs attach {card}",
                Health.BROKEN,
                LIKELIHOOD,
            )
