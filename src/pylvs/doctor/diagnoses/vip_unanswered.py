# SPDX-License-Identifier: GPL-2.0-or-later
"""The director has the VIP and does not answer for it: hidden, as it should be on a real server only."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.diagnoses.firewall_on_director import in_the_way
from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis, Health

LIKELIHOOD = 95


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for vip in examination.unanswered:
        if any(in_the_way(rule, vip) for rule in examination.firewall):
            continue
        card, held = examination.card_of(vip), examination.machine.holders(vip)
        on_lo = all(one.interface == "lo" for one in held)
        ignores = examination.machine.effective("arp_ignore", card)
        yield Diagnosis(
            "vip_unanswered",
            f"the director does not answer for its VIP {vip} on {card}",
            (f"who has {vip}, asked by a probe on {card}: no answer",
             f"{vip} is on {', '.join(one.interface for one in held)}; arp_ignore on {card} amounts to {ignores}"),
            "director",
            f"ip addr add {vip}/{vip.max_prefixlen} dev {card}" if on_lo
            else f"sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.{card}.arp_ignore=0",
            Health.BROKEN,
            LIKELIHOOD,
        )  # fmt: skip
