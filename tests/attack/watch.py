# SPDX-License-Identifier: GPL-2.0-or-later
"""What no packet may change: every byte of the records, the settings, the filter and the pools, but for a few
fields."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence

from pylvs.dataplane.btf import Layout
from pylvs.dataplane.mapped import MappedArray
from pylvs.table.memory import Memory
from tests.attack.native import Watch

# Fields of a record that belong to the data plane. All others are the command's.
OF_SERVICE = ("cursor",)
OF_DESTINATION = (
    "active", "inactive", "persistent", "checked", "ifindex", "neighbour", "own", "mtu", "gateway", "next_port",
)  # fmt: skip
OF_TUNNEL = ("source",)  # the route's, which the data plane follows
OF_SETTINGS = ("table_pressed", "drop_countdown")
WHOLE = {"filter": 8192, "local_addresses": 1024, "mark_rules": 4096}  # nothing of their first bytes
OVERLOAD = 2  # the one flag of a destination that is the data plane's


class Guarded:
    """One memory, the mask of what may not change in it, and a way to name an offset."""

    def __init__(self, name: str, memory: memoryview, size: int) -> None:
        self.name = name
        self.size = size // 8 * 8
        self._now = (ctypes.c_char * self.size).from_buffer(memory)
        self._before = ctypes.create_string_buffer(self.size)
        self._mask = ctypes.create_string_buffer(b"\xff" * self.size, self.size)

    def allow(self, start: int, size: int) -> None:
        """Packets may change these bytes."""
        ctypes.memset(ctypes.addressof(self._mask) + start, 0, size)

    def allow_bits(self, at: int, bits: int) -> None:
        """Packets may change these bits of the byte."""
        self._mask[at] = ~bits & 0xFF  # type: ignore[call-overload]

    def take(self) -> Watch:
        """As it is now is how it has to stay."""
        ctypes.memmove(self._before, self._now, self.size)
        first = (ctypes.addressof(each) for each in (self._now, self._before, self._mask))
        return Watch(*first, self.size // 8)

    def release(self) -> None:
        """Let go of the memory."""
        del self._now


class Guard:
    """The memory of one table. Make it anew after each command: which slot is what is looked up once."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._destinations = set(_destinations(memory))
        self.services = {slot for _, slot in memory.service_slots()}
        self.parts = [self._records(), self._settings(), *(self._whole(*each) for each in WHOLE.items())]

    def watches(self) -> Sequence[Watch]:
        """For native.Runner: as everything is now is how it has to stay."""
        return [part.take() for part in self.parts]

    def name(self, watch: int, offset: int) -> str:
        """What is at the offset of this part, as 'service in slot 4: byte 2 of timeout'."""
        part = self.parts[watch]
        if part.name == "records":
            slot, at = divmod(offset, self._memory.records.record_bytes)
            kind = (
                "service" if slot in self.services else "destination" if slot in self._destinations else "unused record"
            )
            record = self._memory.service if kind == "service" else self._memory.destination
            return f"{kind} in slot {slot}: {_field(record.offset, at)}"
        if part.name == "settings":
            return f"settings: {_field({n: f.offset for n, f in self._memory.settings.fields.items()}, offset)}"
        return f"{part.name}: byte {offset}"

    def _records(self) -> Guarded:
        records = self._memory.records
        memory, _ = records.at(0)
        slots = self._memory.settings["next_record"]
        part = Guarded("records", memory, slots * records.record_bytes)
        for slot in range(slots):
            base = slot * records.record_bytes
            part.allow(base + records.record_size, records.record_bytes - records.record_size)
            if slot in self.services:
                _allow(part, base, self._memory.layouts["service"], OF_SERVICE)
            if slot in self._destinations:
                self._allow_destination(part, slot, base)
        return part

    def _allow_destination(self, part: Guarded, slot: int, base: int) -> None:
        layout = self._memory.layouts["destination"]
        _allow(part, base, layout, OF_DESTINATION)
        part.allow_bits(base + layout.offset("flags"), OVERLOAD)
        method = self._memory.get(slot, self._memory.destination)[self._memory.destination.place["method"]]
        if method == self._memory.layouts.enum("method")["METHOD_TUN"]:
            _allow(part, base, layout, OF_TUNNEL)

    def _settings(self) -> Guarded:
        settings = self._memory.settings
        part = Guarded("settings", settings.memory, self._memory.layouts["settings"].size)
        _allow(part, 0, self._memory.layouts["settings"], OF_SETTINGS)
        return part

    def _whole(self, name: str, size: int) -> Guarded:
        array = MappedArray(self._memory.plane.map(name))
        return Guarded(name, array.memory, min(size, len(array.memory)))


def _destinations(memory: Memory) -> Iterable[int]:
    """Slots of all destinations: those in a list, those in the trash, and those just retired, whose packets may be on
    their way still."""
    for _, slot in memory.service_slots():
        yield from memory.chain(slot)
    for _, value in memory.plane.map("trash").items():
        yield int.from_bytes(value[:4], "little")
    for slot, was_service in retired(memory):
        if not was_service:
            yield slot


def retired(memory: Memory) -> Iterable[tuple[int, bool]]:
    """Slots of the records that wait to be used again, the oldest first, and whether each was a service."""
    layout, most = memory.layouts["retired"], memory.settings["next_record"]
    slot = memory.settings["first_retired"]
    while slot and most:
        buffer, base = memory.records.at(slot)
        yield slot, bool(layout["was_service"].unpack_from(buffer, base))
        slot, most = layout["next"].unpack_from(buffer, base), most - 1


def _allow(part: Guarded, base: int, layout: Layout, names: Iterable[str]) -> None:
    for name in names:
        if name in layout.fields:
            field = layout.fields[name]
            part.allow(base + field.offset, field.size)


def _field(offsets: dict[str, int], at: int) -> str:
    name, start = max(((n, o) for n, o in offsets.items() if o <= at), key=lambda each: each[1])
    return f"byte {at - start} of {name}"
