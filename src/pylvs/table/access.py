# SPDX-License-Identifier: GPL-2.0-or-later
"""Which data plane is loaded now, and the lock under which its table is changed.

Another process may unload the data plane or load a new one at any moment. For reads the inode of its directory of pins
is compared each time; under the lock nobody else can, and it is compared when the lock is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.instance import Instance
from pylvs.errors import DataPlaneError, NoSuchService, PylvsError
from pylvs.host import netns
from pylvs.model import ServiceKey
from pylvs.table.edit import Edit
from pylvs.table.memory import Memory
from pylvs.table.settings import Settings

T = TypeVar("T")
TRIES = 3  # of a read beside other commands, before it waits for the lock


class Access:
    """The data plane of the network namespace in which this object was made."""

    def __init__(self) -> None:
        self.instance = Instance.here()
        self._memory: Memory | None = None
        self._is_editor = False  # from when this object took the lock until it lets go of it
        self._edit: Edit | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of memory; nothing has to be closed for the table to work on."""
        self._memory = None

    @property
    def memory(self) -> Memory:
        """The table of the data plane that is loaded now; NotThere if none is."""
        plane = self.instance.current
        if self._memory is None or self._memory.plane is not plane:
            self._memory = Memory(plane)
        return self._memory

    @property
    def loaded(self) -> bool:
        """Whether a data plane is loaded; if not, the table is empty."""
        return self.instance.loaded

    @property
    def settings(self) -> Settings:
        """The settings of the data plane that is loaded now; NotThere."""
        return self.memory.settings

    @property
    def layouts(self) -> Layouts:
        """Structs and enums of the data plane that is loaded now; NotThere."""
        return self.memory.layouts

    @property
    def generation(self) -> tuple[int, int]:
        """Which data plane is loaded, and how often its table was changed: while both stay as they are, and the second
        is even, so is the table. (0, 0): nothing is loaded."""
        if not self.loaded:
            return 0, 0
        return self.memory.plane.inode, self.settings["generation"]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other command out while several changes are made. Each change alone does so by itself."""
        if self._is_editor:
            yield
            return
        if netns.cookie() != self.instance.cookie:
            raise DataPlaneError("this Director is another network namespace's; make one where its table is changed")
        with self.instance.locked():
            self._is_editor = True
            try:
                yield
            except PylvsError as error:
                self._end(finished=not isinstance(error, DataPlaneError))
                raise
            except BaseException:
                self._end(finished=False)
                raise
            self._end()

    @contextmanager
    def changing(self) -> Iterator[Edit]:
        """The lock, and a table to change: loaded if this is the first change."""
        with self.locked():
            if not self.loaded:
                from pylvs.table.load import create

                create(self.instance)
            yield self._begin()

    @contextmanager
    def _changing(self, key: ServiceKey) -> Iterator[Edit]:
        """The lock, and the table in which this service has to be; NoSuchService if there is no table."""
        with self.locked():
            if not self.loaded:
                raise NoSuchService(f"no such service: {key}")
            yield self._begin()

    def _end(self, finished: bool = True) -> None:
        """The lock goes. Not `finished`: a change may have been cut off in its middle, and the next editor looks."""
        edit, self._edit = self._edit, None
        self._is_editor = False
        if edit is not None and finished:
            edit.end()

    def _begin(self) -> Edit:
        memory = self.memory
        if self._edit is None or self._edit.memory is not memory:
            cut_off = bool(self.settings["generation"] & 1)  # by whoever held the lock before
            self._edit = Edit(memory, self.instance)
            self._edit.begin()
            if cut_off:
                self._repair(self._edit)
        self._edit.begin()
        return self._edit

    def _repair(self, edit: Edit) -> None:
        from pylvs.dataplane.attach import Attacher
        from pylvs.table.repair import repair

        repair(edit)
        if self.settings["services"]:
            Attacher(self.instance).attach_all()

    def _consistent(self, read: Callable[[Memory], T]) -> T:
        """What `read` sees of a table that is not changed meanwhile.

        The generation is the same and even before and after; else a change is under way, and the lock is waited for. If
        it is odd then too, an editor was killed, and the table is repaired first.
        """
        memory = self.memory
        if self._is_editor:
            return read(memory)
        for _ in range(TRIES):
            before = memory.settings["generation"]
            if before & 1:
                break
            result = read(memory)
            if memory.settings["generation"] == before:
                return result
        with self.locked():
            memory = self.memory
            if memory.settings["generation"] & 1:
                self._begin()
            return read(memory)
