# SPDX-License-Identifier: GPL-2.0-or-later
"""The table in the kernel and the one in memory answer any sequence of commands alike, and end up alike."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylvs.ipvsadm.run import Session
from pylvs.model import Table
from pylvs.table.load import OBJECT
from tests.ipvsadm.memory import MemoryTable

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not OBJECT.exists(), reason="loads BPF: needs root, and make bpf")

SERVICES = ("-t 10.0.0.1:80", "-t 10.0.0.1:81", "-u 10.0.0.1:80", "-f 7", "-f 7 -6", "-t [fd00::1]:80", "-t 10.0.0.1:0")
SCHEDULERS = ("", "-s rr", "-s sh -b sh-port", "-s mh -b mh-fallback,mh-port", "-s nosuch", "-s none", "-s lblcr")
PERSISTENCE = ("", "-p", "-p 9 -M 255.255.0.0", "-p 60 -M 64", "-o", "-p 5 --pe sip", "--pe nosuch")
REALS = ("10.9.0.1", "10.9.0.1:8080", "10.9.0.2", "fd00::2", "[fd00::2]:90", "224.0.0.1", "0.0.0.0", "127.0.0.1")
# An address of its own: without one the real table asks the routes, and refuses where there is none.
FULLNAT = "--fullnat --local-address 10.0.0.9"
WAYS = ("", "-g", "-m", "-i", "-i --tun-type gue --tun-port 9 --tun-csum", "-i --tun-type gre", FULLNAT)
NUMBERS = ("", "-w 0", "-w 2147483647", "-x 10 -y 3", "-y 4", "-x 5")
OTHERS = ("-C", "-Z", "--set 0 7 0", "--start-daemon master --mcast-interface lo", "--stop-daemon master", "-R")
pick = st.sampled_from


def joined(*parts: Any) -> st.SearchStrategy[str]:
    """A line of one choice from each."""
    return st.tuples(*(st.just(part) if isinstance(part, str) else pick(part) for part in parts)).map(" ".join)


LINES = st.one_of(
    joined(("-A", "-A", "-E"), SERVICES, SCHEDULERS, PERSISTENCE),
    joined(("-A",), SERVICES),
    joined(("-a", "-a", "-e"), SERVICES, "-r", REALS, WAYS, NUMBERS),
    joined("-a", SERVICES, "-r", REALS[:5], WAYS[:4]),
    joined("-d", SERVICES, "-r", REALS),
    joined(("-D", "-Z"), SERVICES),
    pick(OTHERS),
)


def played(table: Table, words: list[str], stdin: str = "") -> tuple[int, str, str]:
    """Status, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    status = Session("ipvsadm", lambda: table, io.BytesIO(stdin.encode()), out, err).run(words)
    return status, out.getvalue(), err.getvalue()


def shown(table: Table) -> list[tuple[int, str, str]]:
    """Everything that can be listed."""
    listings = ("-S -n", "-L -n", "-L -n --thresholds", "-L --timeout", "-L --daemon", "-L -n --tun-info", "-L --json")
    return [played(table, line.split()) for line in listings]


@pytest.fixture(scope="module")
def plane() -> Iterator[Any]:
    """A data plane of its own, without interfaces, and this thread in its network namespace."""
    from tests.packets.plane import Network, Plane

    with closing(Network()) as network, network.inside(), closing(Plane()) as made:
        yield made


@given(st.lists(LINES, max_size=25), st.booleans())
@settings(max_examples=40)
def test_any_commands(plane: Any, lines: list[str], atomic: bool) -> None:
    """One by one; and what came of them put in place of it all, at once."""
    played(plane.director, ["--stop-daemon", "master"])
    plane.wipe()
    memory = MemoryTable()
    for line in lines:
        assert played(plane.director, line.split()) == played(memory, line.split()), line
    assert shown(plane.director) == shown(memory)
    if atomic:
        restore = ["-R", "--atomic"]
        text = "\n".join(line for line in lines[len(lines) // 2 :] if line[1] in "AEDaed")
        assert played(plane.director, restore, text) == played(memory, restore, text)
        assert [sorted(out.splitlines()) for _, out, _ in shown(plane.director)[:2]] == [
            sorted(out.splitlines()) for _, out, _ in shown(memory)[:2]
        ]


def test_an_address_that_no_destination_can_have_is_named_with_its_line(plane: Any) -> None:
    """As the host's routing table knows it: here the broadcast address of lo's network."""
    plane.wipe()
    text = "-A -t 10.0.0.1:80\n-a -t 10.0.0.1:80 -r 127.255.255.255 -g\n"
    error = "line 2: 127.255.255.255 is broadcast, not unicast; the table is as it was\n"
    assert played(plane.director, ["-R", "--atomic"], text) == (1, "", error)
