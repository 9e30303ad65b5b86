# SPDX-License-Identifier: GPL-2.0-or-later
"""A network namespace of the test's own: a wire `peer0` - `eth0`, both ends up, gone afterwards."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylvs.realserver.farend import OBJECT

CLONE_NEWNET = 0x40000000


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


@pytest.fixture
def network(able: None) -> Iterator[None]:
    """The thread is in a fresh namespace with the wire; IPv6 finds no duplicates, so that it is ready at once."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert libc.unshare(CLONE_NEWNET) == 0
    try:
        for where in ("default", "all"):
            Path(f"/proc/sys/net/ipv6/conf/{where}/accept_dad").write_text("0")
        ip(
            "link set lo up",
            "link add peer0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02",
            "link set peer0 up",
            "link set eth0 up",
        )
        yield
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)
