# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server answers ARP for the VIP: clients that hear it first talk to it and to nobody else."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis, Health

LIKELIHOOD = 86


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for vip, macs in examination.claimed.items():
        for mac in macs:
            patient = examination.owner(mac)
            if patient is None:
                continue
            conf = "net.ipv4.conf"
            hide = f"sysctl -w {conf}.all.arp_ignore=1 {conf}.all.arp_announce=2"
            yield Diagnosis(
                "arp_answered",
                f"the real server {patient.address} answers for the VIP {vip}, which only the director may",
                (f"who has {vip}, asked on {examination.card_of(vip)}: it is at {mac}",
                 f"{mac} is the address of {patient.address}"),
                str(patient.address),
                hide if vip.version == 4 else f"pylvs realserver join {vip}",
                Health.BROKEN,
                LIKELIHOOD,
            )  # fmt: skip
