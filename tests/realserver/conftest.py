# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces of the test's own: a wire `peer0` - `eth0`, both ends up, gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pylvs.host import neighbours, netns, sysctl
from pylvs.host.iproute import batch as ip
from pylvs.realserver.decapsulator import OBJECT, Decapsulator
from pylvs.realserver.journal import where

RIP, VIP, DIP = "192.168.247.135", "192.168.247.100", "192.168.247.134"
RIP6, VIP6 = "fd00:247::135", "fd00:247::100"


@pytest.fixture(scope="session")
def able() -> None:
    """Skip, in words, where the kernel's side cannot be tested."""
    if os.geteuid() != 0:
        pytest.skip("BPF and network namespaces need root")
    if not OBJECT.exists():
        pytest.skip("no realserver.bpf.o; run: make bpf")


@contextmanager
def fresh() -> Iterator[int]:
    """The thread is in a new namespace with lo up, where IPv6 addresses are ready at once; its descriptor."""
    with netns.fresh() as descriptor:
        for interface in ("default", "all"):
            sysctl.write(f"net.ipv6.conf.{interface}.accept_dad", "0")
        ip("link set lo up")
        yield descriptor


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
    with fresh():
        ip(
            "link add peer0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02",
            "link set peer0 up",
            "link set eth0 up",
        )
        yield


@pytest.fixture
def neighbour(able: None) -> Iterator[int]:
    """The thread is a real server at `eth0`; the director's namespace, at the wire's other end, is what this gives."""
    with fresh() as director, fresh():
        ip(
            "link add peer0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02",
            "link set eth0 up",
            f"addr add {RIP}/24 dev eth0",
            f"addr add {RIP6}/64 dev eth0 nodad",
        )
        ip(f"link set peer0 netns /proc/self/fd/{director}", keep=[director])
        with netns.inside(director):
            ip("link set peer0 up", f"addr add {DIP}/24 dev peer0", "addr add fd00:247::134/64 dev peer0 nodad")
        yield director
        where().unlink(missing_ok=True)
        where().with_suffix(".lock").unlink(missing_ok=True)
        if Decapsulator.here().loaded:
            Decapsulator.here().instance.remove()
