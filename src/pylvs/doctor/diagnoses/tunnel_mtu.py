# SPDX-License-Identifier: GPL-2.0-or-later
"""Full packets exceed the path MTU to a real server once they are in the tunnel: small requests work, uploads hang."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, replied
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about, method, told
from pylvs.host.probes import Reply, Result
from pylvs.host.routes import Route

LIKELIHOOD = 60
SAFE_MTU = 1280  # of IPv6 (RFC 8200), where no router has told the right one


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        full, route = one.full_ping_of_vip, one.route
        if full and route and full.reply in (Reply.SILENT, Reply.TOO_BIG) and replied(one.tcp_to_vip, Reply.OPEN):
            yield _finding(one, full, route)


def _finding(one: DestinationEvidence, full: Result, route: Route) -> Finding:
    size = one.tunnel_room + one.tunnel_overhead
    via = f"via {route.gateway} " if route.gateway else ""
    reported = f", MTU {full.mtu}" if full.mtu else ""
    return about(
        one,
        "tunnel_mtu",
        f"packets of {size} bytes in the tunnel ({method(one)}) exceed the path MTU to {one.address}",
        f"ip route replace {one.address} {via}dev {route.interface} mtu {full.mtu or SAFE_MTU}",
        LIKELIHOOD,
        f"a ping of the VIP with {size} bytes on the wire: {told(full)}{reported}",
    )
