# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs listen at the machine's own address, and none at the VIP."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.finding import Finding, Health
from pylvs.doctor.server_state import RealServerState, Socket
from pylvs.model import Address, Endpoint

LIKELIHOOD = 60


def diagnose(state: RealServerState) -> Iterator[Finding]:
    for vip in state.vips:
        if vip.hidden and not state.ports(vip.vip):
            yield _finding(vip.vip, _elsewhere(state))


def _elsewhere(state: RealServerState) -> list[Socket]:
    """Where programs listen: at one address, which is neither the VIP's nor a loopback address."""
    vips = set(state.addresses)
    found = [(address, port) for address, port in state.listening if address not in vips and not address.is_loopback]
    return sorted(found, key=lambda socket: (str(socket[0]), socket[1]))


def _finding(vip: Address, elsewhere: list[Socket]) -> Finding:
    sockets = ", ".join(str(Endpoint(address, port)) for address, port in elsewhere)
    return Finding(
        "bound_to_rip" if elsewhere else "service_stopped",
        f"nobody here listens at the VIP {vip}",
        (f"listening: {sockets or 'nobody listens for TCP at all'}",),
        "this real server",
        _fix(elsewhere),
        Health.BROKEN,
        LIKELIHOOD,
    )


def _fix(elsewhere: list[Socket]) -> str:
    if not elsewhere:
        return "systemctl start apache2   (or whatever serves the VIP)"
    address, port = elsewhere[0]
    return f"Listen {port} instead of Listen {Endpoint(address, port)} in httpd.conf, then restart"
