# SPDX-License-Identifier: GPL-2.0-or-later
"""A data plane of the tests' own, as new in every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pylvs.dataplane.attach import Attacher
from pylvs.host.interfaces import interfaces
from pylvs.table.load import OBJECT

pytest.register_assert_rewrite("tests.packets.plane", "tests.packets.rows")

from tests.packets import cast  # noqa: E402
from tests.packets.plane import Network, Plane  # noqa: E402
from tests.packets.wire import Wire, Wired  # noqa: E402


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """The director's network namespace; the machine's own is never touched."""
    if os.geteuid() != 0:
        pytest.skip("BPF and network namespaces need root")
    if not OBJECT.exists():
        pytest.skip("no director.bpf.o; run: make bpf")
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


@pytest.fixture(scope="module")
def attached(network: Network) -> Iterator[Wired]:
    """A director that is attached to its three wires, at the TC hook."""
    made = Network()
    with made.inside():
        plane, wire = Plane(), Wire()
        Attacher(plane.instance).attach([link for link in interfaces() if link.name in cast.DIRECTOR])
    yield Wired(made, plane, wire)
    with made.inside():
        wire.close()
        plane.close()
    made.close()


@pytest.fixture
def wired(attached: Wired) -> Iterator[Wired]:
    with attached.network.inside():
        attached.plane.wipe()
        yield attached
