# SPDX-License-Identifier: GPL-2.0-or-later
"""The only place that makes network namespaces, puts them on a switch, enters them and takes them away."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pylvs.errors import PylvsError

RUN = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # linux/sched.h
MNT_DETACH = 2  # sys/mount.h
POLL = 0.01  # seconds between two looks at a condition

_libc = ctypes.CDLL(None, use_errno=True)


class CommandFailed(PylvsError):
    """A command ended with a status other than 0."""


@dataclass(frozen=True, slots=True)
class Cable:
    """A veth pair: `port` on the bridge `segment` in namespace `switch`, `interface` in `namespace`."""

    switch: str
    segment: str
    port: str
    namespace: str
    interface: str
    mac: str


def run(argv: Sequence[str], stdin: str | None = None, keep: Sequence[int] = ()) -> str:
    """Run a command in the thread's namespace and return its output; `keep` are descriptors it inherits."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, pass_fds=keep, timeout=60)
    except FileNotFoundError:
        raise CommandFailed(f"no command '{argv[0]}' on this machine; type: make setup") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"'{' '.join(argv)}' did not end within 60 s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise CommandFailed(f"'{' '.join(argv)}' ended with status {done.returncode} and said: {said}")
    return done.stdout


def create(namespace: str, keep: Sequence[int] = ()) -> None:
    """Make a named namespace with its loopback up."""
    run(["ip", "netns", "add", namespace], keep=keep)
    with inside(namespace):
        run(["ip", "link", "set", "lo", "up"], keep=keep)


def create_switch(namespace: str, segments: Sequence[str], keep: Sequence[int] = ()) -> None:
    """Make a namespace with one bridge for each segment; forwarding at once, no spanning tree."""
    create(namespace, keep)
    lines = [f"link add {segment} up type bridge forward_delay 0 stp_state 0" for segment in segments]
    with inside(namespace):
        run(["ip", "-batch", "-"], "\n".join(lines) + "\n", keep)


def plug(cable: Cable, keep: Sequence[int] = ()) -> None:
    """Connect a machine to a switch, by a pair made in the switch's namespace, never in our own."""
    lines = [
        f"link add {cable.port} type veth peer name {cable.interface} address {cable.mac} netns {cable.namespace}",
        f"link set {cable.port} master {cable.segment} up",
    ]
    with inside(cable.switch):
        run(["ip", "-batch", "-"], "\n".join(lines) + "\n", keep)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise PylvsError(f"cannot enter a network namespace: {os.strerror(number)}; type it as root")


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, its sockets and its child processes are in the namespace; other threads are not."""
    try:
        there = os.open(RUN / namespace, os.O_RDONLY)
    except FileNotFoundError:
        raise PylvsError(f"no namespace {namespace}; type: pylvs lab up") from None
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _setns(there)
        yield
    finally:
        _setns(home)
        os.close(home)
        os.close(there)


def listing(prefix: str) -> list[str]:
    """The named namespaces that begin so, half-made ones too."""
    return sorted(path.name for path in RUN.glob(f"{prefix}*"))


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a namespace, or None when it (or its process) is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def processes(namespaces: Sequence[str], mark: str = "") -> list[int]:
    """Ids of the processes in these namespaces or with `mark` in their command line; never our own."""
    wanted = {identity(RUN / name) for name in namespaces} - {None, identity(Path("/proc/self/ns/net"))}
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
    path = RUN / namespace
    _libc.umount2(os.fsencode(path), MNT_DETACH)
    path.unlink(missing_ok=True)
