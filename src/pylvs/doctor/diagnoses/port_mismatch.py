# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server of DR or TUN listens at another port than the service's: only NAT and FULLNAT can change ports."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination, spelled
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import method, of, replied
from pylvs.host.probes import Reply

LIKELIHOOD = 69


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if not replied(patient.direct, Reply.REFUSED) or not patient.other_ports:
            continue
        ports = ", ".join(map(str, patient.other_ports))
        what = f"{patient.address} listens at port {ports}, not at {patient.port}"
        mend = (
            f"let it listen at {patient.port} (Listen {patient.port} in httpd.conf on {patient.address}, then restart)"
        )
        if patient.hidden_vip:
            what += f", and {method(patient)} does not change ports"
        else:
            other = spelled(patient.address, patient.other_ports[0])
            mend = f"pylvsadm -a {patient.words.rpartition(' ')[0]} {other} -m && pylvsadm -d {patient.words}"
        yield of(patient, "port_mismatch", what, mend, LIKELIHOOD, f"TCP to {patient.address} at {ports}: answers")
