# SPDX-License-Identifier: GPL-2.0-or-later
"""Every invariant of a table's shared memory, looked at while no command is at work on it.

`check_table` says a line for each that does not hold. Packets and the sweep may go on: what is wrong only while an
entry changes is not wrong at the next look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from pylvs.dataplane.mapped import MappedArray
from pylvs.table.connections import Entry
from pylvs.table.memory import SLOT, Memory
from pylvs.table.records import Record
from pylvs.table.settings import Settings

LOOKS = 3
BUSY, FIRST_TAG = 1, 2
DESTINATIONS_MAX = 1024
AVAILABLE, TEMPLATE, INACTIVE, INVALID, AWAY = 1, 1, 2, 8, 32
HASHED = 2  # of a service's flags: ServiceFlag.HASHED
WAYS = 8
FEW = 64  # lookup tables that are read at a time
ADDRESS = 16

Lines = Iterator[str]


def check_table(memory: Memory) -> list[str]:
    """What is wrong with the table, a line each, at each of several looks; nothing if all is well."""
    lasting: list[str] = []
    for look in range(LOOKS):
        found = list(_Table(memory).faults())
        lasting = [line for line in found if look == 0 or line in lasting]
        if not lasting:
            break
    return lasting


class _Table:
    """One look at the table."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.settings: Settings = memory.settings
        self.layouts = memory.layouts
        self.services = dict(memory.service_slots())
        self.by_slot = {slot: key for key, slot in self.services.items()}
        self.methods = {number: name for name, number in self.layouts.enum("method").items()}

    def faults(self) -> Lines:
        """All checks in turn; one that ends in an exception is a fault too."""
        checks: list[Callable[[], Lines]] = [
            self._counters, self._service_records, self._lists, self._free_list, self._trash, self._owners,
            self._filter_bits, self._tables, self._pools, self._generation, self._entries, self._templates,
            self._counts, self._overflows, self._due, self._replies,
        ]  # fmt: skip
        for check in checks:
            try:
                yield from check()
            except Exception as error:
                yield f"{check.__name__.strip('_')}: {type(error).__name__}: {error}"

    # --- records

    def _get(self, slot: int, record: Record) -> dict[str, Any]:
        return dict(zip(record.names, self.memory.get(slot, record), strict=True))

    def _service(self, slot: int) -> dict[str, Any]:
        return self._get(slot, self.memory.service)

    def _destination(self, slot: int) -> dict[str, Any]:
        return self._get(slot, self.memory.destination)

    def _is_slot(self, slot: int) -> bool:
        return self.layouts.enum("slot")["SLOT_FIRST"] <= slot < self.settings["next_record"]

    @cached_property
    def keys(self) -> dict[bytes, dict[str, Any]]:
        """The services' keys, unpacked."""
        record = Record(self.layouts["service_key"])
        return {key: dict(zip(record.names, record.unpack_from(key, 0), strict=True)) for key in self.services}

    @cached_property
    def chains(self) -> dict[int, list[int]]:
        """Slots of each service's destinations; a circle ends where it begins anew."""
        found = {}
        for slot in self.by_slot:
            chain: list[int] = []
            member = self.memory.number(slot, self.memory.service, "first")
            while member and member not in chain and self._is_slot(member):
                chain.append(member)
                member = self.memory.number(member, self.memory.destination, "next")
            if member:
                chain.append(member)
            found[slot] = chain
        return found

    @cached_property
    def retired(self) -> list[int]:
        """Slots of the records that wait to be used again; a circle ends where it begins anew."""
        layout, found = self.layouts["retired"], []
        slot = self.settings["first_retired"]
        while slot and slot not in found and self._is_slot(slot):
            found.append(slot)
            slot = layout["next"].unpack_from(*self.memory.records.at(slot))
        return [*found, slot] if slot else found

    @cached_property
    def trashed(self) -> dict[bytes, int]:
        """Slots of deleted destinations that are kept, by `struct trash_key`."""
        return {key: SLOT.unpack_from(value)[0] for key, value in self.memory.plane.map("trash").items()}

    def _counters(self) -> Lines:
        keys = self.keys.values()
        wanted = {
            "services": len(self.services),
            "fwmark_services": sum(1 for key in keys if key["fwmark"]),
            "port_zero_services": sum(1 for key in keys if not key["fwmark"] and not key["port"]),
            "trashed": len(self.trashed),
        }
        for name, number in wanted.items():
            if name in self.settings.fields and self.settings[name] != number:
                yield f"settings.{name} is {self.settings[name]}, and there are {number}"

    def _service_records(self) -> Lines:
        schedulers = self.layouts.enum("scheduler").values()
        for packed, slot in self.services.items():
            if not self._is_slot(slot):
                yield f"a service is in slot {slot}, which was never given out"
                continue
            record, key = self._service(slot), self.keys[packed]
            for name in ("address", "port", "protocol", "family", "fwmark"):
                if record[name] != key[name] and not (key["fwmark"] and name in ("address", "protocol", "port")):
                    yield f"service in slot {slot}: {name} is {record[name]!r}, and {key[name]!r} in its key"
            if record["scheduler"] not in schedulers or not record["flags"] & HASHED:
                yield f"service in slot {slot}: scheduler {record['scheduler']}, flags {record['flags']}"

    def _lists(self) -> Lines:
        for slot, chain in self.chains.items():
            if len(set(chain)) < len(chain) or not all(map(self._is_slot, chain)):
                yield f"service in slot {slot}: its list of destinations never ends: {chain}"
                continue
            number = self._service(slot)["destinations"]
            if number != len(chain) or number > DESTINATIONS_MAX:
                yield f"service in slot {slot}: destinations is {number}, and there are {len(chain)}"
            yield from self._members(slot, chain)

    def _members(self, slot: int, chain: list[int]) -> Lines:
        names = set()
        for member in chain:
            record = self._destination(member)
            if record["service"] != slot:
                yield f"destination in slot {member} says that its service is in slot {record['service']}, not {slot}"
            if not record["flags"] & AVAILABLE:
                yield f"destination in slot {member} is listed, and not available"
            if record["method"] not in self.methods or record["family"] not in (4, 6):
                yield f"destination in slot {member}: method {record['method']}, family {record['family']}"
            names.add((record["address"], record["port"]))
        if len(names) < len(chain):
            yield f"service in slot {slot} has a destination twice"

    def _free_list(self) -> Lines:
        if len(set(self.retired)) < len(self.retired) or not all(map(self._is_slot, self.retired)):
            yield f"the list of free records never ends: {self.retired}"
        elif self.retired and self.settings["last_retired"] != self.retired[-1]:
            yield f"settings.last_retired is {self.settings['last_retired']}, and the list ends at {self.retired[-1]}"

    def _trash(self) -> Lines:
        deleted = self.layouts.enum("slot")["SLOT_DELETED"]
        for key, slot in self.trashed.items():
            if not self._is_slot(slot):
                yield f"the trash has slot {slot}, which was never given out"
                continue
            record = self._destination(slot)
            if record["address"] != key[24:40] or record["port"] != int.from_bytes(key[40:42], "little"):
                yield f"the destination in slot {slot} is in the trash under another name"
            if record["service"] != deleted and record["service"] not in self.by_slot:
                yield f"the destination in slot {slot}, in the trash, is of slot {record['service']}: no service"

    def _owners(self) -> Lines:
        """Each record belongs to one."""
        owners = Counter(self.by_slot.keys())
        for chain in self.chains.values():
            owners.update(chain)
        owners.update(self.retired)
        owners.update(self.trashed.values())
        first = self.layouts.enum("slot")["SLOT_FIRST"]
        lost = [slot for slot in range(first, self.settings["next_record"]) if not owners[slot]]
        if lost:
            yield f"{len(lost)} records belong to nobody: {lost[:10]}"
        for slot, number in owners.items():
            if number > 1:
                yield f"the record in slot {slot} has {number} owners"

    def _filter_bits(self) -> Lines:
        for key in self.keys.values():
            if not key["fwmark"] and not self.memory.filter.may_be_virtual(key["address"]):
                yield f"the filter lacks the virtual address {key['address'].hex()}"

    def _tables(self) -> Lines:
        """Lookup tables are of services with such a scheduler and name only its destinations."""
        schedulers = self.layouts.enum("scheduler")
        for name, owners in (("hash_buckets", ("SCHED_SH", "SCHED_DH")), ("maglevs", ("SCHED_MH",))):
            numbers = {schedulers[owner] for owner in owners}
            found = {SLOT.unpack(key)[0]: value for key, value in self.memory.plane.map(name).items(FEW)}
            for slot, value in found.items():
                if slot not in self.by_slot:
                    yield f"{name} has a table of slot {slot}, which is no service"
                    continue
                strangers = set(memoryview(value).cast("I")) - {0, *self.chains[slot]}
                if strangers and self._service(slot)["scheduler"] in numbers:
                    yield f"{name} of the service in slot {slot} names slots {sorted(strangers)[:5]}"
            for slot in self.by_slot.keys() - found.keys():
                if self._service(slot)["scheduler"] in numbers and self.chains[slot]:
                    yield f"the service in slot {slot} has no {name}"

    def _pools(self) -> Lines:
        used = self.settings["next_local"]
        array = MappedArray(self.memory.plane.map("local_addresses"), writable=False)
        for index in range(used):
            if not any(array.memory[index * ADDRESS : (index + 1) * ADDRESS]):
                yield f"local address {index} of {used} is empty"
        for member in self._members_and_trash():
            record = self._destination(member)
            if record["local_first"] + record["locals"] > used:
                end = record["local_first"] + record["locals"]
                yield f"destination in slot {member} uses local addresses up to {end}, and there are {used}"

    def _members_and_trash(self) -> Iterator[int]:
        for chain in self.chains.values():
            yield from filter(self._is_slot, chain)
        yield from filter(self._is_slot, self.trashed.values())

    def _generation(self) -> Lines:
        if "generation" in self.settings.fields and self.settings["generation"] & 1:
            yield f"the table's generation is odd ({self.settings['generation']}), and nobody is at work"

    # --- connections

    @cached_property
    def all_entries(self) -> dict[int, Entry]:
        """Every place of the connection table that is not free, by its number."""
        record = Record(self.layouts["connection"])
        array = MappedArray(self.memory.plane.map("connections"), writable=False)
        due = MappedArray(self.memory.plane.map("due"), writable=False).memory.cast("Q")
        found = {}
        for place in range(len(due)):
            if not due[place] and not any(array.memory[place * array.stride : (place + 1) * array.stride].cast("Q")):
                continue
            fields = record.struct.iter_unpack(array.memory[place * array.stride : (place + 1) * array.stride])
            found |= {place * WAYS + way: Entry._make(entry) for way, entry in enumerate(fields) if entry[0]}
        return found

    @cached_property
    def entries(self) -> dict[int, Entry]:
        """Those that are connections or templates."""
        return {number: entry for number, entry in self.all_entries.items() if entry.tag >= FIRST_TAG}

    def _entries(self) -> Lines:
        busy = [number for number, entry in self.all_entries.items() if entry.tag == BUSY]
        if busy:
            yield f"{len(busy)} entries are claimed and nobody fills them: {busy[:5]}"
        now = self.memory.control.now()
        live = [entry for entry in self.entries.values() if _signed(entry.expires - now) > 0]
        flows = Counter((e.client, e.cport, e.virtual, e.vport, e.protocol) for e in live if not e.flags & TEMPLATE)
        several = [(flow, number) for flow, number in flows.items() if number > 1]
        if several:
            yield f"{len(several)} flows have several entries, up to {max(number for _, number in several)}"
        templates = Counter(
            (e.client, e.virtual, e.vport, e.protocol) for e in live if e.flags & TEMPLATE and not e.flags & INVALID
        )
        if any(number > 1 for number in templates.values()):
            yield f"{sum(number > 1 for number in templates.values())} clients have several templates"

    def _templates(self) -> Lines:
        controlled = Counter(e.control - 1 for e in self.entries.values() if not e.flags & TEMPLATE and e.control)
        for number in controlled:
            if number not in self.entries or not self.entries[number].flags & TEMPLATE:
                yield f"{controlled[number]} connections have the template {number}, which is none"
        for number, entry in self.entries.items():
            if entry.flags & TEMPLATE and entry.control != controlled[number]:
                has = _signed(entry.control)
                yield f"template {number} says that it has {has} connections, not {controlled[number]}"

    def _counts(self) -> Lines:
        """Active, inactive and persistent connections of each destination, beside a recount of the table."""
        wanted: dict[int, Counter[str]] = {}
        for entry in self.entries.values():
            kind = "persistent" if entry.flags & TEMPLATE else "inactive" if entry.flags & INACTIVE else "active"
            wanted.setdefault(entry.destination, Counter())[kind] += 1
        known = set(self._members_and_trash())
        for slot in wanted.keys() - known:
            yield f"{wanted[slot].total()} connections have the destination in slot {slot}, which is none"
        for slot in known:
            record, own = self._destination(slot), wanted.get(slot, Counter())
            for kind in ("active", "inactive", "persistent"):
                if record[kind] != own[kind]:
                    name = self.methods.get(record["method"], "?")
                    yield f"destination in slot {slot} ({name}): {kind} is {record[kind]}, and there are {own[kind]}"

    def _overflows(self) -> Lines:
        """How many entries had to go on from a set: the sum only, for the hash is the data plane's own."""
        at = self.layouts["set_summary"].offset("overflow") if "set_summary" in self.layouts else 4
        due = MappedArray(self.memory.plane.map("due"), writable=False)
        found = sum(_signed(SLOT.unpack_from(due.memory, number * due.stride + at)[0]) for number in range(len(due)))
        wanted = sum(entry.flags // AWAY for entry in self.entries.values())
        if found != wanted:
            yield f"sets say that {found} entries went on from them, and {wanted} did"

    def _due(self) -> Lines:
        """The sweep comes by each entry in time."""
        due = MappedArray(self.memory.plane.map("due"), writable=False)
        late = 0
        for number, entry in self.entries.items():
            (at,) = SLOT.unpack_from(due.memory, number // WAYS * due.stride)
            late += not at or _signed(entry.expires - at) < 0
        if late:
            yield f"the sweep will come too late to {late} entries"

    @cached_property
    def replies(self) -> dict[bytes, bytes]:
        """The map of replies: it is large, and takes some time to walk."""
        return dict(self.memory.plane.map("replies").items())

    def _replies(self) -> Lines:
        """Whom the map of replies names has such replies."""
        record = Record(self.layouts["reply_key"]) if "reply_key" in self.layouts else None
        wrong = 0
        for key, value in self.replies.items():
            entry = self.entries.get(SLOT.unpack(value)[0] - 1)
            sport = (
                record.unpack_from(key, 0)[record.place["sport"]] if record else int.from_bytes(key[32:34], "little")
            )
            wrong += entry is None or entry.rport != sport
        if wrong:
            yield f"{wrong} replies lead to an entry that is not theirs"
        number = self.layouts.enum("method")["METHOD_FULLNAT"]
        full = sum(1 for e in self.entries.values() if e.method == number and not e.flags & TEMPLATE)
        if len(self.replies) < full:
            yield f"{full} connections of FULLNAT have but {len(self.replies)} replies"


def _signed(number: int) -> int:
    return (number & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
