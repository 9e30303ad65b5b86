# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server listens at another port than its destination's; with DR and TUN it has to be the service's port."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, replied
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about, method
from pylvs.host.probes import Reply
from pylvs.model import Endpoint

LIKELIHOOD = 69


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        if one.other_ports and replied(one.tcp_to_rip, Reply.REFUSED):
            yield _finding(one)


def _finding(one: DestinationEvidence) -> Finding:
    ports = ", ".join(map(str, one.other_ports))
    what = f"{one.address} listens at port {ports}, not at {one.port}"
    if one.hidden_vip:
        what += f", and {method(one)} does not change ports"
    more = f"TCP to {one.address} at {ports}: answers"
    return about(one, "port_mismatch", what, _fix(one), LIKELIHOOD, more)


def _fix(one: DestinationEvidence) -> str:
    if one.hidden_vip:
        return f"let it listen at {one.port} (Listen {one.port} in httpd.conf on {one.address}, then restart)"
    service = one.service.service.key.option
    right = Endpoint(one.address, one.other_ports[0])
    return f"pylvsadm -a {service} -r {right} -m && pylvsadm -d {one.words}"
