# SPDX-License-Identifier: GPL-2.0-or-later
"""A firewall of the director's own is in the way of what it forwards, or of ARP.

The data plane meets packets before the kernel's firewall does, so only some hooks matter: `egress` of a card, by which
forwarded packets leave, and ARP, by which machines find each other.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.diagnosis import Diagnosis, Health
from pylvs.doctor.evidence import replied, seen
from pylvs.doctor.examination import Examination
from pylvs.doctor.firewall import Rule
from pylvs.doctor.probes import Reply

LIKELIHOOD = 94
STOPPED = (Reply.SILENT, Reply.PROHIBITED, Reply.KEPT_HERE)


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    silent = [p for p in examination.patients if replied(p.through or p.direct, *STOPPED) or (p.on_link and not p.macs)]
    for rule in examination.firewall:
        if not in_the_way(rule) or (rule.family != "arp" and not silent):
            continue
        evidence = [f"{rule.family} table {rule.table}, chain {rule.chain} (hook {rule.hook}): {rule.text}"]
        evidence += [line for patient in silent[:2] for line in seen(patient)]
        yield Diagnosis(
            "firewall_on_director",
            f"the director's own firewall drops what it forwards (hook {rule.hook})",
            tuple(evidence),
            "director",
            rule.mend,
            Health.BROKEN,
            LIKELIHOOD,
        )


def in_the_way(rule: Rule) -> bool:
    """Whether forwarded packets, or ARP, meet this hook."""
    return (rule.family == "netdev" and rule.hook == "egress") or rule.family == "arp"
