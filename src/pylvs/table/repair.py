# SPDX-License-Identifier: GPL-2.0-or-later
"""Making the table whole again after an editor was killed between two stores.

The next editor knows by the generation, which is odd (edit.py). What is derived is derived again: how many services and
destinations there are, which records are free, what schedulers know of their destinations. The map of services and the
lists of destinations are the truth; both change by one store each. Then the change that was not finished is carried out
again, if it was written down (journal.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from random import getrandbits

from pylvs.errors import TableError
from pylvs.model import ConfiguredService
from pylvs.table import destinations, journal, services
from pylvs.table import replace as whole
from pylvs.table.connections import Entries
from pylvs.table.edit import Edit
from pylvs.table.memory import Memory
from pylvs.table.records import Record


def repair(edit: Edit) -> None:
    """Derive again what an editor that was killed left undone, and finish what it wrote down."""
    memory = edit.memory
    _count_services(memory)
    linked = set()
    for _, service in memory.service_slots():
        linked |= _look_at_service(memory, service)
    kept = edit.trash.recount(linked, {slot for _, slot in memory.service_slots()})
    _free_the_rest(edit, linked | kept)
    _finish(edit)


def _count_services(memory: Memory) -> None:
    record = Record(memory.layouts["service_key"])
    keys = [dict(zip(record.names, record.unpack_from(key, 0), strict=True)) for key, _ in memory.service_slots()]
    memory.settings["services"] = len(keys)
    memory.settings["fwmark_services"] = sum(1 for key in keys if key["fwmark"])
    memory.settings["port_zero_services"] = sum(1 for key in keys if not key["fwmark"] and not key["port"])


def _look_at_service(memory: Memory, service: int) -> set[int]:
    """Let the service's scheduler see its destinations anew; the slots of service and destinations."""
    chain = list(memory.chain(service))
    memory.set_number(service, memory.service, "destinations", len(chain))
    memory.set_number(service, memory.service, "generation", getrandbits(32))
    memory.forget_members(service)
    memory.control.changed(service)
    return {service, *chain}


def _free_the_rest(edit: Edit, used: set[int]) -> None:
    """Every record that nothing leads to is free, those with connections once these have ended."""
    memory = edit.memory
    slots = memory.layouts.enum("slot")
    rest = set(range(slots["SLOT_FIRST"], memory.settings["next_record"])) - used
    busy = _destinations_of_connections(memory) if rest else set()
    memory.records.forget_retired()
    for slot in sorted(rest):
        if slot in busy:
            memory.set_number(slot, memory.destination, "service", slots["SLOT_DELETED"])
        memory.control.unschedule(slot)
        memory.records.retire_found(slot, edit.tick, busy=slot in busy)


def _destinations_of_connections(memory: Memory) -> set[int]:
    return {entry.destination for entry in Entries(memory.plane, memory.layouts).taken()}


def _finish(edit: Edit) -> None:
    """Carry out what was written down. What cannot be, as its service is gone, is forgotten."""
    found = journal.read(edit.memory.plane)
    if found is None:
        return
    action, table = found
    try:
        _carry_out(edit, action, table)
    except TableError:
        pass
    journal.forget(edit.memory.plane)


def _carry_out(edit: Edit, action: str, table: Iterable[ConfiguredService]) -> None:
    if action == journal.TABLE:
        whole.replace(edit, {service.key: (service, list(members)) for service, members in table})
        return
    for service, members in table:
        if action == journal.SERVICE:
            services.change(edit, service)
        else:
            for member in members:
                destinations.write(edit, service.key, member)
