# SPDX-License-Identifier: GPL-2.0-or-later
"""The VIP is on a real server's lo with the mask of its network: "the dead cycle". The whole network is local to it.

It then takes the director's and the clients' addresses for its own: its answers go to itself, for ever.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import of

LIKELIHOOD = 80


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if not patient.dead_cycle:
            continue
        vip = patient.vip
        network = (
            next((h.address.network.prefixlen for h in examination.machine.holders(vip) if vip), 24) if vip else 24
        )
        yield of(
            patient,
            "vip_with_network",
            f"{patient.address} takes the director for itself: the VIP is on its lo with a network's mask, not /32",
            f"ip addr del {vip}/{network} dev lo && ip addr add {vip}/32 dev lo",
            LIKELIHOOD,
            "a ping of it: says nothing; a ping by IPv6 on the same card: answers"
            if patient.macs
            else f"ARP that names no sender: it is at {patient.macs_by_probe[0]}",
        )
