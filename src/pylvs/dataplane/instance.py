# SPDX-License-Identifier: GPL-2.0-or-later
"""One data plane for each network namespace: its pins, its lock, and the clearing away of those left behind.

<bpffs>/pylvs/<cookie>/            locked (flock) by whoever changes the table or the attachments
                       <note>      small facts, such as the chosen mode, as the targets of symbolic links
                       live/       the pins of the data plane that is loaded (dataplane/loaded.py)
                       half/       pins of one that is being made or removed: a rename leads there and from there
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pylvs.dataplane import bpffs
from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.kernel import Link, Map, Program, SyscallProgram
from pylvs.dataplane.loaded import DataPlane, NotThere, inode_of, names_in
from pylvs.errors import DataPlaneError, NotPermitted
from pylvs.host import netns

KINDS = ("links", "progs", "maps")  # in the order of removal: first of all no packet comes any more


class Instance:
    """The data plane of the network namespace with this cookie, loaded or not.

    Another process may unload it or load a new one at any moment: `current` is what is loaded now. While this object
    holds the lock nobody else can, so that one look, when the lock is taken, is enough.
    """

    def __init__(self, cookie: int, directory: str) -> None:
        self.cookie = cookie
        self.directory = directory
        self._lock: int | None = None
        self._plane: DataPlane | None = None

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
        _ = instance.current
        return instance

    @property
    def loaded(self) -> bool:
        """Whether a data plane is loaded now."""
        if self._lock is not None and self._plane is not None:
            return True
        return os.path.isdir(f"{self.directory}/live")

    @property
    def current(self) -> DataPlane:
        """The data plane that is loaded now; NotThere. It is one object for as long as that one is loaded."""
        if self._plane is not None and (self._lock is not None or self._is_current(self._plane)):
            return self._plane
        self._forget()
        try:
            self._plane = DataPlane(f"{self.directory}/live")
        except FileNotFoundError:
            raise NotThere(
                "no data plane is loaded in this network namespace; the first `pylvsadm -A` loads it"
            ) from None
        return self._plane

    def _is_current(self, plane: DataPlane) -> bool:
        return plane.inode == inode_of(f"{self.directory}/live")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the instance's lock, waiting for it; may be nested. The kernel lets go of a dead holder's."""
        if self._lock is not None:
            yield
            return
        self._lock = self._take()
        try:
            if self._plane is not None and not self._is_current(self._plane):
                self._forget()
            yield
        finally:
            self._give_back()

    def _take(self, wait: bool = True) -> int:
        """Lock the directory; again if it was removed while we waited."""
        while True:
            _make_directory(os.path.dirname(self.directory))
            _make_directory(self.directory)
            try:
                fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:  # another let go of it, empty, since the line before
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if os.fstat(fd).st_ino == inode_of(self.directory):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _give_back(self) -> None:
        fd, self._lock = self._lock, None
        try:
            os.rmdir(self.directory)  # only if empty
        except OSError:
            pass
        if fd is not None:
            fcntl.flock(fd, fcntl.LOCK_UN)  # closing would not do while a child of fork has the descriptor too
            os.close(fd)

    @contextmanager
    def creating(
        self, object_path: Path | str, sizes: Mapping[str, int] | None = None,
        constants: Mapping[str, int | tuple[int, ...]] | None = None, inner_sizes: Mapping[str, int] | None = None,
    ) -> Iterator[Instance]:  # fmt: skip
        """Load the object with these map sizes and constants, and fill its maps in the `with` block. `sizes` are in
        entries, `inner_sizes` in bytes of a value of the maps that are in a map.

        The instance becomes live, all at once, at the end of the block; after an exception or a kill
        nothing of it stays. Instances of namespaces that are gone are cleared away first.
        """
        with self.locked():
            if self.loaded:
                raise DataPlaneError("a data plane is loaded in this network namespace already")
            sweep(os.path.dirname(self.directory), self.cookie)
            _remove(f"{self.directory}/half")
            try:
                self._load(Path(object_path), sizes or {}, constants or {}, inner_sizes or {})
                yield self
                os.rename(f"{self.directory}/half", f"{self.directory}/live")
            except BaseException:
                self._forget()
                _remove(f"{self.directory}/half")
                raise

    def _load(
        self,
        object_path: Path,
        sizes: Mapping[str, int],
        constants: Mapping[str, int | tuple[int, ...]],
        inner: Mapping[str, int],
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
        for directory in ("", *KINDS):
            _make_directory(f"{self.directory}/half/{directory}")
        self._plane = DataPlane(f"{self.directory}/half")
        for name, map in maps.items():
            map.pin(self._plane.pin_path("maps", name))
        for name, program in programs.items():
            program.pin(self._plane.pin_path("progs", name))

    def pin_path(self, kind: str, name: str) -> str:
        """Where a map, program or link (`kind` of KINDS) is pinned. Here and below: of the current data plane."""
        return self.current.pin_path(kind, name)

    def map(self, name: str) -> Map:
        """A pinned map, opened once and kept."""
        return self.current.map(name)

    def program(self, name: str) -> Program:
        """A pinned program, newly opened; the caller closes it."""
        return self.current.program(name)

    def syscall_program(self, name: str, context_size: int) -> SyscallProgram:
        """A pinned SEC("syscall") program with a context of `context_size` bytes, newly opened."""
        return self.current.syscall_program(name, context_size)

    def links(self) -> dict[str, Link]:
        """The pinned links by name, newly opened, none if nothing is loaded; the caller closes them."""
        try:
            return self.current.links()
        except NotThere:
            return {}

    @property
    def layouts(self) -> Layouts:
        """Structs and enums of the object that is loaded, as the kernel keeps them."""
        return self.current.layouts

    def note(self, name: str) -> str | None:
        """A small fact remembered by `remember`, or None."""
        try:
            return os.readlink(f"{self.directory}/{name}")
        except OSError:
            return None

    def notes(self) -> dict[str, str]:
        """Every small fact."""
        return {name: value for name in names_in(self.directory) if (value := self.note(name)) is not None}

    def remember(self, name: str, value: str | None) -> None:
        """Keep a small fact with the instance, loaded or not; None forgets it. `name` has no dot in it."""
        path = f"{self.directory}/{name}"
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
            _remove(f"{self.directory}/half")
            with suppress(FileNotFoundError):
                os.rename(f"{self.directory}/live", f"{self.directory}/half")
            _empty(self.directory)  # the directory itself is the lock: it goes when we let go of it

    def _forget(self) -> None:
        """Let go of the data plane that was current; whoever reads from it still may."""
        self._plane = None


def sweep(directory: str, own: int) -> list[int]:
    """Remove the instances in `directory` whose namespaces are gone, but for `own`; answer their cookies."""
    doubtful = [int(name) for name in names_in(directory) if name.isdigit() and int(name) != own]
    doubtful = [cookie for cookie in doubtful if not _has_live_link(f"{directory}/{cookie}/live/links")]
    if not doubtful:
        return []
    alive = netns.live_cookies()
    gone = [cookie for cookie in doubtful if alive is not None and cookie not in alive]
    return [cookie for cookie in gone if _remove_unlocked(Instance(cookie, f"{directory}/{cookie}"))]


def _has_live_link(directory: str) -> bool:
    """Whether a link in `directory` still has its interface, so that its network namespace lives."""
    for name in names_in(directory):
        try:
            with Link.pinned(f"{directory}/{name}") as link:
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


def _remove(directory: str) -> None:
    """Remove a directory of pins, if it is there."""
    if os.path.isdir(directory):
        _empty(directory)
        os.rmdir(directory)


def _empty(directory: str) -> None:
    """Remove what is in a directory of pins: links first, then programs, then maps, then what else there is."""
    for name in sorted(names_in(directory), key=lambda name: KINDS.index(name) if name in KINDS else -1):
        path = f"{directory}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            _remove(path)
        else:
            _unlink(path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except PermissionError:
        raise NotPermitted(f"cannot make {path}: run it as root") from None
