# SPDX-License-Identifier: GPL-2.0-or-later
"""A firewall on a real server, or on the path to it, drops or rejects the service's packets."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, replied
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about, told
from pylvs.host.probes import Reply

LIKELIHOOD = 70


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    may_drop_probes = any(rule.drops_what_is_sent for rule in evidence.firewall)
    for one in evidence.destinations:
        dropped_here = replied(one.tcp_to_vip, Reply.KEPT_HERE) or (may_drop_probes and one.tcp_to_vip is None)
        if dropped_here or one.wrong_mac or not _stopped(one):
            continue
        yield about(
            one,
            "firewall_on_real_server",
            f"{one.address} is up, but something on it drops TCP to port {one.port}: a firewall",
            f"nft -a list ruleset   (on {one.address}: find the rule for port {one.port} and delete it;"
            " pylvs doctor there names it)",
            LIKELIHOOD,
            *_pings(one),
        )


def _stopped(one: DestinationEvidence) -> bool:
    """Whether there is no reply from RIP:port and the machine is up, or none from the VIP and its ping is answered.

    If the VIP's port accepts, whatever is closed beside it is as somebody wanted it.
    """
    if replied(one.tcp_to_vip, Reply.OPEN):
        return False
    if replied(one.tcp_to_rip, Reply.PROHIBITED) or replied(one.tcp_to_vip, Reply.PROHIBITED):
        return True
    if replied(one.tcp_to_rip, Reply.SILENT):
        return one.alive and not one.takes_network_for_its_own
    return replied(one.tcp_to_vip, Reply.SILENT) and replied(one.ping_of_vip, Reply.OPEN)


def _pings(one: DestinationEvidence) -> Iterator[str]:
    if one.ping_of_vip:
        yield f"a ping of the VIP through it: {told(one.ping_of_vip)}"
    if one.ping_of_rip:
        yield f"a ping of {one.address}: {told(one.ping_of_rip)}"
