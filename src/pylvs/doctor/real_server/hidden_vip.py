# SPDX-License-Identifier: GPL-2.0-or-later
"""What `pylvs realserver check` finds: the VIP on lo, hidden from the segment, the decapsulator, the return route."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.finding import Finding, Health
from pylvs.doctor.server_state import RealServerState, VipState
from pylvs.realserver import plan

LIKELIHOOD = 90
# The likeliest first.
ORDER = ("vip_with_network", "vip_missing", "arp_answered", "arp_announced", "decapsulator_missing", "nat_return")


def diagnose(state: RealServerState) -> Iterator[Finding]:
    for vip in state.vips:
        for name, checked in _by_fault(vip):
            if checked.ok is False:
                yield _finding(name, vip, checked)


def _by_fault(vip: VipState) -> Iterator[tuple[str, plan.Finding]]:
    """What was checked, and the name of the fault if it is not so."""
    for checked in vip.on_lo:
        yield "vip_with_network" if checked.mend.startswith("ip addr del") else "vip_missing", checked
    for checked in vip.arp_sysctls:
        yield "arp_announced" if "arp_announce" in checked.what else "arp_answered", checked
    for checked in vip.arp_reply:
        yield "arp_answered", checked
    for checked in vip.decapsulator:
        yield "decapsulator_missing", checked
    for checked in vip.return_route:
        yield "nat_return", checked


def _finding(name: str, vip: VipState, checked: plan.Finding) -> Finding:
    return Finding(
        name,
        f"{vip.vip} ({vip.method}): it is not so that {checked.what}",
        (checked.saw,),
        "this real server",
        checked.mend,
        Health.BROKEN,
        LIKELIHOOD - ORDER.index(name),
    )
