# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces by their cookies, which the kernel never gives twice between two boots."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

SO_NETNS_COOKIE = 71
CLONE_NEWNET = 0x40000000
INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, linux/proc_ns.h

_libc = ctypes.CDLL(None, use_errno=True)


def cookie() -> int:
    """Cookie of the network namespace of the calling thread."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        raw = any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    return int(struct.unpack("=Q", raw)[0])


def _reachable() -> Iterator[str]:
    """Paths of every network namespace of a process, a thread's excepted, or of a mount that any process sees."""
    views: set[tuple[int, str]] = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            yield f"/proc/{entry.name}/ns/net"
            yield from _mounted(entry.name, views)


def _mounted(pid: str, views: set[tuple[int, str]]) -> Iterator[str]:
    """The names of `ip netns` and the like as this process sees them: a mount namespace older than a name does not
    have it. Processes with one view are asked once."""
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


def _sees_everybody() -> bool:
    """Whether /proc has every process of the machine: not so in a container, nor where it is not mounted."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino == INITIAL_PID_NAMESPACE
    except OSError:
        return False


def live_cookies() -> set[int] | None:
    """Cookies of every namespace of this machine, entered one after another by a thread made for it.

    None: not all of them can be seen from here, so that none may be called gone.
    """
    if not _sees_everybody():
        return None
    found: dict[tuple[int, int], int] = {}
    for path in _reachable():
        _hold(path, found)
    cookies: set[int] = set()
    visitor = threading.Thread(target=_visit, args=(found.values(), cookies))
    visitor.start()
    visitor.join()
    return cookies


def _hold(path: str, found: dict[tuple[int, int], int]) -> None:
    """Open the namespace at once: a moment later that process may have ended, or moved to another one."""
    try:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in found:
            return
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    status = os.fstat(fd)
    if found.setdefault((status.st_dev, status.st_ino), fd) != fd:
        os.close(fd)


def _visit(namespaces: Iterable[int], cookies: set[int]) -> None:
    cookies.add(cookie())
    for fd in namespaces:
        if _libc.setns(fd, CLONE_NEWNET) == 0:
            cookies.add(cookie())
        os.close(fd)
