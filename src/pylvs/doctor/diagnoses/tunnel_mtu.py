# SPDX-License-Identifier: GPL-2.0-or-later
"""Full packets do not fit the way to a real server once they are in the tunnel: small requests work, uploads hang."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination, overhead
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import method, of, replied, tell
from pylvs.host.probes import Reply

LIKELIHOOD = 60


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if not replied(patient.through, Reply.OPEN) or not replied(patient.big_echo, Reply.SILENT, Reply.TOO_BIG):
            continue
        big, way = patient.big_echo, patient.way
        assert big
        assert way
        size = patient.room + overhead(patient.state.destination.tunnel, patient.address)
        mtu = big.mtu or 1280
        yield of(
            patient,
            "tunnel_mtu",
            f"packets of {size} bytes in the tunnel ({method(patient)}) are too big for the way to {patient.address}",
            f"ip route replace {patient.address} via {way.gateway} dev {way.interface} mtu {mtu}"
            if way.gateway else f"ip route replace {patient.address} dev {way.interface} mtu {mtu}",
            LIKELIHOOD,
            f"a ping of the VIP with {size} bytes on the wire: {tell(big)}" + (f", MTU {big.mtu}" if big.mtu else ""),
        )  # fmt: skip
