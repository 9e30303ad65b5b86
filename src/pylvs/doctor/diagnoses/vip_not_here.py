# SPDX-License-Identifier: GPL-2.0-or-later
"""The VIP is not on the director: nobody answers ARP for it."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis, Health

LIKELIHOOD = 96


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for vip in examination.vips:
        if examination.machine.holders(vip):
            continue
        card = examination.machine.on_link(vip) or (examination.machine.cards or ["eth0"])[0]
        near = (h.address.network.prefixlen for h in examination.machine.addresses if h.interface == card)
        length = next(near, vip.max_prefixlen) if examination.machine.on_link(vip) else vip.max_prefixlen
        yield Diagnosis(
            "vip_not_here",
            f"the VIP {vip} is not configured on the director",
            (f"no interface has {vip}", f"{len(examination.claimed.get(vip, []))} other machines answer for it"),
            "director",
            f"ip addr add {vip}/{length} dev {card}",
            Health.BROKEN,
            LIKELIHOOD,
        )
