# SPDX-License-Identifier: GPL-2.0-or-later
"""A second machine has the VIP: another director, or somebody's mistake."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis, Health

LIKELIHOOD = 87


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for vip, macs in examination.claimed.items():
        strangers = [mac for mac in macs if examination.owner(mac) is None]
        for mac in strangers if examination.machine.holders(vip) else []:
            card = examination.card_of(vip)
            yield Diagnosis(
                "vip_claimed",
                f"a second machine claims the VIP {vip}: {mac}, which is no destination",
                (f"who has {vip}, asked on {card}: it is at {mac}", f"the director has it on {card}, too"),
                mac,
                f"ip addr del {vip}/32 dev IF   (on the machine with {mac}; ip neigh tells its address)",
                Health.BROKEN,
                LIKELIHOOD,
            )
