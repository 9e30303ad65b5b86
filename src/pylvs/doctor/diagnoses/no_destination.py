# SPDX-License-Identifier: GPL-2.0-or-later
"""A service has no destination, or none that takes new connections."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence
from pylvs.doctor.finding import Finding, Health
from pylvs.doctor.wording import METHODS
from pylvs.model import ForwardingMethod, ServiceState

LIKELIHOOD = 92
OPTIONS = {ForwardingMethod.NAT: "-m", ForwardingMethod.TUN: "-i", ForwardingMethod.FULLNAT: "--fullnat"}


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for service in evidence.services:
        if not service.destinations:
            yield _empty(service)
        elif not any(state.destination.weight for state in service.destinations):
            yield _quiesced(service)


def _empty(service: ServiceState) -> Finding:
    option = service.service.key.option
    return _finding(
        f"the service {option} has no destination",
        f"pylvsadm -a {option} -r RIP -g",
        f"pylvsadm -ln {option} lists none",
    )


def _quiesced(service: ServiceState) -> Finding:
    option = service.service.key.option
    first = service.destinations[0].destination
    addresses = ", ".join(str(state.destination.address) for state in service.destinations)
    return _finding(
        f"every destination of {option} has weight 0: no new connection is taken",
        f"pylvsadm -e {option} -r {first} {OPTIONS.get(first.method, '-g')} -w 1",
        f"weight 0: {addresses}",
        f"forwarding method {METHODS.get(first.method, '?')}",
    )


def _finding(what: str, fix: str, *evidence: str) -> Finding:
    return Finding("no_destination", what, evidence, "director", fix, Health.BROKEN, LIKELIHOOD)
