# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server is down: it answers no ARP request, or nothing at all from behind a router."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, replied
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about, told
from pylvs.host.probes import Reply

LIKELIHOOD = 78


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        if one.route is None or one.local or not _gone(one):
            continue
        drops_all = "" if one.on_link else ", or drops all that comes (firewall, strict rp_filter)"
        pings = [f"a ping of {one.address}: {told(one.ping_of_rip)}"] if one.ping_of_rip else []
        yield about(
            one,
            "real_server_down",
            f"the real server {one.address} is down, or off its network{drops_all}",
            f"ip link set {one.route.interface} up   (on {one.address}, after a look at its cable and power)",
            LIKELIHOOD,
            *pings,
        )


def _gone(one: DestinationEvidence) -> bool:
    if one.on_link:
        return not one.arp_macs and not one.arp_probe_macs
    return replied(one.tcp_to_rip, Reply.UNREACHABLE, Reply.SILENT) and not one.alive
