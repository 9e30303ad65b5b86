# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server of DR or TUN sends its replies to the director, which takes packets from its own VIP for forged."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.diagnoses.conntrack_invalid import rules_in_the_way
from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import half_open, of

LIKELIHOOD = 61


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        heard = examination.replies_here(patient)
        if heard is None or rules_in_the_way(examination, patient):
            continue
        conf, machine = f"net.ipv4.conf.{heard.card}", examination.machine
        local, forward = machine.knob(f"{conf}.accept_local"), machine.knob("net.ipv4.ip_forward")
        yield of(
            patient,
            "replies_by_director",
            f"{patient.address} sends its replies by the director, and not straight to the clients",
            f"sysctl -w net.ipv4.ip_forward=1 {conf}.accept_local=1   (on the director; better: give {patient.address}"
            " another way out)",
            LIKELIHOOD,
            f"a SYN+ACK from the VIP to {heard.target} came in by the director's {heard.card}",
            f"there accept_local is {local} and ip_forward {forward}",
            half_open(patient),
        )
