# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines made of named network namespaces: put on a switch, cabled, and taken away with all that runs in them."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pylvs.host import command, iproute
from pylvs.host.netns import NAMED, identity, inside

MNT_DETACH = 2  # sys/mount.h
POLL = 0.01  # seconds between two looks at a condition

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Cable:
    """A veth pair: `port` on the bridge `segment` in namespace `switch`, `interface` in `namespace`."""

    switch: str
    segment: str
    port: str
    namespace: str
    interface: str
    mac: str


def create(namespace: str, keep: Sequence[int] = ()) -> None:
    """Make a named namespace with its loopback up; `keep` are descriptors that the commands inherit."""
    command.run(["ip", "netns", "add", namespace], keep=keep)
    with inside(namespace):
        command.run(["ip", "link", "set", "lo", "up"], keep=keep)


def create_switch(namespace: str, segments: Sequence[str], keep: Sequence[int] = ()) -> None:
    """Make a namespace with one bridge for each segment; forwarding at once, no spanning tree."""
    create(namespace, keep)
    lines = [f"link add {segment} up type bridge forward_delay 0 stp_state 0" for segment in segments]
    with inside(namespace):
        iproute.batch(*lines, keep=keep)


def plug(cable: Cable, keep: Sequence[int] = ()) -> None:
    """Connect a machine to a switch, by a pair made in the switch's namespace, never in our own."""
    with inside(cable.switch):
        iproute.batch(
            f"link add {cable.port} type veth peer name {cable.interface} address {cable.mac} netns {cable.namespace}",
            f"link set {cable.port} master {cable.segment} up",
            keep=keep,
        )


def listing(prefix: str) -> list[str]:
    """The named namespaces that begin so, half-made ones too."""
    return sorted(path.name for path in NAMED.glob(f"{prefix}*"))


def processes(namespaces: Sequence[str], mark: str = "") -> list[int]:
    """Ids of the processes in these namespaces or with `mark` in their command line; never our own."""
    wanted = {identity(NAMED / name) for name in namespaces} - {None, identity(Path("/proc/self/ns/net"))}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            there = identity(entry / "ns/net") in wanted or (mark and mark in _command_line(entry))
            found += [int(entry.name)] if there else []
    return found


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def end(namespaces: Sequence[str], mark: str, patience: float = 2.0) -> int:
    """End these processes, by SIGKILL after `patience` seconds; return how many there were."""
    found = processes(namespaces, mark)
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + seconds
        while left := processes(namespaces, mark):
            for pid in left:
                _kill(pid, number)
            if time.monotonic() > deadline:
                break
            time.sleep(POLL)
    return len(found)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def delete(namespace: str) -> None:
    """Take a named namespace away, also one whose making was cut off between its file and its mount."""
    path = NAMED / namespace
    _libc.umount2(os.fsencode(path), MNT_DETACH)
    path.unlink(missing_ok=True)
