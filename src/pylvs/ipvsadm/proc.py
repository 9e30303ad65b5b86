# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's `/proc/net/ip_vs*` would contain: `pylvs proc NAME` prints it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

from pylvs.ipvsadm.connections import MAPPED, PROTOCOL_NAMES
from pylvs.model import (
    Address,
    ConnectionRow,
    Counters,
    DestinationState,
    ServiceFlag,
    ServiceState,
    Table,
    VirtualService,
)

# persistence timeouts are shown in jiffies; the kernel of the recordings has 100 per second
HZ = 100

_SERVICES_TITLE = (
    "IP Virtual Server version 1.2.1 (size=4096)\n"
    "Prot LocalAddress:Port Scheduler Flags\n"
    "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
)
_CONNECTIONS_TITLE = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"
_SYNC_TITLE = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n"
_STATS_TITLE = (
    "   Total Incoming Outgoing         Incoming         Outgoing\n"
    "   Conns  Packets  Packets            Bytes            Bytes\n"
)
_RATES_TITLE = " Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n"
_PERCPU_TITLE = (
    "       Total Incoming Outgoing         Incoming         Outgoing\n"
    "CPU    Conns  Packets  Packets            Bytes            Bytes\n"
)


def text(name: str, table: Table) -> Iterator[str]:
    """The text of `/proc/net/NAME` in blocks. KeyError if there is no such file."""
    return FILES[name](table)


def run(argv: Sequence[str]) -> int:
    """`pylvs proc NAME`."""
    if len(argv) != 1 or argv[0] not in FILES:
        print(f"usage: pylvs proc NAME, NAME one of: {', '.join(FILES)}", file=sys.stderr)
        return 2
    from pylvs.table.director import Director

    with Director() as director:
        sys.stdout.writelines(text(argv[0], director))
    return 0


def _hex_address(address: Address) -> str:
    return f"{int(address):08X}" if address.version == 4 else f"[{_groups(address.packed)}]"


def _groups(raw: bytes) -> str:
    """An IPv6 address in eight full groups, as the kernel's %pI6."""
    return ":".join(raw[i : i + 2].hex() for i in range(0, 16, 2))


def _services(table: Table) -> Iterator[str]:
    yield _SERVICES_TITLE
    for state in table.services(counted=False):
        yield _service_line(state) + "".join(map(_destination_line, state.destinations))


def _service_line(state: ServiceState) -> str:
    service = state.service
    key = service.key
    once = "ops " if service.flags & ServiceFlag.ONE_PACKET else ""
    if key.address is None:
        line = f"FWM  {key.fwmark:08X} {service.scheduler} {once}"
    else:
        name = f"{key.protocol.name}  {_hex_address(key.address)}:{key.port:04X} {service.scheduler} "
        # the kernel writes one more blank after IPv4
        line = f"{name}{once} " if key.address.version == 4 else name
    if service.flags & ServiceFlag.PERSISTENT:
        line += f"persistent {service.timeout * HZ} {_mask_word(service):08X}"
    return line + "\n"


def _mask_word(service: VirtualService) -> int:
    """The mask as a word in network order; the length of an IPv6 prefix as the kernel keeps it, in host order."""
    if service.key.family == 4:
        return service.netmask
    return int.from_bytes(service.netmask.to_bytes(4, "little"))


def _destination_line(state: DestinationState) -> str:
    there = state.destination
    counts = f"{there.weight:<6} {state.active:<10} {state.inactive:<10}"
    return f"  -> {_hex_address(there.address)}:{there.port:04X}      {there.method.value:<7} {counts}\n"


def _hex_row(row: ConnectionRow) -> str:
    """Protocol, three endpoints and state, with which the rows of both files of connections begin."""
    protocol, state, _, client, cport, virtual, vport, real, rport = row
    ends = " ".join(f"{_raw(raw)} {port:04X}" for raw, port in ((client, cport), (virtual, vport), (real, rport)))
    return f"{PROTOCOL_NAMES.get(protocol, '?'):<3} {ends} {state:<11}"


def _raw(raw: bytes) -> str:
    return raw[12:].hex().upper() if raw[:12] == MAPPED else _groups(raw)


def _connections(table: Table) -> Iterator[str]:
    yield _CONNECTIONS_TITLE
    for chunk in table.connection_rows():
        yield "".join([f"{_hex_row(row)} {row[2]:>7}\n" for row in chunk])


def _connections_sync(table: Table) -> Iterator[str]:
    yield _SYNC_TITLE
    for chunk in table.connection_rows():
        yield "".join([f"{_hex_row(row)} LOCAL  {row[2]:>7}\n" for row in chunk])


def _counters_row(counted: Counters) -> str:
    first = f"{counted.connections:8X} {counted.in_packets:8X} {counted.out_packets:8X}"
    return f"{first} {counted.in_bytes:16X} {counted.out_bytes:16X}\n"


def _stats(table: Table) -> Iterator[str]:
    counted, rate = table.totals()
    yield _STATS_TITLE + _counters_row(counted) + "\n" + _RATES_TITLE + _counters_row(rate)


def _stats_percpu(table: Table) -> Iterator[str]:
    """A row per CPU; those that have counted nothing are left out, except the first."""
    counted, rate = table.totals()
    yield _PERCPU_TITLE
    for number, each in enumerate(table.cpu_totals()):
        if number == 0 or each != Counters():
            yield f"{number:3X} {_counters_row(each)}"
    yield f"  ~ {_counters_row(counted)}\n    {_RATES_TITLE}    {_counters_row(rate)}"


def _applications(_: Table) -> Iterator[str]:
    """The application helpers: pylvs has none."""
    yield "prot port    usecnt name\n"


FILES: dict[str, Callable[[Table], Iterator[str]]] = {
    "ip_vs": _services,
    "ip_vs_app": _applications,
    "ip_vs_conn": _connections,
    "ip_vs_conn_sync": _connections_sync,
    "ip_vs_stats": _stats,
    "ip_vs_stats_percpu": _stats_percpu,
}
