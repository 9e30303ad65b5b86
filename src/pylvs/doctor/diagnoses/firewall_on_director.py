# SPDX-License-Identifier: GPL-2.0-or-later
"""A firewall on the director keeps it from answering for its VIP.

The data plane receives packets before the kernel's firewall does, and what it forwards does not pass the firewall. So a
rule matters only if it stops ARP or neighbour discovery.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence, VipEvidence
from pylvs.doctor.facts import rules_dropping_neighbours, unanswered
from pylvs.doctor.finding import Finding, Health
from pylvs.doctor.firewall import Rule

LIKELIHOOD = 94


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for vip in unanswered(evidence):
        for rule in rules_dropping_neighbours(evidence, vip.address):
            yield _finding(vip, rule)


def _finding(vip: VipEvidence, rule: Rule) -> Finding:
    return Finding(
        "firewall_on_director",
        f"the director's own firewall keeps it from answering for the VIP {vip.address}",
        (
            f"who has {vip.address}, asked by a probe on {vip.interface}: no reply from the director",
            str(rule),
        ),
        "director",
        rule.fix,
        Health.BROKEN,
        LIKELIHOOD,
    )
