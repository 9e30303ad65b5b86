# SPDX-License-Identifier: GPL-2.0-or-later
"""The Linux Virtual Server with eBPF and Python.

`Director` is the table of this network namespace, as `pylvsadm` shows and changes it. Services, destinations and
endpoints print and parse themselves, and what a call returns is a value. What is refused raises a subclass of
`PylvsError`, with one line that says what is wrong and what to do instead (`pylvs.errors` has them all).

    from pylvs import Destination, Director, Endpoint, ServiceKey, VirtualService, diagnose, drain, explain

    web = ServiceKey.parse("tcp://192.0.2.1:80")
    with Director() as director:
        director.add_service(VirtualService(web, scheduler="rr"))
        director.add_destination(web, Destination.parse("192.0.2.11"))
        for state in director.services():
            print(state.service.key, [str(member.destination) for member in state.destinations])

        explanation = explain(Endpoint.parse("192.0.2.7"), Endpoint.parse("192.0.2.1:80"))
        print("a client would go to", explanation.destination)

        report = diagnose("director")
        print("wrong:", [finding.name for finding in report.findings])

        drained = drain(director, web, Endpoint.parse("192.0.2.11"), timeout=60)
        print("connections that remain:", drained.remaining)

Names are imported when they are first asked for, since the commands, which import this package too, have to start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylvs.doctor import Finding, Report, diagnose
    from pylvs.errors import PylvsError
    from pylvs.model import (
        ConfiguredService,
        Connection,
        Counters,
        Destination,
        DestinationState,
        Endpoint,
        ForwardingMethod,
        Protocol,
        ServiceFlag,
        ServiceKey,
        ServiceState,
        SyncDaemon,
        Timeouts,
        Tunnel,
        TunnelChecksum,
        TunnelType,
        VirtualService,
    )
    from pylvs.table.director import Director
    from pylvs.table.drain import Drained, drain
    from pylvs.trace.explain import Explanation, explain

__all__ = [
    "ConfiguredService",
    "Connection",
    "Counters",
    "Destination",
    "DestinationState",
    "Director",
    "Drained",
    "Endpoint",
    "Explanation",
    "Finding",
    "ForwardingMethod",
    "Protocol",
    "PylvsError",
    "Report",
    "ServiceFlag",
    "ServiceKey",
    "ServiceState",
    "SyncDaemon",
    "Timeouts",
    "Tunnel",
    "TunnelChecksum",
    "TunnelType",
    "VirtualService",
    "diagnose",
    "drain",
    "explain",
]

# Where each name is; all others are in pylvs.model.
_MODULES = {
    "Director": "pylvs.table.director",
    "Drained": "pylvs.table.drain",
    "Explanation": "pylvs.trace.explain",
    "Finding": "pylvs.doctor",
    "PylvsError": "pylvs.errors",
    "Report": "pylvs.doctor",
    "diagnose": "pylvs.doctor",
    "drain": "pylvs.table.drain",
    "explain": "pylvs.trace.explain",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'pylvs' has no attribute '{name}'")
    return getattr(import_module(_MODULES.get(name, "pylvs.model")), name)
