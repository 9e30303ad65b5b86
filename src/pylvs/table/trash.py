# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of deleted destinations. One whose connections or counts are wanted again if it comes back waits in the
trash, by name, as in IPVS. The record of any other is used again when packets that are on their way are through.

The caller holds the instance's lock.
"""

from __future__ import annotations

from collections.abc import Iterable

from pylvs.table.memory import Memory
from pylvs.table.records import Record

PATIENCE = 1  # seconds: by then a packet that was on its way is through
TRIES = 8


class Trash:
    """Deleted destinations of one data plane."""

    def __init__(self, memory: Memory) -> None:
        self._map = memory.plane.map("trash")
        self._records, self._settings = memory.records, memory.settings
        self._key = Record(memory.layouts["trash_key"])
        self._value = Record(memory.layouts["trashed"])
        self._available = memory.constants["DEST_AVAILABLE"]
        self._deleted = memory.layouts.enum("slot")["SLOT_DELETED"]
        self._record = memory.destination
        self._place = self._record.place
        self._word = self._record.word
        self._looked_through: int | None = None  # the tick when that was

    def keep(self, key: bytes, slots: Iterable[int], *, available: bool, all_of_them: bool) -> set[int]:
        """Enter destinations by name that are about to leave their list, before they do: those with connections, or
        `all_of_them`. `key` is their service's (`struct service_key`); `available`: their connections go on. The slots
        that were entered.

        A kill between this and the leaving leaves an entry too many, which the repair takes out; the other order would
        leave connections whose destination nobody knows.
        """
        place = self._place
        kept = set()
        for slot in slots:
            record = self._get(slot)
            if all_of_them or self._has_connections(record):
                name = self._key.pack(service=key, address=record[place["address"]], port=record[place["port"]])
                self._map.update(name, self._value.pack(slot=slot, available=available))
                self._settings["trashed"] += 1
                kept.add(slot)
        return kept

    def throw(self, slots: Iterable[int], kept: set[int], now: int, *, available: bool, orphaned: bool) -> None:
        """Destinations have left their list at the tick `now`; `kept` are in the trash by name, the others are used
        again. `available`: their connections go on, which is no deletion as IPVS knows it; `orphaned`: the service is
        deleted too."""
        word = self._word
        for slot in slots:
            words, base = self._records.words_at(slot)
            if not available:
                words[base + word["flags"]] &= ~self._available & 0xFFFFFFFF
            if orphaned:
                words[base + word["service"]] = self._deleted
            if slot not in kept:
                self._records.retire(slot, now)

    def orphan(self, services: set[int]) -> None:
        """Services are deleted, and their slots will be other services': what was thrown away before has none."""
        for _, value in self._map.items() if self._settings["trashed"] else ():
            words, base = self._records.words_at(self._slot(value))
            if words[base + self._word["service"]] in services:
                words[base + self._word["service"]] = self._deleted

    def recount(self, linked: set[int], services: set[int]) -> set[int]:
        """After a kill: those that are in a list again are in the trash no more; those of deleted services have none.
        The slots that stay."""
        kept = set()
        for key, value in list(self._map.items()):
            slot = self._slot(value)
            if slot in linked:
                self._map.delete(key)
                continue
            kept.add(slot)
            words, base = self._records.words_at(slot)
            if not self._value.unpack_from(value, 0)[self._value.place["available"]]:
                words[base + self._word["flags"]] &= ~self._available & 0xFFFFFFFF
            if words[base + self._word["service"]] not in services:
                words[base + self._word["service"]] = self._deleted
        self._settings["trashed"] = len(kept)
        return kept

    def take_back(self, key: bytes, address: bytes, port: int, service: int) -> int:
        """Slot of the deleted destination of this name, 0 if there is none. What it counted stays its own if its
        service is still the one in the slot `service`."""
        if not self._settings["trashed"]:
            return 0
        raw = self._map.pop(self._key.pack(service=key, address=address, port=port))
        if raw is None:
            return 0
        slot = self._slot(raw)
        self._settings["trashed"] -= 1
        if self._get(slot)[self._place["service"]] != service:
            self._records.zero(slot)
        return slot

    def reusable(self, now: int) -> int:
        """Slot of a record that can be used again, whatever is in it; 0 if there is none."""
        before = now - PATIENCE * self._settings["second"] & 0xFFFFFFFF
        for _ in range(TRIES):
            slot, was_service = self._records.oldest(before)
            if not slot:
                self._look_through(now, before)
                return 0
            self._records.take_oldest()
            if was_service or not self._has_connections(self._get(slot)):
                return slot
            self._records.retire(slot, now)  # a packet was on its way, and has made a connection
        return 0

    def _look_through(self, now: int, before: int) -> None:
        """Retire those in the trash whose connections are all gone, if nobody has looked since the tick `before`."""
        if not self._settings["trashed"]:
            return
        if self._looked_through is not None and (before - self._looked_through) & 0x80000000:
            return
        self._looked_through = now
        for key, value in list(self._map.items()):
            slot = self._slot(value)
            if not self._has_connections(self._get(slot)):
                self._map.delete(key)
                self._settings["trashed"] -= 1
                self._records.retire(slot, now)

    def _slot(self, value: bytes) -> int:
        return int(self._value.coder["slot"].unpack_from(value, self._value.offset["slot"])[0])

    def _get(self, slot: int) -> tuple[int, ...]:
        return self._record.unpack_from(*self._records.at(slot))

    def _has_connections(self, record: tuple[int, ...]) -> bool:
        place = self._place
        return bool(record[place["active"]] or record[place["inactive"]] or record[place["persistent"]])
