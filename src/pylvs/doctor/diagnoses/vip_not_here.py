# SPDX-License-Identifier: GPL-2.0-or-later
"""The VIP is not on the director: nobody answers ARP for it."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DirectorEvidence, VipEvidence
from pylvs.doctor.finding import Finding, Health

LIKELIHOOD = 96


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for vip in evidence.vips:
        if not vip.held:
            yield _finding(vip)


def _finding(vip: VipEvidence) -> Finding:
    return Finding(
        "vip_not_here",
        f"the VIP {vip.address} is not configured on the director",
        (f"no interface has {vip.address}", f"{len(vip.claimed_by)} other machines answer for it"),
        "director",
        _fix(vip),
        Health.BROKEN,
        LIKELIHOOD,
    )


def _fix(vip: VipEvidence) -> str:
    """Add it where its segment is, with the length of that network's prefix, or else alone."""
    host, length = vip.host, vip.address.max_prefixlen
    interface = host.on_link(vip.address)
    if not interface:
        interface = next(iter(host.interfaces), "eth0")
        return f"ip addr add {vip.address}/{length} dev {interface}"
    prefixes = (held.address.network.prefixlen for held in host.addresses if held.interface == interface)
    return f"ip addr add {vip.address}/{next(prefixes, length)} dev {interface}"
