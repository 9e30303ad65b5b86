# SPDX-License-Identifier: GPL-2.0-or-later
"""The director has the VIP and does not answer for it: hidden, as it should be on a real server only."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence, VipEvidence
from pylvs.doctor.facts import rules_dropping_neighbours, unanswered
from pylvs.doctor.finding import Finding, Health

LIKELIHOOD = 95


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for vip in unanswered(evidence):
        if not rules_dropping_neighbours(evidence, vip.address):
            yield _finding(vip)


def _finding(vip: VipEvidence) -> Finding:
    interface, address = vip.interface, vip.address
    held = ", ".join(holder.interface for holder in vip.held)
    arp_ignore = vip.host.effective("arp_ignore", interface)
    return Finding(
        "vip_unanswered",
        f"the director does not answer for its VIP {address} on {interface}",
        (
            f"who has {address}, asked by a probe on {interface}: no reply",
            f"{address} is on {held}; arp_ignore on {interface} amounts to {arp_ignore}",
        ),
        "director",
        _fix(vip),
        Health.BROKEN,
        LIKELIHOOD,
    )


def _fix(vip: VipEvidence) -> str:
    if all(holder.interface == "lo" for holder in vip.held):
        return f"ip addr add {vip.address}/{vip.address.max_prefixlen} dev {vip.interface}"
    return f"sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.{vip.interface}.arp_ignore=0"
