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
NAMED = ("/run/netns", "/run/docker/netns")

_libc = ctypes.CDLL(None, use_errno=True)


def cookie() -> int:
    """Cookie of the network namespace of the calling thread."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        raw = any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    return int(struct.unpack("=Q", raw)[0])


def _reachable() -> Iterator[str]:
    """Paths of every network namespace of a process, a thread's excepted, or of a name or mount."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            yield f"/proc/{entry.name}/ns/net"
    for folder in NAMED:
        if os.path.isdir(folder):
            yield from (entry.path for entry in os.scandir(folder))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[3].startswith("net:["):
            yield fields[4]


def live_cookies() -> set[int]:
    """Cookies of every namespace reachable from here; entered one after another by a thread made for it."""
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
