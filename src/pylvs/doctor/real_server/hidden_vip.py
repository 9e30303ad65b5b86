# SPDX-License-Identifier: GPL-2.0-or-later
"""What `pylvs realserver check` finds, as diagnoses: the VIP on lo, ARP, the tunnel's end, the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pylvs.doctor.finding import Diagnosis, Health
from pylvs.doctor.server_state import Visit
from pylvs.realserver import check
from pylvs.realserver.check import Finding, Subject

LIKELIHOOD = 90
# what is looked at, and the fault's name on a director
LOOKS: list[tuple[Callable[[Subject], Iterator[Finding]], str]] = [
    (check.address, "vip_missing"),
    (check.arp_knobs, "arp_answered"),
    (check.silence, "arp_answered"),
    (check.decapsulator, "decapsulator_missing"),
    (check.route_back, "nat_return"),
]
ORDER = ("vip_with_network", "vip_missing", "arp_answered", "arp_announced", "decapsulator_missing", "nat_return")


def diagnose(visit: Visit) -> Iterator[Diagnosis]:
    for vip in visit.vips:
        subject = visit.subject(vip)
        for look, fault in LOOKS:
            if _concerns(look, subject):
                yield from (_diagnosis(fault, vip_words(subject), one) for one in look(subject) if one.ok is False)


def _concerns(look: Callable[[Subject], Iterator[Finding]], subject: Subject) -> bool:
    if look is check.arp_knobs:
        return subject.method != "nat" and subject.vip.version == 4
    if look in (check.address, check.silence):
        return subject.method != "nat"
    return subject.method == ("tun" if look is check.decapsulator else "nat")


def vip_words(subject: Subject) -> str:
    return f"{subject.vip} ({subject.method})"


def _diagnosis(fault: str, vip: str, finding: Finding) -> Diagnosis:
    if fault == "vip_missing" and finding.mend.startswith("ip addr del"):
        fault = "vip_with_network"
    if "arp_announce" in finding.what:
        fault = "arp_announced"
    place = ORDER.index(fault)
    what, here = f"{vip}: it is not so that {finding.what}", "this real server"
    return Diagnosis(fault, what, (finding.saw,), here, finding.mend, Health.BROKEN, LIKELIHOOD - place)
