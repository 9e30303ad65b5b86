# SPDX-License-Identifier: GPL-2.0-or-later
"""Adding, changing and deleting virtual services in the table's memory; what is asked for was checked (rules.py)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pylvs.addresses import pack
from pylvs.errors import ServiceExists
from pylvs.model import ServiceFlag, ServiceKey, VirtualService
from pylvs.table.edit import Edit
from pylvs.table.memory import SLOT
from pylvs.table.records import swap16


def add(edit: Edit, service: VirtualService) -> None:
    """Add a virtual service without destinations; ServiceExists."""
    memory = edit.memory
    key = memory.pack_key(service.key)
    if memory.find(key) is not None:
        raise ServiceExists("service already exists")
    slot = edit.allocate(memory.records.uncount)
    _write(edit, slot, service)
    memory.control.reschedule(slot, memory.codes.schedulers.number(service.scheduler))
    if service.key.address is not None and not service.key.fwmark:
        memory.filter.add(pack(service.key.address), real=False)
    memory.services.update(key, SLOT.pack(slot))
    count(edit, service.key, 1)


def _write(edit: Edit, slot: int, service: VirtualService) -> None:
    key, memory = service.key, edit.memory
    memory.service.pack_into(
        *memory.records.at(slot),
        flags=int(service.flags | ServiceFlag.HASHED),
        address=pack(key.address) if key.address is not None else b"",
        netmask=_netmask(service),
        fwmark=key.fwmark,
        timeout=service.timeout * memory.settings["second"],
        timeout_seconds=service.timeout,
        port=swap16(key.port),
        protocol=int(key.protocol),
        family=key.family,
        pe=memory.codes.engines.number(service.persistence_engine),
        generation=int.from_bytes(os.urandom(4)),  # not that of the service that had the slot before
    )


def _netmask(service: VirtualService) -> bytes:
    """The persistence mask as 16 bytes to be and-ed with a client's address."""
    if service.key.family == 4:
        return b"\xff" * 12 + service.netmask.to_bytes(4, "big")
    return ((1 << 128) - (1 << 128 - service.netmask)).to_bytes(16, "big")


def change(edit: Edit, service: VirtualService) -> None:
    """Change scheduler, flags and persistence of a service; connections stay. NoSuchService."""
    memory = edit.memory
    slot, record = edit.slot_of(service.key), memory.service
    buffer, base = memory.records.at(slot)
    old = memory.number(slot, record, "scheduler")
    new = memory.codes.schedulers.number(service.scheduler)
    if not service.flags & ServiceFlag.PERSISTENT:  # first, so that no packet goes by the mask and timeout below
        memory.set_number(slot, record, "flags", int(service.flags | ServiceFlag.HASHED))
    record.store(buffer, base, "netmask", _netmask(service))
    memory.set_number(slot, record, "timeout", service.timeout * memory.settings["second"])
    memory.set_number(slot, record, "timeout_seconds", service.timeout)
    memory.set_number(slot, record, "flags", int(service.flags | ServiceFlag.HASHED))
    memory.set_number(slot, record, "pe", memory.codes.engines.number(service.persistence_engine))
    if new != old:
        memory.control.reschedule(slot, new)


def delete(edit: Edit, key: ServiceKey) -> None:
    """Delete a service with its destinations; their connections stay, as IPVS has it. NoSuchService."""
    slot = edit.slot_of(key)
    delete_slots(edit, {edit.packed(key): slot})
    count(edit, key, -1)


def delete_all(edit: Edit) -> None:
    """Delete every service."""
    memory = edit.memory
    for name in ("services", "fwmark_services", "port_zero_services"):
        memory.settings[name] = 0
    delete_slots(edit, dict(memory.service_slots()))


def delete_slots(edit: Edit, slots: Mapping[bytes, int], available: bool = False) -> None:
    """Delete services by packed key, without counting them. `available`: their connections go on."""
    if not slots:
        return
    memory = edit.memory
    edit.forget()
    now = memory.control.fold(next(iter(slots.values())) if len(slots) == 1 else 0)
    kept = set()
    for key, slot in slots.items():
        kept |= edit.trash.keep(key, memory.chain(slot), available=available, all_of_them=False)
    for key in slots:
        memory.services.delete(key)
    edit.trash.orphan(set(slots.values()))
    for slot in slots.values():
        edit.trash.throw(list(memory.chain(slot)), kept, now, available=available, orphaned=True)
        memory.control.unschedule(slot)
        memory.forget_members(slot)
        memory.records.retire_service(slot, now)


def count(edit: Edit, key: ServiceKey, step: int) -> None:
    """Keep the numbers of services by which the data plane knows what it need not look for."""
    settings = edit.memory.settings
    if key.fwmark:
        settings["fwmark_services"] += step
    elif not key.port:
        settings["port_zero_services"] += step
    settings["services"] += step


def setting_changed(edit: Edit) -> None:
    """Let every service's scheduler look at the settings anew, since it may go by one of them."""
    for _, slot in edit.memory.service_slots():
        edit.memory.control.setting_changed(slot)
