# SPDX-License-Identifier: GPL-2.0-or-later
"""`--json`: every listing as JSON. The schema is listing.schema.json; docs/json.md explains it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import Any

from pylvs.ipvsadm.connections import PROTOCOL_NAMES, unpacked
from pylvs.ipvsadm.listing import scheduler_flags
from pylvs.ipvsadm.ordering import sort_destinations, sort_services
from pylvs.model import (
    ConnectionRow,
    Counters,
    DestinationState,
    ForwardingMethod,
    ServiceFlag,
    ServiceKey,
    ServiceState,
    SyncDaemon,
    Timeouts,
    VirtualService,
)
from pylvs.values import fields_of

Object = dict[str, Any]


def services(states: Iterable[ServiceState], *, sort: bool) -> Iterator[str]:
    """The table as JSON text, one service at a time."""
    ordered = sort_services(states) if sort else states
    return _array("services", (_service(state, sort) for state in ordered))


def connections(rows: Iterable[Sequence[ConnectionRow]]) -> Iterator[str]:
    """The connections as JSON text, one at a time."""
    return _array("connections", (_connection(row) for chunk in rows for row in chunk))


def timeouts(values: Timeouts) -> str:
    """`{"timeouts": …}`."""
    return json.dumps({"timeouts": fields_of(values)}) + "\n"


def daemons(found: Iterable[SyncDaemon]) -> Iterator[str]:
    """`{"daemons": [ … ]}`."""
    return _array("daemons", map(_daemon, found))


def _array(name: str, items: Iterable[Object]) -> Iterator[str]:
    """An object with one array, item by item so that it streams: one per line."""
    yield f'{{"{name}": ['
    separator = "\n"
    for item in items:
        yield separator + json.dumps(item)
        separator = ",\n"
    yield "\n]}\n"


def _key(key: ServiceKey) -> Object:
    if key.address is None:
        return {"fwmark": key.fwmark, "family": key.family}
    return {"protocol": key.protocol.name.lower(), "address": str(key.address), "port": key.port}


def _netmask(service: VirtualService) -> str | int:
    return service.netmask if service.key.family == 6 else str(IPv4Address(service.netmask))


def _service(state: ServiceState, sort: bool) -> Object:
    service = state.service
    persistent = bool(service.flags & ServiceFlag.PERSISTENT)
    flags = scheduler_flags(service)
    destinations = sort_destinations(state.destinations) if sort else state.destinations
    return {
        **_key(service.key),
        "scheduler": service.scheduler,
        "scheduler_flags": flags.split(",") if flags else [],
        "persistent_timeout": service.timeout if persistent else None,
        "netmask": _netmask(service) if persistent else None,
        "persistence_engine": service.persistence_engine or None,
        "one_packet": bool(service.flags & ServiceFlag.ONE_PACKET),
        "stats": _counters(state.counters),
        "rate": _counters(state.rate),
        "destinations": list(map(_destination, destinations)),
    }


def _counters(counted: Counters) -> Object:
    return {
        "connections": counted.connections,
        "in_packets": counted.in_packets,
        "out_packets": counted.out_packets,
        "in_bytes": counted.in_bytes,
        "out_bytes": counted.out_bytes,
    }


def _destination(state: DestinationState) -> Object:
    there = state.destination
    tunnel = {
        "type": there.tunnel.type.value,
        "port": there.tunnel.port,
        "checksum": there.tunnel.checksum.value,
    }
    return {
        "address": str(there.address),
        "port": there.port,
        "method": there.method.name.lower(),
        "weight": there.weight,
        "upper_threshold": there.upper_threshold,
        "lower_threshold": there.lower_threshold,
        "tunnel": tunnel if there.method is ForwardingMethod.TUN else None,
        "local_addresses": list(map(str, there.local_addresses)),
        "active_connections": state.active,
        "inactive_connections": state.inactive,
        "persistent_connections": state.persistent,
        "stats": _counters(state.counters),
        "rate": _counters(state.rate),
    }


def _connection(row: ConnectionRow) -> Object:
    protocol, state, expires, client, cport, virtual, vport, real, rport = row
    return {
        "protocol": PROTOCOL_NAMES.get(protocol, "?").lower(),
        "state": state,
        "expires": expires,
        "client": str(unpacked(client)),
        "client_port": cport,
        "virtual": str(unpacked(virtual)),
        "virtual_port": vport,
        "real": str(unpacked(real)),
        "real_port": rport,
        "template": cport == 0,
    }


def _daemon(daemon: SyncDaemon) -> Object:
    return {**fields_of(daemon), "group": None if daemon.group is None else str(daemon.group)}
