# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces: entering one, making one without a name, and telling them apart.

Nothing here starts a process: the director's first command needs the cookie, and is to be quick. Namespaces that stand
for machines, with cables between them, are those of `pylvs.host.testbed`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pylvs.errors import PylvsError

NAMED = Path("/run/netns")  # where `ip netns add` mounts a namespace under its name
SO_NETNS_COOKIE = 71  # asm-generic/socket.h
CLONE_NEWNET = 0x40000000  # linux/sched.h
INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, linux/proc_ns.h
OWN = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def cookie() -> int:
    """The cookie of the calling thread's namespace, which the kernel never gives twice between two boots."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        raw = any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    return int(struct.unpack("=Q", raw)[0])


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the namespace (or other file) at `path`; None when it, or its process, is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def inside(namespace: str | int) -> Iterator[None]:
    """The calling thread, its sockets and its child processes are in the namespace; other threads are not.

    `namespace` is a name of `ip netns`, or a descriptor that is open on a namespace. PylvsError if there is no such
    name, or without root.
    """
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(namespace)
        try:
            yield
        finally:
            _set(home)
    finally:
        os.close(home)


@contextmanager
def fresh() -> Iterator[int]:
    """The calling thread is in a new namespace without a name, which has nothing but a `lo` that is down.

    Gives its descriptor. The namespace lasts as long as a descriptor or a process of it does.
    """
    descriptor = unnamed()
    try:
        with inside(descriptor):
            yield descriptor
    finally:
        os.close(descriptor)


def unnamed() -> int:
    """Make a namespace without a name and return its descriptor; the calling thread stays where it is."""
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.unshare(CLONE_NEWNET):
            raise _refused("make")
        try:
            return os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _set(home)
    finally:
        os.close(home)


def _enter(namespace: str | int) -> None:
    if isinstance(namespace, int):
        _set(namespace)
        return
    try:
        there = os.open(NAMED / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise PylvsError(f"no network namespace '{namespace}'; to see those there are, run: ip netns") from None
    try:
        _set(there)
    finally:
        os.close(there)


def _set(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise _refused("enter")


def _refused(what: str) -> PylvsError:
    return PylvsError(f"cannot {what} a network namespace: {os.strerror(ctypes.get_errno())}; run it as root")


def live_cookies() -> set[int] | None:
    """Cookies of every namespace of this machine, entered one after another by a thread made for it.

    None: not all of them can be seen from here, so that none may be called gone.
    """
    from threading import Thread

    if not _sees_everybody():
        return None
    found: dict[tuple[int, int], int] = {}
    for path in _reachable():
        _hold(path, found)
    cookies: set[int] = set()
    visitor = Thread(target=_visit, args=(found.values(), cookies))
    visitor.start()
    visitor.join()
    return cookies


def _sees_everybody() -> bool:
    """Whether /proc has every process of the machine: not so in a container, nor where it is not mounted."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == INITIAL_PID_NAMESPACE
    except OSError:
        return False


def _reachable() -> Iterator[str]:
    """Paths of every namespace of a process, a thread's excepted, or of a mount that any process sees."""
    views: set[tuple[int, str]] = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            yield f"/proc/{entry.name}/ns/net"
            yield from _mounted(entry.name, views)


def _mounted(pid: str, views: set[tuple[int, str]]) -> Iterator[str]:
    """The names of `ip netns` and the like as this process sees them, for a mount namespace older than a name does
    not have it. Processes with one view are asked once."""
    try:
        view = os.stat(f"/proc/{pid}/ns/mnt").st_ino, os.readlink(f"/proc/{pid}/root")
        if view in views:
            return
        views.add(view)
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split(" ")
        if fields[3].startswith("net:["):
            yield f"/proc/{pid}/root{fields[4]}"


def _hold(path: str, found: dict[tuple[int, int], int]) -> None:
    """Open the namespace at once: a moment later that process may have ended, or moved to another one."""
    try:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in found:
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    status = os.fstat(descriptor)
    if found.setdefault((status.st_dev, status.st_ino), descriptor) != descriptor:
        os.close(descriptor)


def _visit(descriptors: Iterable[int], cookies: set[int]) -> None:
    """Collect the cookies of the calling thread's namespace and of these, and close the descriptors.

    The thread does not come back, and one that may not be entered is left out.
    """
    cookies.add(cookie())
    for descriptor in descriptors:
        if _libc.setns(descriptor, CLONE_NEWNET) == 0:
            cookies.add(cookie())
        os.close(descriptor)
