# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server of DR or TUN sends its replies through the director, which takes packets from its own VIP for forged.

The kernel drops them unless `accept_local` is set.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, HostState
from pylvs.doctor.facts import reply_through_director, rules_dropping_invalid
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about, half_open
from pylvs.host.capture import Heard

LIKELIHOOD = 61


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        reply = reply_through_director(evidence, one)
        if reply and not rules_dropping_invalid(evidence, one):
            yield _finding(one, reply, evidence.host)


def _finding(one: DestinationEvidence, reply: Heard, host: HostState) -> Finding:
    accept_local = f"net.ipv4.conf.{reply.interface}.accept_local"
    return about(
        one,
        "replies_by_director",
        f"{one.address} sends its replies through the director, and not straight to the clients",
        f"sysctl -w net.ipv4.ip_forward=1 {accept_local}=1   (on the director; better: give {one.address}"
        " another route to the clients)",
        LIKELIHOOD,
        f"a SYN+ACK from the VIP to {reply.target} arrived by the director's {reply.interface}",
        f"there accept_local is {host.sysctl(accept_local)} and ip_forward {host.sysctl('net.ipv4.ip_forward')}",
        half_open(one),
    )
