# SPDX-License-Identifier: GPL-2.0-or-later
"""What an editor is about to make of the table, kept where a kill does not reach it until it is made.

A change of several stores is written down first, as a pinned BPF array of its own: `live/maps/journal`. It appears by
one pin and goes by one unlink. Whoever takes the lock next and finds it carries the change out again; each is such that
doing it twice is doing it once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from pylvs.dataplane.kernel import F_MMAPABLE, Map, MapType
from pylvs.dataplane.loaded import DataPlane
from pylvs.dataplane.mapped import MappedArray
from pylvs.errors import TableError
from pylvs.model import (
    ConfiguredService,
    Destination,
    ForwardingMethod,
    Protocol,
    ServiceFlag,
    ServiceKey,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualService,
)

NAME = "journal"
# What is done with the services that are written down.
SERVICE = "service"  # the one service is changed, but not its destinations
DESTINATION = "destination"  # the one destination of the one service is changed
TABLE = "table"  # the whole table becomes this


@contextmanager
def written(plane: DataPlane, action: str, services: Sequence[ConfiguredService]) -> Iterator[None]:
    """Keep the change until the block ends, or the table refuses it. What ends the block otherwise, such as Ctrl-C,
    leaves it to whoever takes the lock next."""
    import json

    text = json.dumps([action, [_packed(service, members) for service, members in services]]).encode()
    path = plane.pin_path("maps", NAME)
    with Map.create(MapType.ARRAY, 4, len(text), 1, F_MMAPABLE, NAME) as map:
        with MappedArray(map) as array:
            array.memory[: len(text)] = text
        map.pin(path)
    try:
        yield
    except TableError:
        forget(plane)
        raise
    forget(plane)


def read(plane: DataPlane) -> tuple[str, list[ConfiguredService]] | None:
    """The change that an editor wrote down and did not finish, None if there is none."""
    import json

    try:
        map = Map.pinned(plane.pin_path("maps", NAME))
    except FileNotFoundError:
        return None
    with map, MappedArray(map, writable=False) as array:
        action, services = json.loads(bytes(array.memory[: map.info.value_size]))
    return action, [_unpacked(*service) for service in services]


def forget(plane: DataPlane) -> None:
    """The change is finished, or cannot be."""
    try:
        os.unlink(plane.pin_path("maps", NAME))
    except FileNotFoundError:
        pass


def _packed(service: VirtualService, members: Sequence[Destination]) -> list[Any]:
    key = service.key
    address = str(key.address) if key.address is not None else ""
    return [
        [int(key.protocol), address, key.port, key.fwmark, key.family],
        [service.scheduler, int(service.flags), service.timeout, service.netmask, service.persistence_engine],
        [_packed_member(member) for member in members],
    ]


def _packed_member(member: Destination) -> list[Any]:
    tunnel = member.tunnel
    return [
        [str(member.address), member.port, member.method.value],
        [member.weight, member.upper_threshold, member.lower_threshold],
        [tunnel.type.value, tunnel.port, tunnel.checksum.value],
        [str(address) for address in member.local_addresses],
    ]


def _unpacked(key: list[Any], service: list[Any], members: list[Any]) -> ConfiguredService:
    protocol, address, port, fwmark, family = key
    scheduler, flags, timeout, netmask, engine = service
    named = ServiceKey(Protocol(protocol), ip_address(address) if address else None, port, fwmark, family)
    unpacked = VirtualService(named, scheduler, ServiceFlag(flags), timeout, netmask, engine)
    return unpacked, [_unpacked_member(*member) for member in members]


def _unpacked_member(name: list[Any], numbers: list[int], tunnel: list[Any], local: list[str]) -> Destination:
    address, port, method = name
    weight, upper, lower = numbers
    kind, tunnel_port, checksum = tunnel
    return Destination(
        ip_address(address),
        port,
        ForwardingMethod(method),
        weight,
        upper,
        lower,
        Tunnel(TunnelType(kind), tunnel_port, TunnelChecksum(checksum)),
        tuple(ip_address(each) for each in local),
    )
