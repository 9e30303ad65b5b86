# SPDX-License-Identifier: GPL-2.0-or-later
"""A service has no destination, or none that takes new connections."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination, service_words, spelled
from pylvs.doctor.finding import Diagnosis, Health
from pylvs.doctor.wording import WORDS
from pylvs.model import ForwardingMethod

LIKELIHOOD = 92
LETTERS = {ForwardingMethod.NAT: "-m", ForwardingMethod.TUN: "-i"}


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for service in examination.services:
        words = service_words(service)
        if not service.destinations:
            yield Diagnosis(
                "no_destination",
                f"the service {words} has no destination",
                (f"pylvsadm -ln {words} lists none",),
                "director",
                f"pylvsadm -a {words} -r RIP -g",
                Health.BROKEN,
                LIKELIHOOD,
            )
        elif not any(one.destination.weight for one in service.destinations):
            first = service.destinations[0].destination
            listed = ", ".join(str(one.destination.address) for one in service.destinations)
            method = LETTERS.get(first.method, "-g" if first.method is ForwardingMethod.DR else "--fullnat")
            yield Diagnosis(
                "no_destination",
                f"every destination of {words} has weight 0: no new connection is taken",
                (f"weight 0: {listed}", f"forwarding method {WORDS.get(first.method, '?')}"),
                "director",
                f"pylvsadm -e {words} -r {spelled(first.address, first.port)} {method} -w 1",
                Health.BROKEN,
                LIKELIHOOD,
            )
