# SPDX-License-Identifier: GPL-2.0-or-later
"""A firewall that follows connections sees a real server's replies and not the requests, and drops them as INVALID.

With DR and TUN the two go different ways, as they should.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pylvs.doctor.evidence import Examination, Patient
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.firewall import Rule
from pylvs.doctor.wording import half_open, of, replied, tell
from pylvs.host.probes import Reply

LIKELIHOOD = 72
PASSING = ("ingress", "prerouting", "forward", "postrouting")


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if replied(patient.bare_ack, Reply.OPEN) and patient.way:
            yield _on_the_way(patient)
        elif heard := examination.replies_here(patient):
            for rule in rules_in_the_way(examination, patient):
                yield _here(patient, rule, str(heard.target))


def rules_in_the_way(examination: Examination, patient: Patient) -> list[Rule]:
    """The director's own rules that drop INVALID packets on their way through."""
    families = ("ip", "inet") if patient.address.version == 4 else ("ip6", "inet")
    return [one for one in examination.firewall
            if one.wants_state and one.hook in PASSING and one.family in families]  # fmt: skip


def untracked(patient: Patient) -> str:
    """What lets the VIP's replies by: conntrack does not look at them, and UNTRACKED is not INVALID."""
    family = "ip" if patient.address.version == 4 else "ip6"
    return (
        f"nft 'add table {family} lvs; add chain {family} lvs raw {{ type filter hook prerouting priority raw; }}; "
        f"add rule {family} lvs raw {family} saddr {patient.vip} notrack'"
    )


def _on_the_way(patient: Patient) -> Diagnosis:
    assert patient.bare_ack
    assert patient.way
    where = str(patient.way.gateway or patient.address)
    found = of(
        patient,
        "conntrack_invalid",
        f"a firewall on the way from {patient.address} drops replies from the VIP: conntrack has not seen the requests",
        f"{untracked(patient)}   (on {where}, or whichever router drops `ct state invalid`)",
        LIKELIHOOD,
        f"a bare ACK from the VIP through it, which is not INVALID: {tell(patient.bare_ack)}",
    )
    return replace(found, machine=where)


def _here(patient: Patient, rule: Rule, client: str) -> Diagnosis:
    found = of(
        patient,
        "conntrack_invalid",
        f"the director's firewall drops the replies of {patient.address} that go by it: conntrack has not seen the"
        " requests",
        untracked(patient),
        LIKELIHOOD,
        f"a SYN+ACK from the VIP to {client} came in by the director's own card",
        f"{rule.family} table {rule.table}, chain {rule.chain} (hook {rule.hook}): {rule.text}",
        half_open(patient),
    )
    return replace(found, machine="director")
