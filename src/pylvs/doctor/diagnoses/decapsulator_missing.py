# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server of TUN does not take packets out of the tunnel."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence, replied
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about, method
from pylvs.host.probes import Reply
from pylvs.model import ForwardingMethod

LIKELIHOOD = 76


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        if one.method is ForwardingMethod.TUN and replied(one.tcp_to_vip, Reply.UNKNOWN_TUNNEL):
            yield about(
                one,
                "decapsulator_missing",
                f"{one.address} does not know the tunnel {method(one)}: nothing decapsulates its packets there",
                f"pylvs realserver join {one.vip} --method tun   (on {one.address})",
                LIKELIHOOD,
            )
