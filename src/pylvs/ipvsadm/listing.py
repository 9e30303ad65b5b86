# SPDX-License-Identifier: GPL-2.0-or-later
"""The table as text: every listing of ipvsadm except that of connections, in blocks of whole lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address

from pylvs.ipvsadm.command import Format
from pylvs.ipvsadm.names import address_text, endpoint
from pylvs.ipvsadm.numbers import signed32
from pylvs.ipvsadm.ordering import sort_destinations, sort_services
from pylvs.model import (
    Counters,
    Destination,
    DestinationState,
    ForwardingMethod,
    Protocol,
    ServiceFlag,
    ServiceState,
    SyncDaemon,
    Timeouts,
    TunnelChecksum,
    TunnelType,
    VirtualService,
)

VERSION_LINE = "IP Virtual Server version 1.2.1 (size=4096)\n"
_SERVICE_WIDTH, _SERVER_WIDTH = 33, 28
_FULL_MASK = {4: 0xFFFFFFFF, 6: 128}

_REMOTE = "  -> RemoteAddress:Port\n"
_PLAIN_TITLE = "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward "
_TITLES = {
    "stats": "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n" + _REMOTE,
    "rate": "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n" + _REMOTE,
    "thresholds": "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n" + _REMOTE,
    "persistent": "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn \n" + _REMOTE,
    "tunnels": _PLAIN_TITLE + "TunnelInfo    Weight ActiveConn InActConn\n",
    "plain": _PLAIN_TITLE + "Weight ActiveConn InActConn\n",
}


def view(layout: Format) -> str:
    """Which listing a format asks for: the first of several, as in ipvsadm."""
    chosen = (name for name in ("stats", "rate", "thresholds", "persistent", "tunnels") if getattr(layout, name))
    return next(chosen, "plain")


def list_table(states: Iterable[ServiceState], layout: Format) -> Iterator[str]:
    """The whole table, below a version line."""
    yield VERSION_LINE + _TITLES[view(layout)]
    yield from list_services(sort_services(states) if layout.sort else states, layout)


def list_service(state: ServiceState, layout: Format) -> Iterator[str]:
    """One service, without a version line."""
    yield _TITLES[view(layout)]
    yield from list_services((state,), layout)


def list_services(states: Iterable[ServiceState], layout: Format) -> Iterator[str]:
    """One block per service: its line, and those of its destinations."""
    kind = view(layout)
    rows = _destination_rows(kind, layout.exact)
    for state in states:
        key, numeric = state.service.key, layout.numeric
        destinations = sort_destinations(state.destinations) if layout.sort else state.destinations
        protocol = int(key.protocol)
        lines = [_service_line(state, kind, layout)]
        for each in destinations:
            there = each.destination
            name = endpoint(there.address, there.port, protocol, numeric)
            if there.address.version == 4:
                name = name[:_SERVER_WIDTH]
            lines.append(rows(name, each))
        yield "".join(lines)


# --- services ----------------------------------------------------------------------------------------


def _service_name(service: VirtualService, numeric: bool) -> str:
    key = service.key
    if key.address is None:
        return f"FWM  {signed32(key.fwmark)}" + (" IPv6" if key.family == 6 else "")
    name = f"{protocol_name(key.protocol):<4} {endpoint(key.address, key.port, key.protocol, numeric)}"
    return name[:_SERVICE_WIDTH] if key.address.version == 4 else name


def protocol_name(protocol: int) -> str:
    """`TCP`, `UDP`, `SCTP`."""
    return Protocol(protocol).name


def _service_line(state: ServiceState, kind: str, layout: Format) -> str:
    name = _service_name(state.service, layout.numeric)
    if kind in ("stats", "rate"):
        counted = state.counters if kind == "stats" else state.rate
        return f"{name:<{_SERVICE_WIDTH}}{large_numbers(counted, layout.exact)}\n"
    service = state.service
    parts = [f"{name} {service.scheduler}"]
    if service.flags & SCHEDULER_BITS:
        parts.append(f"({scheduler_flags(service)})")
    if service.flags & ServiceFlag.PERSISTENT:
        parts.append(f"persistent {service.timeout}")
        mask = mask_text(service)
        parts += [f"mask {mask}"] if mask else []
        parts += [f"pe {service.persistence_engine}"] if service.persistence_engine else []
    if service.flags & ServiceFlag.ONE_PACKET:
        parts.append("ops")
    return " ".join(parts) + "\n"


def mask_text(service: VirtualService) -> str:
    """The persistence mask as `-M` takes it; "" for the default, which is not written."""
    family = service.key.family
    if service.netmask == _FULL_MASK[family]:
        return ""
    return str(IPv4Address(service.netmask)) if family == 4 else str(service.netmask)


_SCHED = (ServiceFlag.SCHED1, ServiceFlag.SCHED2, ServiceFlag.SCHED3)
SCHEDULER_BITS = ServiceFlag.SCHED1 | ServiceFlag.SCHED2 | ServiceFlag.SCHED3
_FLAG_NAMES = {"sh": ("sh-fallback", "sh-port"), "mh": ("mh-fallback", "mh-port")}


def scheduler_flags(service: VirtualService) -> str:
    """`sh-fallback,sh-port`; under another scheduler the same bits are `flag-1,flag-2`."""
    names = _FLAG_NAMES.get(service.scheduler, ("flag-1", "flag-2", "flag-3"))
    return ",".join(name for name, flag in zip(names, _SCHED, strict=False) if service.flags & flag)


# --- destinations ------------------------------------------------------------------------------------


def _destination_rows(kind: str, exact: bool) -> Callable[[str, DestinationState], str]:
    if kind == "stats":
        return lambda name, each: f"  -> {name:<28}{large_numbers(each.counters, exact)}\n"
    if kind == "rate":
        return lambda name, each: _rate_row(name, each.rate, exact)
    return {
        "plain": _plain_row,
        "thresholds": _threshold_row,
        "persistent": _persistent_row,
        "tunnels": _tunnel_row,
    }[kind]


def _plain_row(name: str, each: DestinationState) -> str:
    there = each.destination
    counts = f"{each.active:<10} {each.inactive:<10}"
    return f"  -> {name:<28} {there.method.value:<7} {there.weight:<6} {counts}\n"


def _rate_row(name: str, rate: Counters, exact: bool) -> str:
    packets = f"{rate.connections:>8} {rate.in_packets:>8} {rate.out_packets:>8}"
    volume = large_number(rate.in_bytes, exact) + large_number(rate.out_bytes, exact)
    return f"  -> {name:<28} {packets}{volume}\n"


def _threshold_row(name: str, each: DestinationState) -> str:
    there = each.destination
    thresholds = f"{there.upper_threshold:<10} {there.lower_threshold:<10}"
    return f"  -> {name:<28} {thresholds} {each.active:<10} {each.inactive:<10}\n"


def _persistent_row(name: str, each: DestinationState) -> str:
    weight, persistent = each.destination.weight, each.persistent
    return f"  -> {name:<28} {weight:<9} {persistent:<11} {each.active:<10} {each.inactive:<10}\n"


def _tunnel_row(name: str, each: DestinationState) -> str:
    there = each.destination
    head = f"  -> {name:<28} {there.method.value:<7} {_tunnel_text(there):<13}"
    return f"{head} {there.weight:<6} {each.active:<10} {each.inactive:<10}\n"


_CHECKSUMS = {TunnelChecksum.NONE: "-c", TunnelChecksum.CSUM: "+c", TunnelChecksum.REMCSUM: "r+c"}


def _tunnel_text(destination: Destination) -> str:
    tunnel = destination.tunnel
    if destination.method is not ForwardingMethod.TUN:
        return "n/a"
    if tunnel.type is TunnelType.IPIP:
        return "ipip"
    port = f":{tunnel.port}" if tunnel.type is TunnelType.GUE else ""
    return f"{tunnel.type.value}{port}:{_CHECKSUMS[tunnel.checksum]}"[:15]


# --- numbers -----------------------------------------------------------------------------------------

# (below this, shown divided by this, unit)
_UNITS = ((10**9, 10**3, "K"), (10**11, 10**6, "M"), (10**14, 10**9, "G"))


def large_number(number: int, exact: bool) -> str:
    """A number in nine columns, with K, M, G or T from 100 million on; `exact`: in as many as it takes."""
    if exact or number < 10**8:
        return f"{number:>9}" if number < 10**8 else f" {number}"
    for limit, divisor, unit in _UNITS:
        if number < limit:
            return f"{number // divisor:>8}{unit}"
    return f"{number // 10**12:>8}T"


def large_numbers(counted: Counters, exact: bool) -> str:
    """The five columns of `--stats`."""
    columns = (
        counted.connections,
        counted.in_packets,
        counted.out_packets,
        counted.in_bytes,
        counted.out_bytes,
    )
    return "".join([large_number(number, exact) for number in columns])


# --- timeouts and daemons ---------------------------------------------------------------------------


def list_timeouts(timeouts: Timeouts) -> str:
    """`-L --timeout`."""
    return f"Timeout (tcp tcpfin udp): {timeouts.tcp} {timeouts.tcp_fin} {timeouts.udp}\n"


def list_daemons(daemons: Iterable[SyncDaemon]) -> Iterator[str]:
    """`-L --daemon`: the master first."""
    found: Sequence[SyncDaemon] = sorted(daemons, key=lambda daemon: daemon.role, reverse=True)
    for daemon in found:
        parts = [f"mcast={daemon.interface}", f"syncid={daemon.sync_id}"]
        parts += [f"maxlen={daemon.max_length}"] if daemon.max_length else []
        parts += [f"group={address_text(daemon.group)}"] if daemon.group else []
        parts += [f"port={daemon.port}"] if daemon.port else []
        parts += [f"ttl={daemon.ttl}"] if daemon.ttl else []
        yield f"{daemon.role} sync daemon ({', '.join(parts)})\n"
