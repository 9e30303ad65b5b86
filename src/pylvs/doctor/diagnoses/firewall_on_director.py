# SPDX-License-Identifier: GPL-2.0-or-later
"""A firewall of the director's own keeps it from saying that the VIP is his.

The data plane meets packets before the kernel's firewall does, and what it forwards leaves beside it; so a rule matters
only if it stops ARP or neighbour discovery, by which machines find each other.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Examination
from pylvs.doctor.finding import Diagnosis, Health
from pylvs.doctor.firewall import Rule
from pylvs.model import Address

LIKELIHOOD = 94
MEETING = ("ingress", "prerouting", "input", "output", "egress")


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for vip in examination.unanswered:
        for rule in examination.firewall:
            if in_the_way(rule, vip):
                yield Diagnosis(
                    "firewall_on_director",
                    f"the director's own firewall keeps it from answering for the VIP {vip}",
                    (f"who has {vip}, asked by a probe on {examination.card_of(vip)}: the director says nothing",
                     f"{rule.family} table {rule.table}, chain {rule.chain} (hook {rule.hook}): {rule.text}"),
                    "director",
                    rule.mend,
                    Health.BROKEN,
                    LIKELIHOOD,
                )  # fmt: skip


def in_the_way(rule: Rule, vip: Address) -> bool:
    """Whether questions for this address, or their answers, meet the rule's hook."""
    families = ("arp", "netdev", "bridge") if vip.version == 4 else ("inet", "ip6", "netdev", "bridge")
    return rule.family in families and rule.hook in MEETING
