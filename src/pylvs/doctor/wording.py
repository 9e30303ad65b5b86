# SPDX-License-Identifier: GPL-2.0-or-later
"""What was probed and what the reply was, in sentences; and the finding that concerns one destination."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence
from pylvs.doctor.finding import Finding, Health
from pylvs.host.probes import Reply, Result
from pylvs.model import Endpoint, ForwardingMethod

# The words of `pylvs realserver join --method`.
METHODS = {
    ForwardingMethod.DR: "dr",
    ForwardingMethod.TUN: "tun",
    ForwardingMethod.NAT: "nat",
    ForwardingMethod.FULLNAT: "fullnat",
}


def about(
    destination: DestinationEvidence, name: str, what: str, fix: str, likelihood: int, *more: str, machine: str = ""
) -> Finding:
    """A finding about one destination, with every reply to its probes as evidence.

    The machine on which to run the fix is the real server, unless another one is named.
    """
    return Finding(
        name,
        what,
        (*replies(destination), *more),
        machine or str(destination.address),
        fix,
        Health.DEGRADED,
        likelihood,
        destination.service.service.key,
        destination.state.destination,
    )


def replies(destination: DestinationEvidence) -> Iterator[str]:
    """The replies to ARP and to TCP."""
    route, address = destination.route, destination.address
    if destination.on_link:
        yield _arp(destination)
    elif route:
        yield f"{address} is reached by {route.gateway} on {route.interface}"
    if destination.tcp_to_rip:
        yield f"TCP to {destination.endpoint}: {told(destination.tcp_to_rip)}"
    if destination.tcp_to_vip and destination.vip:
        to = Endpoint(destination.vip, destination.port)
        yield f"TCP to {to} through {address} by {method(destination)}: {told(destination.tcp_to_vip)}"


def _arp(destination: DestinationEvidence) -> str:
    protocol = "neighbour solicitation" if destination.address.version == 6 else "ARP"
    interface = destination.route.interface if destination.route else "?"
    macs = destination.arp_macs
    answer = f"it is at {macs[0]}" if macs else "nobody answers"
    return f"{protocol} on {interface} for {destination.address}: {answer}"


def method(destination: DestinationEvidence) -> str:
    """The forwarding method, with TUN its type of tunnel."""
    name = METHODS[destination.method].upper()
    if destination.method is ForwardingMethod.TUN:
        return f"{name} ({destination.tunnel.type.value})"
    return name


def half_open(destination: DestinationEvidence) -> str:
    """The states of its recent connections."""
    return f"{destination.half_open} recent connections are in SYN_RECV, {destination.other_states} in any other state"


def told(result: Result) -> str:
    """The reply to one probe, and who sent it where that is somebody else."""
    if result.by and result.reply not in (Reply.OPEN, Reply.REFUSED):
        return f"{result.reply.value}, reported by {result.by}"
    return result.reply.value
