# SPDX-License-Identifier: GPL-2.0-or-later
"""A strict rp_filter drops requests that arrive by another interface than replies to them leave by (RFC 3704)."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.finding import Finding, Health
from pylvs.doctor.server_state import RealServerState
from pylvs.realserver.plan import STRICT

LIKELIHOOD = 80


def diagnose(state: RealServerState) -> Iterator[Finding]:
    if not any(vip.vip.version == 4 for vip in state.vips):
        return
    for interface in state.host.interfaces:
        others = [route for route in state.routes_out if not route.endswith(f" dev {interface}")]
        if others and state.host.effective("rp_filter", interface) == STRICT:
            yield _finding(interface, others, state.rp_filter_drops)


def _finding(interface: str, others: list[str], drops: int) -> Finding:
    return Finding(
        "strict_rp_filter",
        f"rp_filter is strict on {interface}: a request that arrives by it is dropped if the reply would leave by"
        " another interface",
        (
            f"net.ipv4.conf.{interface}.rp_filter amounts to 1",
            f"other routes out: {'; '.join(others)}",
            f"{drops} packets dropped by it so far (TcpExt IPReversePathFilter)",
        ),
        "this real server",
        f"sysctl -w net.ipv4.conf.{interface}.rp_filter=2",
        Health.BROKEN if drops else Health.DEGRADED,
        LIKELIHOOD,
    )
