# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in the table's memory, as the values of the model: services and destinations with what was counted."""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import Any

from pylvs.addresses import unpack
from pylvs.model import (
    Address,
    Counters,
    Destination,
    DestinationState,
    Protocol,
    ServiceFlag,
    ServiceKey,
    ServiceState,
    VirtualService,
)
from pylvs.table.memory import SLOT, Memory
from pylvs.table.records import Record, swap16

NOTHING = Counters()
OBSERVED = (
    "address",
    "port",
    "method",
    "weight",
    "upper",
    "lower",
    "tunnel",
    "tunnel_port",
    "tunnel_flags",
    "local_first",
    "locals",
    "active",
    "inactive",
    "persistent",
)


def counted(memory: Memory, slot: int) -> tuple[Counters, Counters]:
    """Counters and rates of a record, as of the last folding."""
    return Counters(*memory.records.counted(slot)), Counters(*memory.records.rates(slot))


def one(memory: Memory, key: ServiceKey) -> ServiceState:
    """One service as it is now; NoSuchService."""
    slot = memory.slot_of(key)
    memory.control.sweep()
    memory.control.fold(slot)
    return service_state(memory, slot)


def all_of(memory: Memory, with_counters: bool = True) -> list[ServiceState]:
    """Every service as it is now."""
    memory.control.sweep()
    if with_counters:
        memory.control.fold()
    return [service_state(memory, slot, with_counters) for _, slot in memory.service_slots()]


def service_state(memory: Memory, slot: int, with_counters: bool = True) -> ServiceState:
    """The service in a slot, with its destinations, newest first."""
    service = service_at(memory, slot)
    destinations = tuple(destination_state(memory, member, with_counters) for member in memory.chain(slot))
    counters, rate = counted(memory, slot) if with_counters else (NOTHING, NOTHING)
    return ServiceState(service, destinations, counters, rate)


def service_at(memory: Memory, slot: int) -> VirtualService:
    """The service in a slot; nonsense if it was deleted meanwhile."""
    record = memory.get(slot, memory.service)
    values = dict(zip(memory.service.names, record, strict=True))
    mask = int.from_bytes(values["netmask"], "big")
    return VirtualService(
        _key(values),
        memory.codes.schedulers.value(values["scheduler"]),
        ServiceFlag(values["flags"]),
        values["timeout_seconds"],
        mask & 0xFFFFFFFF if values["family"] == 4 else mask.bit_count(),
        memory.codes.engines.value(values["pe"]),
    )


def _key(values: dict[str, Any]) -> ServiceKey:
    if values["fwmark"]:
        return ServiceKey(fwmark=values["fwmark"], family=values["family"])
    address = unpack(values["address"])
    return ServiceKey(Protocol(values["protocol"]), address, swap16(values["port"]), family=address.version)


@lru_cache(maxsize=2)
def _observed(record: Record) -> itemgetter[tuple[Any, ...]]:
    return itemgetter(*(record.place[name] for name in OBSERVED))


def destination_state(memory: Memory, slot: int, with_counters: bool) -> DestinationState:
    """The destination in a slot."""
    fields = _observed(memory.destination)(memory.get(slot, memory.destination))
    address, port, method, weight, upper, lower, tunnel, tunnel_port, tunnel_flags, *rest = fields
    first, count, active, inactive, persistent = rest
    destination = Destination(
        unpack(address),
        swap16(port),
        memory.codes.methods.value(method),
        weight,
        upper,
        lower,
        memory.codes.tunnel(tunnel, swap16(tunnel_port), tunnel_flags),
        _local_addresses(memory, first, count) if count else (),
    )
    counters, rate = counted(memory, slot) if with_counters else (NOTHING, NOTHING)
    return DestinationState(destination, active, inactive, persistent, counters, rate)


def _local_addresses(memory: Memory, first: int, count: int) -> tuple[Address, ...]:
    table = memory.plane.map("local_addresses")
    indices = range(first, first + count)
    return tuple(unpack(table.lookup(SLOT.pack(index)) or bytes(16)) for index in indices)
