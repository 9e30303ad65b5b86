# SPDX-License-Identifier: GPL-2.0-or-later
"""A firewall on a real server, or on the way to it, drops or rejects the service's packets."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination, Patient
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import of, replied, tell
from pylvs.host.probes import Reply

LIKELIHOOD = 70


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    ours = any(rule.hampers for rule in examination.firewall)
    for patient in examination.patients:
        kept_here = replied(patient.through, Reply.KEPT_HERE) or (ours and patient.through is None)
        if kept_here or patient.misdirected or not _stopped(patient):
            continue
        more = [f"a ping of the VIP through it: {tell(patient.echo)}"] if patient.echo else []
        more += [f"a ping of {patient.address}: {tell(patient.ping)}"] if patient.ping else []
        yield of(
            patient,
            "firewall_on_real_server",
            f"{patient.address} is there, but something on it drops TCP to port {patient.port}: a firewall",
            f"nft -a list ruleset   (on {patient.address}: find the rule for port {patient.port} and delete it;"
            " pylvs doctor there names it)",
            LIKELIHOOD,
            *more,
        )


def _stopped(patient: Patient) -> bool:
    """RIP:port is silent although the machine is there; or only the VIP is, and its ping is answered.

    If the VIP's port answers, whatever may be closed beside it is as somebody wanted it.
    """
    if replied(patient.through, Reply.OPEN):
        return False
    if replied(patient.direct, Reply.PROHIBITED) or replied(patient.through, Reply.PROHIBITED):
        return True
    if replied(patient.direct, Reply.SILENT):
        return not patient.dead_cycle and patient.alive
    return replied(patient.through, Reply.SILENT) and replied(patient.echo, Reply.OPEN)
