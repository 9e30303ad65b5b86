# SPDX-License-Identifier: GPL-2.0-or-later
"""One data plane as it was loaded: its maps, programs and links, found by their pins.

    <directory>/maps/<map>, <directory>/progs/<program>, <directory>/links/<interface number>-<hook>

bpffs keeps dots in names for itself: interfaces appear by number, sections of variables without their dot.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property
from typing import TypeVar

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.kernel import Descriptor, Link, Map, Program, SyscallProgram
from pylvs.errors import DataPlaneError

_Pinned = TypeVar("_Pinned", bound=Descriptor)


class NotThere(DataPlaneError):
    """No data plane is loaded in this network namespace."""


def inode_of(path: str) -> int | None:
    """The inode number of a file, None if there is no such file."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def names_in(directory: str) -> list[str]:
    """The names in a directory, sorted; none if another process removed it, at whatever moment."""
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


class DataPlane:
    """The maps, programs and links of one load.

    The directory of the pins is held open. So all that is opened belongs to one load: after another process has removed
    it, `map` and `program` raise NotThere, and never find what was loaded in its place.
    """

    def __init__(self, directory: str) -> None:
        """Open the directory of pins; FileNotFoundError if there is none."""
        self._descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.inode = os.fstat(self._descriptor).st_ino
        self._maps: dict[str, Map] = {}

    def close(self) -> None:
        """Close the directory and every map."""
        for map in self._maps.values():
            map.close()
        self._maps.clear()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()

    @property
    def _directory(self) -> str:
        """The path of the open directory: it follows a rename, and leads nowhere once the directory is removed."""
        return f"/proc/self/fd/{self._descriptor}"

    def pin_path(self, kind: str, name: str) -> str:
        """Where a map, program or link (`kind`: maps, progs, links) is pinned."""
        return f"{self._directory}/{kind}/{name.rpartition('.')[2]}"

    def map(self, name: str) -> Map:
        """A pinned map, opened once and kept."""
        if name not in self._maps:
            self._maps[name] = self._open(Map, "maps", name)
        return self._maps[name]

    def map_names(self) -> list[str]:
        """The names of all pinned maps."""
        return names_in(f"{self._directory}/maps")

    def program(self, name: str) -> Program:
        """A pinned program, newly opened; the caller closes it."""
        return self._open(Program, "progs", name)

    def syscall_program(self, name: str, context_size: int) -> SyscallProgram:
        """A pinned SEC("syscall") program with a context of `context_size` bytes, newly opened."""
        program = self._open(SyscallProgram, "progs", name)
        program.resize(context_size)
        return program

    def links(self) -> dict[str, Link]:
        """The pinned links by name, newly opened; the caller closes them."""
        found = {}
        for name in names_in(f"{self._directory}/links"):
            with suppress(FileNotFoundError):  # detached meanwhile
                found[name] = Link.pinned(self.pin_path("links", name))
        return found

    def _open(self, type: type[_Pinned], kind: str, name: str) -> _Pinned:
        try:
            return type.pinned(self.pin_path(kind, name))
        except FileNotFoundError:
            if not os.readlink(self._directory).endswith("/live"):
                raise NotThere("the data plane of this network namespace was removed meanwhile") from None
            raise DataPlaneError(f"the loaded data plane has no {name} in its {kind}") from None

    @cached_property
    def layouts(self) -> Layouts:
        """Structs and enums of the object that was loaded, as the kernel keeps them."""
        for name in names_in(f"{self._directory}/progs"):
            with self.program(name) as program:
                return Layouts(program.btf())
        raise NotThere("the data plane of this network namespace was removed meanwhile")
