# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server does not have the VIP: packets to the VIP are not for that machine."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, replied
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import METHODS, about, told
from pylvs.host.probes import Reply

LIKELIHOOD = 66


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        if replied(one.tcp_to_rip, Reply.OPEN) and _silent(one):
            pings = [f"a ping of the VIP through it: {told(one.ping_of_vip)}"] if one.ping_of_vip else []
            yield about(
                one,
                "vip_missing",
                f"{one.address} does not have the VIP {one.vip} on its lo",
                f"pylvs realserver join {one.vip} --method {METHODS[one.method]}   (on {one.address})",
                LIKELIHOOD,
                *pings,
            )


def _silent(one: DestinationEvidence) -> bool:
    """Whether nothing comes back from the VIP; a real server that routes reports it unreachable."""
    no_reply = replied(one.tcp_to_vip, Reply.SILENT, Reply.UNREACHABLE)
    some_reply = replied(one.ping_of_vip, Reply.OPEN) or replied(one.ack_of_vip, Reply.OPEN)
    return no_reply and not some_reply
