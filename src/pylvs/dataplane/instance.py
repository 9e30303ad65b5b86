# SPDX-License-Identifier: GPL-2.0-or-later
"""One data plane for each network namespace: its pins, its lock, and the clearing away of those left behind.

    <bpffs>/pylvs/<cookie>/            locked (flock) by whoever changes the table or the attachments
                           <note>      small facts, such as the chosen mode, as the targets of symbolic links
                           live/maps, live/progs, live/links
                           half/       the same while it is being made or taken away, a rename before and after

bpffs keeps dots in names for itself: interfaces appear by number, sections of variables without their dot.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pylvs.dataplane import bpffs
from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.kernel import Descriptor, Link, Map, Program, SyscallProgram
from pylvs.errors import DataPlaneError, NotPermitted
from pylvs.host import netns

_Pinned = TypeVar("_Pinned", bound=Descriptor)

KINDS = ("links", "progs", "maps")  # in the order of removal: first of all no packet comes any more


class NotThere(DataPlaneError):
    """No data plane is loaded in this network namespace."""


class Instance:
    """The data plane of the network namespace with this cookie, loaded or not."""

    def __init__(self, cookie: int, folder: str) -> None:
        self.cookie = cookie
        self.folder = folder
        self._stage = "live"
        self._lock: int | None = None
        self._maps: dict[str, Map] = {}

    @classmethod
    def here(cls) -> Instance:
        """The instance of the calling thread's network namespace; nothing is loaded by this."""
        if os.geteuid() != 0 and not os.access(f"/{bpffs.MOUNT_POINT}", os.W_OK):
            raise NotPermitted("this needs root, or CAP_SYS_ADMIN, CAP_NET_ADMIN and a bpffs of your own (PYLVS_BPFFS)")
        cookie = netns.cookie()
        return cls(cookie, f"{bpffs.root()}/pylvs/{cookie}")

    @classmethod
    def open(cls) -> Instance:
        """The loaded instance of this network namespace; NotThere if nothing is loaded."""
        instance = cls.here()
        if not instance.loaded:
            raise NotThere("no data plane is loaded in this network namespace; it comes with the first: pylvsadm -A …")
        return instance

    @property
    def loaded(self) -> bool:
        if self._lock is not None and self._maps:  # nobody else can have removed it
            return True
        return os.path.isdir(f"{self.folder}/live")

    @property
    def is_locked(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the instance's lock, waiting for it; may be nested. The kernel lets go of a dead holder's."""
        if self._lock is not None:
            yield
            return
        self._lock = self._take()
        try:
            yield
        finally:
            self._give_back()

    def _take(self, wait: bool = True) -> int:
        """Lock the folder; again if it was removed while we waited."""
        while True:
            _make_folder(os.path.dirname(self.folder))
            _make_folder(self.folder)
            try:
                fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:  # another let go of it, empty, since the line before
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if os.fstat(fd).st_ino == _inode(self.folder):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _give_back(self) -> None:
        fd, self._lock = self._lock, None
        try:
            os.rmdir(self.folder)  # only if empty
        except OSError:
            pass
        if fd is not None:
            fcntl.flock(fd, fcntl.LOCK_UN)  # closing would not do while a child of fork has the descriptor too
            os.close(fd)

    @contextmanager
    def creating(
        self, object_path: Path | str, sizes: Mapping[str, int] | None = None,
        constants: Mapping[str, int] | None = None, inner_sizes: Mapping[str, int] | None = None,
    ) -> Iterator[Instance]:  # fmt: skip
        """Load the object with these map sizes and constants, and fill its maps in the `with` block. `sizes` are in
        entries, `inner_sizes` in bytes of a value of the maps that are in a map.

        The instance becomes live, all at once, at the end of the block; after an exception or a kill
        nothing of it stays. Instances of namespaces that are gone are cleared away first.
        """
        with self.locked():
            if self.loaded:
                raise DataPlaneError("a data plane is loaded in this network namespace already")
            sweep(os.path.dirname(self.folder), self.cookie)
            _remove(f"{self.folder}/half")
            self._stage = "half"
            try:
                self._load(Path(object_path), sizes or {}, constants or {}, inner_sizes or {})
                yield self
                os.rename(f"{self.folder}/half", f"{self.folder}/live")
            except BaseException:
                self._forget()
                _remove(f"{self.folder}/half")
                raise
            finally:
                self._stage = "live"

    def _load(
        self, object_path: Path, sizes: Mapping[str, int], constants: Mapping[str, int], inner: Mapping[str, int]
    ) -> None:
        from pylvs.dataplane.libbpf import ObjectFile  # the library is not needed but here

        with ObjectFile(object_path) as file:
            for name, entries in sizes.items():
                file.set_max_entries(name, entries)
            for name, size in inner.items():
                file.set_inner_value_size(name, size)
            if constants:
                file.set_variables(constants)
            file.load()
            self._pin(file.maps(), file.programs())

    def _pin(self, maps: Mapping[str, Map], programs: Mapping[str, Program]) -> None:
        for folder in ("", *KINDS):
            _make_folder(f"{self.folder}/half/{folder}")
        for name, map in maps.items():
            map.pin(self.pin_path("maps", name))
        for name, program in programs.items():
            program.pin(self.pin_path("progs", name))

    def pin_path(self, kind: str, name: str) -> str:
        """Where the map, program or link (`kind` of KINDS) is pinned."""
        return f"{self.folder}/{self._stage}/{kind}/{name.rpartition('.')[2]}"

    def map(self, name: str) -> Map:
        """A pinned map, opened once and kept."""
        if name not in self._maps:
            self._maps[name] = self._open(Map, "maps", name)
        return self._maps[name]

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
        folder = f"{self.folder}/{self._stage}/links"
        found = {}
        for name in _names(folder):
            with suppress(FileNotFoundError):  # detached meanwhile
                found[name] = Link.pinned(f"{folder}/{name}")
        return found

    def _open(self, type: type[_Pinned], kind: str, name: str) -> _Pinned:
        try:
            return type.pinned(self.pin_path(kind, name))
        except FileNotFoundError:
            if not self.loaded and self._stage == "live":
                raise NotThere("the data plane of this network namespace was removed meanwhile") from None
            raise DataPlaneError(f"the loaded data plane has no {name} in its {kind}") from None

    @cached_property
    def layouts(self) -> Layouts:
        """Structs and enums of the object that is loaded, as the kernel keeps them."""
        folder = f"{self.folder}/{self._stage}/progs"
        for name in _names(folder):
            with self.program(name) as program:
                return Layouts.of_program(program)
        raise DataPlaneError("the data plane has no program")

    def note(self, name: str) -> str | None:
        """A small fact remembered by `remember`, or None."""
        try:
            return os.readlink(f"{self.folder}/{name}")
        except OSError:
            return None

    def notes(self) -> dict[str, str]:
        """Every small fact."""
        return {name: value for name in _names(self.folder) if (value := self.note(name)) is not None}

    def remember(self, name: str, value: str | None) -> None:
        """Keep a small fact with the instance, loaded or not; None forgets it. `name` has no dot in it."""
        path = f"{self.folder}/{name}"
        with self.locked():
            if value is None:
                _unlink(path)
                return
            _unlink(path + "-new")
            os.symlink(value, path + "-new")
            os.rename(path + "-new", path)

    def remove(self) -> None:
        """Take the data plane away with its table, connections and notes: it is not loaded any more from the first
        moment, and what a kill leaves of it the next command clears away."""
        with self.locked():
            self._forget()
            _remove(f"{self.folder}/half")
            with suppress(FileNotFoundError):
                os.rename(f"{self.folder}/live", f"{self.folder}/half")
            _empty(self.folder)  # the folder itself is the lock: it goes when we let go of it

    def _forget(self) -> None:
        for map in self._maps.values():
            map.close()
        self._maps.clear()
        self.__dict__.pop("layouts", None)


def sweep(folder: str, own: int) -> list[int]:
    """Remove the instances in `folder` whose namespaces are gone, but for `own`; answer their cookies."""
    doubtful = [int(name) for name in _names(folder) if name.isdigit() and int(name) != own]
    doubtful = [cookie for cookie in doubtful if not _has_live_link(f"{folder}/{cookie}/live/links")]
    if not doubtful:
        return []
    alive = netns.live_cookies()
    gone = [cookie for cookie in doubtful if alive is not None and cookie not in alive]
    return [cookie for cookie in gone if _remove_unlocked(Instance(cookie, f"{folder}/{cookie}"))]


def _has_live_link(folder: str) -> bool:
    """Whether a link in `folder` still has its interface, so that its network namespace lives."""
    for name in _names(folder):
        try:
            with Link.pinned(f"{folder}/{name}") as link:
                if link.info.ifindex:
                    return True
        except (OSError, DataPlaneError):
            continue
    return False


def _remove_unlocked(instance: Instance) -> bool:
    """Remove an instance unless somebody is at work on it."""
    try:
        instance._lock = instance._take(wait=False)
    except OSError:
        return False
    try:
        instance.remove()
    finally:
        instance._give_back()
    return True


def _remove(folder: str) -> None:
    """Remove a folder of pins, if it is there."""
    if os.path.isdir(folder):
        _empty(folder)
        os.rmdir(folder)


def _empty(folder: str) -> None:
    """Remove what is in a folder of pins: links first, then programs, then maps, then what else there is."""
    for name in sorted(_names(folder), key=lambda name: KINDS.index(name) if name in KINDS else -1):
        path = f"{folder}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            _remove(path)
        else:
            _unlink(path)


def _names(folder: str) -> list[str]:
    """What is in a folder, in order; nothing if another removed it, at whatever moment."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except PermissionError:
        raise NotPermitted(f"cannot make {path}: run it as root") from None


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None
