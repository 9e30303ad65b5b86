# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness itself: it fails where it should, and no test leaves a trace for the next one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.packets.cast import CLIENT, REAL_1, REAL_2, VIP, sent_by, sent_to
from tests.packets.plane import HOOKS, Network, Plane
from tests.packets.rows import Row, Step, aged, ip, play, tcp

REQUEST = ip(CLIENT.ip, VIP) / tcp(20000, 80, "S")
STEP = Step(sent_by(CLIENT, REQUEST), "FORWARD_DR", sent_to(REAL_1, aged(REQUEST)))
ROW = Row(
    "a right one",
    ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1 -g"),
    [STEP],
    listing=["TCP VIP:80 rr", "-> REAL_1:80 Route 1 1 0"],
    connections=["TCP SYN_RECV CLIENT:20000 VIP:80 REAL_1:80"],
    totals=(1, 1, 0, 40, 0),
)
LAST_BIT = bytearray(bytes(sent_to(REAL_1, aged(REQUEST))))
LAST_BIT[-1] ^= 1
WRONG = {
    "another byte": replace(ROW, steps=[replace(STEP, arrives=bytes(LAST_BIT))]),
    "another real server": replace(ROW, steps=[replace(STEP, arrives=sent_to(REAL_2, aged(REQUEST)))]),
    "the TTL as it was": replace(ROW, steps=[replace(STEP, arrives=sent_to(REAL_1, REQUEST))]),
    "a byte more": replace(ROW, steps=[replace(STEP, arrives=sent_to(REAL_1, aged(REQUEST)) / b"\0")]),
    "another outcome": replace(ROW, steps=[replace(STEP, outcome="FORWARD_NAT")]),
    "another verdict": replace(ROW, steps=[replace(STEP, outcome="DROP_ERROR", arrives=None)]),
    "a packet too few": replace(ROW, steps=[STEP, STEP], listing=None, connections=None),
    "another active count": replace(ROW, listing=["TCP VIP:80 rr", "-> REAL_1:80 Route 1 0 1"]),
    "another state": replace(ROW, connections=["TCP ESTABLISHED CLIENT:20000 VIP:80 REAL_1:80"]),
    "no connection": replace(ROW, connections=[]),
    "another total": replace(ROW, totals=(1, 1, 0, 41, 0)),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_the_right_row_passes(plane: Plane, hook: str) -> None:
    """So that it is the change that makes the wrong ones fail."""
    play(plane, ROW, hook)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_row_fails(plane: Plane, what: str, hook: str) -> None:
    """A wrong byte, verdict, outcome, state or count is seen."""
    with pytest.raises(AssertionError):
        play(plane, WRONG[what], hook)


def test_rows_are_those_that_the_command_prints(plane: Plane) -> None:
    """They are formatted otherwise, and show the same connections, templates too."""
    table = ("-A -t VIP:80 -s rr -p 60", "-a -t VIP:80 -r REAL_1 -g")
    play(plane, replace(ROW, table=table, listing=None, connections=None), HOOKS[0])
    printed = plane.adm("-L -n -c").splitlines()[2:]
    assert len(printed) == 2
    assert [_without_expiry(line) for line in printed] == [_without_expiry(line) for line in plane.rows()]


def _without_expiry(row: str) -> list[str]:
    protocol, _, *rest = row.split()
    return [protocol, *rest]


def test_wiping_makes_the_data_plane_new(plane: Plane) -> None:
    """Every map is as in a data plane that was just loaded: services, connections, counts, caches, settings."""
    other = Network()
    with other.inside():
        new = Plane()
        wanted = new.fingerprint()
        new.close()
    other.close()
    for hook in HOOKS:
        plane.wipe()
        play(plane, ROW, hook)
        for line in ("-A -u VIP:53 -s sh", "-A -t VIP:81 -s mh -p 60", "--set 1 2 3", "-D -t VIP:80"):
            plane.adm(line)
        assert plane.fingerprint() != wanted
    plane.wipe()
    assert plane.fingerprint() == wanted
    assert list(plane.director.services()) == []
