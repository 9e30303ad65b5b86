# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces of the test's own: a wire `peer0` - `eth0`, both ends up, gone afterwards."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pylvs.host import neighbours
from pylvs.realserver.decapsulator import OBJECT, FarEnd
from pylvs.realserver.journal import where

CLONE_NEWNET = 0x40000000
RIP, VIP, DIP = "192.168.247.135", "192.168.247.100", "192.168.247.134"
RIP6, VIP6 = "fd00:247::135", "fd00:247::100"
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="session")
def able() -> None:
    """Skip, in words, where the kernel's side cannot be tested."""
    if os.geteuid() != 0:
        pytest.skip("BPF and network namespaces need root")
    if not OBJECT.exists():
        pytest.skip("no realserver.bpf.o; type: make bpf")


def ip(*lines: str) -> None:
    """Commands of ip(8), in the thread's namespace."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


@contextmanager
def inside(descriptor: int) -> Iterator[None]:
    """The thread in another network namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        assert _libc.setns(descriptor, CLONE_NEWNET) == 0
        yield
    finally:
        assert _libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)


def fresh() -> int:
    """Put the thread into a new namespace with lo up, where IPv6 addresses are ready at once; its descriptor."""
    assert _libc.unshare(CLONE_NEWNET) == 0
    for family in ("default", "all"):
        Path(f"/proc/sys/net/ipv6/conf/{family}/accept_dad").write_text("0")
    ip("link set lo up")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


@contextmanager
def _home() -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    with inside(home):
        yield
    os.close(home)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is waited for a little only: most tests expect it."""
    monkeypatch.setattr(neighbours, "PATIENCE", 0.05)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test that expects an answer, on a busy machine too."""
    monkeypatch.setattr(neighbours, "PATIENCE", 1.0)


@pytest.fixture
def network(able: None) -> Iterator[None]:
    """The thread is in a fresh namespace with the wire."""
    with _home():
        os.close(fresh())
        ip(
            "link add peer0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02",
            "link set peer0 up",
            "link set eth0 up",
        )
        yield


@pytest.fixture
def neighbour(able: None) -> Iterator[int]:
    """The thread is a real server at `eth0`; the director's namespace, at the wire's other end, is what this gives."""
    with _home():
        director = fresh()
        os.close(fresh())
        ip(
            "link add peer0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02",
            "link set eth0 up",
            f"addr add {RIP}/24 dev eth0",
            f"addr add {RIP6}/64 dev eth0 nodad",
        )
        subprocess.run(
            ["ip", "link", "set", "peer0", "netns", f"/proc/self/fd/{director}"], pass_fds=[director], check=True
        )
        with inside(director):
            ip("link set peer0 up", f"addr add {DIP}/24 dev peer0", "addr add fd00:247::134/64 dev peer0 nodad")
        yield director
        where().unlink(missing_ok=True)
        where().with_suffix(".lock").unlink(missing_ok=True)
        if FarEnd.here().loaded:
            FarEnd.here().instance.remove()
        os.close(director)
