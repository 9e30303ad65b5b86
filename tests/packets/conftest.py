# SPDX-License-Identifier: GPL-2.0-or-later
"""A data plane of the tests' own, as new in every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pylvs.dataplane.open import OBJECT

pytest.register_assert_rewrite("tests.packets.plane", "tests.packets.rows")

from tests.packets.plane import Network, Plane  # noqa: E402


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """The director's network namespace; the machine's own is never touched."""
    if os.geteuid() != 0:
        pytest.skip("BPF and network namespaces need root")
    if not OBJECT.exists():
        pytest.skip("no director.bpf.o; type: make bpf")
    made = Network()
    yield made
    made.close()


@pytest.fixture(scope="session")
def loaded(network: Network) -> Iterator[Plane]:
    """The data plane, loaded once for all tests of this process."""
    with network.inside():
        made = Plane()
    yield made
    with network.inside():
        made.close()


@pytest.fixture
def plane(network: Network, loaded: Plane) -> Iterator[Plane]:
    """The data plane without services, connections or counts, and this test in its network namespace."""
    with network.inside():
        loaded.wipe()
        yield loaded
