# SPDX-License-Identifier: GPL-2.0-or-later
"""A `Director` that lives on sees what other processes do to its network namespace's data plane."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from pylvs import Destination, Director, Protocol, ServiceKey, Timeouts, VirtualService
from pylvs.errors import DataPlaneError, NoSuchService
from pylvs.host import netns, testbed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="BPF and network namespaces need root")

VIP = ip_address("192.0.2.1")
WEB, TLS = (ServiceKey(Protocol.TCP, VIP, port) for port in (80, 443))
REAL = Destination(ip_address("10.1.0.21"), 80)
PROGRAMS = {"pylvs": "pylvs", "pylvsadm": "pylvs.ipvsadm"}


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"pylvs-f{os.getpid()}"
    testbed.create(name)
    try:
        with netns.inside(name):
            yield name
            command("pylvs detach --unload")
    finally:
        for each in testbed.listing(name):
            testbed.delete(each)


def command(line: str) -> None:
    """Another process in this thread's namespace."""
    program, *arguments = line.split()
    subprocess.run([sys.executable, "-m", PROGRAMS[program], *arguments], check=True, timeout=60, capture_output=True)


def listed(director: Director) -> set[ServiceKey]:
    return {state.service.key for state in director.services()}


def test_another_process_loads_a_new_data_plane(namespace: str) -> None:
    """What is read, and what is changed, is the new one's."""
    director = Director()
    director.add_service(VirtualService(WEB, "rr"))
    command("pylvs detach --unload")
    assert listed(director) == set()
    command("pylvsadm -A -t 192.0.2.1:443")
    assert listed(director) == {TLS}
    director.add_destination(TLS, replace(REAL, port=443))
    director.add_service(VirtualService(WEB, "wrr"))
    assert listed(Director()) == listed(director) == {TLS, WEB}
    assert [state.destination.address for state in Director().service(TLS).destinations] == [REAL.address]


def test_another_process_loads_a_new_data_plane_between_two_changes(namespace: str) -> None:
    """What the last change looked up is forgotten: the same key has another slot, and the address is local no more."""
    director = Director()
    director.add_service(VirtualService(TLS, "rr"))
    director.add_service(VirtualService(WEB, "rr"))
    director.add_destination(WEB, REAL)
    command("pylvs detach --unload")
    with pytest.raises(NoSuchService):
        director.add_destination(WEB, REAL)
    command("pylvsadm -A -t 192.0.2.1:80")
    director.add_destination(WEB, REAL)
    assert len(Director().service(WEB).destinations) == 1


def test_addresses_are_looked_up_anew_for_each_change(namespace: str) -> None:
    """A daemon's `Director` outlives the host's addresses."""
    director = Director()
    director.add_service(VirtualService(WEB, "rr"))
    director.add_destination(WEB, REAL)
    subprocess.run(["ip", "addr", "add", f"{REAL.address}/32", "dev", "lo"], check=True)
    director.edit_destination(WEB, REAL)
    assert director.next_hop_of(WEB, REAL)["local"] == 1


def test_an_iteration_that_began_ends_with_what_it_began_with(namespace: str) -> None:
    director = Director()
    director.add_service(VirtualService(WEB, "rr"))
    director.add_service(VirtualService(TLS, "rr"))
    states = iter(director.services())
    first = next(states)
    command("pylvs detach --unload")
    assert {first.service.key, *(state.service.key for state in states)} == {WEB, TLS}


def test_the_namespace_is_deleted_under_a_living_director(namespace: str) -> None:
    """Once another director has cleared it away its table is empty, and a change is refused: it would be made to the
    namespace in which the thread is now."""
    gone = f"{namespace}-gone"
    testbed.create(gone)
    with netns.inside(gone):
        director = Director()
        director.add_service(VirtualService(WEB, "rr"))
    testbed.delete(gone)
    command("pylvsadm -A -t 192.0.2.1:443")  # loading clears away what deleted namespaces left
    assert listed(director) == set()
    assert director.generation == (0, 0)
    with pytest.raises(DataPlaneError, match="another network namespace's"):
        director.add_service(VirtualService(WEB, "rr"))
    assert listed(Director()) == {TLS}


def test_one_word_says_that_nothing_changed(namespace: str) -> None:
    """Reading leaves the generation as it is; any change of the table or its settings makes it another, even number."""
    director, other = Director(), Director()
    assert director.generation == (0, 0)
    director.add_service(VirtualService(WEB, "rr"))
    changes = (
        lambda: other.add_destination(WEB, REAL),
        lambda: other.edit_destination(WEB, replace(REAL, weight=3)),
        lambda: other.edit_service(VirtualService(WEB, "wrr")),
        lambda: other.set_knob("sloppy_tcp", 1),
        lambda: other.set_timeouts(Timeouts(100, 0, 0)),
        lambda: other.zero(WEB),
        lambda: other.zero(),
        lambda: other.replace([(VirtualService(TLS, "rr"), [replace(REAL, port=443)])]),
        lambda: other.delete_destination(TLS, replace(REAL, port=443)),
        lambda: other.delete_service(TLS),
        lambda: other.flush(),
    )
    for change in changes:
        before = director.generation
        list(director.services())
        list(director.connections())
        assert director.generation == before
        change()
        assert director.generation[0] == before[0]
        assert director.generation[1] > before[1]
        assert director.generation[1] % 2 == 0


def test_the_generation_is_odd_while_a_change_is_made(namespace: str) -> None:
    """Also if its maker is killed: then the next change makes it even, and another one than before."""
    director, other = Director(), Director()
    director.add_service(VirtualService(WEB, "rr"))
    _, before = director.generation
    with other.locked():
        other.add_destination(WEB, REAL)
        assert director.generation[1] == before + 1
        other.delete_destination(WEB, REAL)
    assert director.generation[1] == before + 2
    director.settings["generation"] = before + 3  # as whoever was killed left it
    other.add_destination(WEB, REAL)
    assert director.generation[1] == before + 4
