# SPDX-License-Identifier: GPL-2.0-or-later
"""`-S`: the table as the commands that make it. As in ipvsadm, thresholds are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pylvs.ipvsadm.listing import SCHEDULER_BITS, mask_text, scheduler_flags
from pylvs.ipvsadm.names import endpoint
from pylvs.ipvsadm.numbers import signed32
from pylvs.ipvsadm.ordering import sort_destinations, sort_services
from pylvs.model import (
    SERVICE_OPTIONS,
    Destination,
    ForwardingMethod,
    ServiceFlag,
    ServiceKey,
    ServiceState,
    TunnelType,
    VirtualService,
)

_METHOD_OPTION = {
    ForwardingMethod.NAT: "-m",
    ForwardingMethod.DR: "-g",
    ForwardingMethod.LOCAL: "-g",
    ForwardingMethod.TUN: "-i",
    ForwardingMethod.FULLNAT: "--fullnat",
}


def save_table(states: Iterable[ServiceState], numeric: bool) -> Iterator[str]:
    """One block per service."""
    for state in sort_services(states):
        key = state.service.key
        name = service_option(key, numeric)
        lines = [f"-A {name}{service_options(state.service)}\n"]
        for each in sort_destinations(state.destinations):
            there = each.destination
            server = endpoint(there.address, there.port, int(key.protocol), numeric)
            lines.append(f"-a {name} -r {server} {destination_options(there)}\n")
        yield "".join(lines)


def service_option(key: ServiceKey, numeric: bool) -> str:
    """`-t 10.0.0.1:80`, `-f 7 -6`; ports and addresses by name unless `numeric`, large marks negative as in ipvsadm."""
    if key.address is None:
        return f"-f {signed32(key.fwmark)}" + (" -6" if key.family == 6 else "")
    return f"{SERVICE_OPTIONS[key.protocol]} {endpoint(key.address, key.port, int(key.protocol), numeric)}"


def service_options(service: VirtualService) -> str:
    """The options of `-A` that follow the service's name."""
    parts = [f" -s {service.scheduler}"]
    if service.flags & ServiceFlag.PERSISTENT:
        mask = mask_text(service)
        parts.append(f" -p {service.timeout}" + (f" -M {mask}" if mask else ""))
    if service.persistence_engine:
        parts.append(f" --pe {service.persistence_engine}")
    if service.flags & ServiceFlag.ONE_PACKET:
        parts.append(" -o")
    if service.flags & SCHEDULER_BITS:
        parts.append(f" -b {scheduler_flags(service)}")
    return "".join(parts)


def destination_options(destination: Destination) -> str:
    """The options of `-a` that follow the real server's address."""
    text = f"{_METHOD_OPTION[destination.method]} -w {destination.weight}"
    if destination.local_addresses:
        text += " --local-address " + ",".join(map(str, destination.local_addresses))
    if destination.method is not ForwardingMethod.TUN:
        return text
    tunnel = destination.tunnel
    text += f" --tun-type {tunnel.type.value}"
    if tunnel.type is TunnelType.IPIP:
        return text
    port = f" --tun-port {tunnel.port}" if tunnel.type is TunnelType.GUE else ""
    return f"{text}{port} --tun-{tunnel.checksum.value}"
