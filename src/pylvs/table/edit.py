# SPDX-License-Identifier: GPL-2.0-or-later
"""One change of the table, or several, by whoever holds the lock."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from pylvs.dataplane.instance import Instance
from pylvs.host.locality import Locality
from pylvs.model import ServiceKey
from pylvs.table.memory import Memory
from pylvs.table.trash import Trash


class Edit:
    """The table, and what its editor may remember as long as the lock is held and no longer.

    The settings' `generation` is odd while a change is under way, and two more after it. So a reader that sees an even
    number, and the same number later, knows by one load that nothing has changed in between, even if an editor was
    killed.
    """

    def __init__(self, memory: Memory, instance: Instance) -> None:
        self.memory = memory
        self.instance = instance
        self.trash = Trash(memory)
        self._last: tuple[ServiceKey, bytes, int] | None = None

    @cached_property
    def locality(self) -> Locality:
        """The namespace's own addresses, as they are now."""
        return Locality()

    @cached_property
    def tick(self) -> int:
        """The data plane's clock when it was first asked for under this lock."""
        return self.memory.control.now()

    def begin(self) -> None:
        """A change begins: the generation is odd from now on, and another one than before."""
        settings = self.memory.settings
        generation = settings["generation"]
        if not generation & 1:
            settings["generation"] = generation + 1 & 0xFFFFFFFF

    def end(self) -> None:
        """All changes are made."""
        settings = self.memory.settings
        generation = settings["generation"]
        if generation & 1:
            settings["generation"] = generation + 1 & 0xFFFFFFFF

    def packed(self, key: ServiceKey) -> bytes:
        """The key of the service that `slot_of` found last, packed; or that of any other."""
        if self._last is not None and self._last[0] is key:
            return self._last[1]
        return self.memory.pack_key(key)

    def slot_of(self, key: ServiceKey) -> int:
        """Slot of a service, remembered for the next destination of the same service; NoSuchService."""
        if self._last is not None and self._last[0] is key:
            return self._last[2]
        slot = self.memory.slot_of(key)
        self._last = key, self.memory.pack_key(key), slot
        return slot

    def forget(self) -> None:
        """Services have been deleted: a slot that is remembered may not be theirs any more."""
        self._last = None

    def allocate(self, renew: Callable[[int], None]) -> int:
        """A slot with a zero record: of one used before, if that is long enough ago, with its counters renewed."""
        memory = self.memory
        slot = 0
        if memory.settings["first_retired"] or memory.settings["trashed"]:
            slot = self.trash.reusable(self.tick)
        if not slot:
            return memory.records.allocate()
        memory.records.clear(slot)
        renew(slot)
        return slot
