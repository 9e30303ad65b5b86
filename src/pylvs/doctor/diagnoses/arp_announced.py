# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server names the VIP as the sender of its ARP requests: whoever hears one believes that the VIP is there."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import of

LIKELIHOOD = 58


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if patient.vip and patient.announces == patient.vip:
            yield of(
                patient,
                "arp_announced",
                f"{patient.address} asks for neighbours in the name of the VIP {patient.vip} (arp_announce is not 2)",
                f"sysctl -w net.ipv4.conf.all.arp_announce=2   (on {patient.address})",
                LIKELIHOOD,
                f"it was made to ask for an address of its segment, and asked: tell {patient.vip}",
            )
