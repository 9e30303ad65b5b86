# SPDX-License-Identifier: GPL-2.0-or-later
"""Adding, changing and deleting destinations in the table's memory.

A destination's record is written whole before it is linked into its service's list: no packet sees a part of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from pylvs import rules
from pylvs.addresses import pack
from pylvs.dataplane.instance import Instance
from pylvs.errors import DestinationExists, NoSuchDestination, PylvsError, TableFull
from pylvs.model import AddressType, AddressTypes, Destination, ForwardingMethod, ServiceKey, VirtualService
from pylvs.table import daemons, journal
from pylvs.table.edit import Edit
from pylvs.table.memory import Memory, Name
from pylvs.table.records import Record, swap16
from pylvs.table.sources import fullnat_pool, source_towards

TRANSLATED = (ForwardingMethod.NAT, ForwardingMethod.FULLNAT)

# The fields of `struct destination` that are configured; counts and next hop beside them belong to the data plane.
CONFIGURED = (
    "service",
    "weight",
    "flags",
    "upper",
    "lower",
    "port",
    "method",
    "tunnel",
    "address",
    "tunnel_port",
    "source",
    "tunnel_flags",
    "local",
    "family",
    "locals",
    "local_first",
    "last_weight",
)


def name_of(destination: Destination) -> Name:
    """A destination's name as its record has it."""
    return pack(destination.address), swap16(destination.port)


def checked(
    key: ServiceKey, destination: Destination, *, new: bool, instance: Instance, types: AddressTypes
) -> Destination:
    """A destination in its normal form, if IPVS takes it; else the error that IPVS has for it. `types`: what the host's
    own table `local` says of an address."""
    rules.check_fields(destination)
    destination = rules.normalize_destination(key, destination)
    # all that a sync daemon forbids is a tunnel between families
    mixed = destination.method is ForwardingMethod.TUN and destination.address.version != key.family
    syncing = mixed and any(True for _ in daemons.running(instance))
    rules.check_destination(key, destination, new=new, syncing=syncing, types=types)
    return destination


def _checked(edit: Edit, key: ServiceKey, destination: Destination, new: bool) -> Destination:
    return checked(key, destination, new=new, instance=edit.instance, types=edit.locality.address_type)


def add_many(edit: Edit, key: ServiceKey, destinations: Sequence[Destination]) -> list[PylvsError | None]:
    """Add destinations to one service: for each None, or why it is not there. NoSuchService."""
    return add_members(edit, key, destinations, lambda each: _checked(edit, key, each, new=True))


def add_members(
    edit: Edit, key: ServiceKey, destinations: Iterable[Destination], check: Callable[[Destination], Destination]
) -> list[PylvsError | None]:
    """Add destinations, each as `check` gives it, and put all of them into the service's list at once."""
    service = edit.slot_of(key)
    members = edit.memory.members(service)
    added: list[int] = []
    errors: list[PylvsError | None] = []
    try:
        for destination in destinations:
            try:
                added.append(_add(edit, key, service, check(destination), members))
                errors.append(None)
            except PylvsError as error:
                errors.append(error)
    finally:
        _link(edit, service, members, added)
    return errors


def _add(edit: Edit, key: ServiceKey, service: int, destination: Destination, members: dict[Name, int]) -> int:
    """Write the record of a new destination, for `_link`; its slot. One that was deleted while its connections lived
    takes them over."""
    name = name_of(destination)
    if name in members:
        raise DestinationExists("destination already exists")
    check_room(edit, len(members) + 1)
    fields = _configured(edit, service, destination)
    slot = edit.trash.take_back(edit.packed(key), *name, service)
    if slot:
        _write(edit, slot, destination, fields)
    else:
        slot = edit.allocate(edit.memory.records.zero)
        memory, base = edit.memory.records.at(slot)
        _packer(edit.memory.destination).pack_into(memory, base, *fields.values())
    members[name] = slot
    return slot


def has_room(edit: Edit, number: int) -> bool:
    """Whether a service can have so many destinations."""
    return number <= edit.memory.constants["DESTINATIONS_MAX"]


def check_room(edit: Edit, number: int) -> None:
    """TableFull if a service cannot have so many destinations."""
    if not has_room(edit, number):
        raise TableFull(f"a service takes {edit.memory.constants['DESTINATIONS_MAX']} destinations at most")


@lru_cache(maxsize=2)
def _packer(record: Record) -> struct.Struct:
    """Writes a whole record of which only CONFIGURED is not zero."""
    return record.packer(CONFIGURED)


def _link(edit: Edit, service: int, members: dict[Name, int], added: Sequence[int]) -> None:
    """Put new destinations into the service's list, in this order."""
    if not added:
        return
    memory = edit.memory
    for slot, following in zip(added, [*added[1:], 0], strict=True):
        memory.set_number(slot, memory.destination, "next", following)
    memory.control.link(service, added[0])
    memory.members_changed(service, members)


def _configured(edit: Edit, service: int, destination: Destination) -> dict[str, Any]:
    """What was configured, field by field in the order of CONFIGURED."""
    codes, tunnel = edit.memory.codes, destination.tunnel
    address, port = name_of(destination)
    first, count, source = 0, 0, b""
    if destination.method in TRANSLATED:
        edit.memory.filter.add(address, real=True)
    if destination.method is ForwardingMethod.TUN:
        source = source_towards(edit.memory, destination.address)
    if destination.method is ForwardingMethod.FULLNAT:
        first, count = fullnat_pool(edit.memory, destination)
    return {
        "service": service,
        "weight": destination.weight,
        "flags": edit.memory.constants["DEST_AVAILABLE"],
        "upper": destination.upper_threshold,
        "lower": destination.lower_threshold,
        "port": port,
        "method": codes.methods.number(destination.method),
        "tunnel": codes.tunnels.number(tunnel.type),
        "address": address,
        "tunnel_port": swap16(tunnel.port),
        "source": source,
        "tunnel_flags": codes.checksums.number(tunnel.checksum),
        "local": edit.locality.address_type(destination.address) is AddressType.LOCAL,
        "family": destination.address.version,
        "locals": count,
        "local_first": first,
        "last_weight": destination.weight,
    }


def _write(edit: Edit, slot: int, destination: Destination, fields: dict[str, Any]) -> None:
    """Write what is configured over a record that packets may see: field by field, what is as it was not at all, and
    the flags last."""
    record = edit.memory.destination
    memory, base = edit.memory.records.at(slot)
    old = dict(zip(record.names, record.unpack_from(memory, base), strict=True))
    flags = old["flags"] | edit.memory.constants["DEST_AVAILABLE"]
    if not destination.upper_threshold or destination.upper_threshold > old["upper"]:
        flags &= ~edit.memory.constants["DEST_OVERLOAD"]
    del fields["flags"]
    if destination.method is not ForwardingMethod.TUN:
        del fields["source"]
    for field, value in (fields | {"flags": flags}).items():
        if old[field] != value:
            record.store(memory, base, field, value)


def change(edit: Edit, key: ServiceKey, destination: Destination) -> None:
    """Change a destination; NoSuchService, NoSuchDestination, OutOfRange, Invalid."""
    service = edit.slot_of(key)
    destination = _checked(edit, key, destination, new=False)
    find(edit.memory, service, destination)
    with journal.written(edit.memory.plane, journal.DESTINATION, [(VirtualService(key), [destination])]):
        write(edit, key, destination)


def write(edit: Edit, key: ServiceKey, destination: Destination) -> None:
    """Make a destination be this one, which has been checked; NoSuchService, NoSuchDestination."""
    service = edit.slot_of(key)
    slot = find(edit.memory, service, destination)
    fields = _configured(edit, service, destination)
    if not destination.weight:
        del fields["last_weight"]  # mh goes by the last one that was not 0
    _write(edit, slot, destination, fields)
    edit.memory.control.changed(service, slot)


def find(memory: Memory, service: int, destination: Destination) -> int:
    """Slot of a destination of the service in slot `service`; NoSuchDestination."""
    slot = memory.members(service).get(name_of(destination))
    if slot is None:
        raise NoSuchDestination("no such destination")
    return slot


def delete(edit: Edit, key: ServiceKey, destinations: Sequence[Destination], available: bool = False) -> None:
    """Take destinations out of a service; NoSuchService, NoSuchDestination. `available`: their connections go on."""
    memory, service = edit.memory, edit.slot_of(key)
    slots = [find(edit.memory, service, destination) for destination in destinations]
    if not slots:
        return
    now = memory.control.fold(service)  # what they counted is their service's, also when they are gone
    kept = edit.trash.keep(edit.packed(key), slots, available=available, all_of_them=not available)
    for slot in slots:
        memory.control.unlink(service, slot)
    edit.trash.throw(slots, kept, now, available=available, orphaned=False)
    members = memory.members(service)
    for destination in destinations:
        del members[name_of(destination)]
    memory.members_changed(service, members)


def end_connections(edit: Edit, key: ServiceKey, destination: Destination) -> int:
    """End every connection of a destination; how many there were. NoSuchService, NoSuchDestination."""
    service = edit.slot_of(key)
    return edit.memory.control.end(service, find(edit.memory, service, destination))
