# SPDX-License-Identifier: GPL-2.0-or-later
"""Making the whole table be another one: everything is checked before anything is changed; only what differs is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pylvs import rules
from pylvs.dataplane.instance import Instance
from pylvs.errors import DestinationExists
from pylvs.model import (
    AddressTypes,
    ConfiguredService,
    Destination,
    ForwardingMethod,
    ServiceKey,
    ServiceState,
    VirtualService,
)
from pylvs.table import destinations, services
from pylvs.table.edit import Edit
from pylvs.table.sources import fullnat_sources
from pylvs.table.states import service_state

Wanted = Mapping[ServiceKey, tuple[VirtualService, list[Destination]]]


def wanted(configured: Sequence[ConfiguredService], instance: Instance, types: AddressTypes) -> Wanted:
    """Services and their destinations in their normal form, by key; the first error that IPVS would have."""
    found = {}
    for service, members in configured:
        rules.check_service(service)
        checked = [
            destinations.checked(service.key, member, new=True, instance=instance, types=types) for member in members
        ]
        if len({destinations.name_of(member) for member in checked}) < len(checked):
            raise DestinationExists("a destination is there twice")
        found[service.key] = rules.normalize_service(service), checked
    return found


def check(edit: Edit, table: Wanted) -> None:
    """What only a loaded data plane can tell: TableFull for too many destinations of one service; Unsupported where
    FULLNAT has no address to send from."""
    for _, members in table.values():
        destinations.check_room(edit, len(members))
        for member in members:
            if member.method is ForwardingMethod.FULLNAT:
                fullnat_sources(edit.memory, member)


def replace(edit: Edit, table: Wanted) -> None:
    """Make the table be this one. New destinations come before old ones go; those keep the connections they have."""
    memory = edit.memory
    states = (service_state(memory, slot, with_counters=False) for _, slot in memory.service_slots())
    present = {state.service.key: state for state in states}
    for key, (service, members) in table.items():
        _replace_service(edit, present.get(key), service, members)
    gone = present.keys() - table.keys()
    services.delete_slots(edit, {memory.pack_key(key): memory.slot_of(key) for key in gone}, available=True)
    for key in gone:
        services.count(edit, key, -1)


def _replace_service(
    edit: Edit, present: ServiceState | None, service: VirtualService, members: list[Destination]
) -> None:
    if present is None:
        services.add(edit, service)
    elif present.service != service:
        services.change(edit, service)
    old = (
        {destinations.name_of(state.destination): state.destination for state in present.destinations}
        if present
        else {}
    )
    new, changed = [], []
    for member in members:
        known = old.pop(destinations.name_of(member), None)
        if known is None:
            new.append(member)
        elif known != member:
            changed.append(member)
    gone = list(old.values())
    if not destinations.has_room(edit, len(members) + len(gone)):  # for both
        destinations.delete(edit, service.key, gone, available=True)
        gone = []
    _add(edit, service.key, new)
    for member in changed:
        destinations.write(edit, service.key, member)
    destinations.delete(edit, service.key, gone, available=True)


def _add(edit: Edit, key: ServiceKey, new: Iterable[Destination]) -> None:
    """Add destinations that were checked; the first error of any."""
    for error in destinations.add_members(edit, key, new, lambda each: each):
        if error is not None:
            raise error
