# SPDX-License-Identifier: GPL-2.0-or-later
"""Knobs whose effect is on connections yet to come, and what `pylvs set` refuses."""

from __future__ import annotations

import pytest

from pylvs.table import tuning
from tests.packets import cast
from tests.packets.cast import CLIENT, VIP, Host, names, sent_by
from tests.packets.plane import HOOKS, Plane
from tests.packets.rows import ip, tcp

WAYS = ("FORWARD_DR", "DROP_IN_TURN")


def met(plane: Plane, hook: str, sport: int, flags: str, sender: Host = CLIENT) -> str:
    """What became of a packet of the client's."""
    plane.know_hops()
    return plane.run(hook, bytes(sent_by(sender, ip(sender.ip, VIP) / tcp(sport, 80, flags)))).outcome


@pytest.fixture
def balanced(plane: Plane) -> Plane:
    for line in ("-A -t VIP:80 -s wlc", "-a -t VIP:80 -r REAL_1 -g -w 1", "-a -t VIP:80 -r REAL_2 -g -w 2"):
        plane.adm(line)
    return plane


@pytest.mark.parametrize("hook", HOOKS)
def test_one_new_connection_in_so_many_is_dropped(balanced: Plane, hook: str) -> None:
    """drop_packet=3: the first, then every am_droprate-th; never one of a connection that there is (ip_vs_todrop())."""
    tuning.assign(balanced.director, "drop_packet=3")
    tuning.assign(balanced.director, "net.ipv4.vs.am_droprate=4")
    found = [met(balanced, hook, 20000 + number, "S") for number in range(13)]
    assert found == [WAYS[number % 4 == 0] for number in range(13)]
    assert {met(balanced, hook, 20001, "A") for _ in range(9)} == {"FORWARD_DR"}
    for name in ("drop_packet=2", "drop_packet=1", "drop_packet=0"):
        tuning.assign(balanced.director, name)
        assert {met(balanced, hook, 21000 + number, "S") for number in range(9)} == {"FORWARD_DR"}


@pytest.mark.parametrize("hook", HOOKS)
def test_who_begins_anew_is_counted_still_when_it_is_scheduled(balanced: Plane, hook: str) -> None:
    """IPVS ends the old connection by a timer, after the new one was scheduled; wlc then goes elsewhere."""
    assert met(balanced, hook, 20000, "S") == "FORWARD_DR"
    assert balanced.connections() == [names("TCP SYN_RECV CLIENT:20000 VIP:80 REAL_2:80")]
    for flags in ("A", "RA"):
        assert met(balanced, hook, 20000, flags) == "FORWARD_DR"
    balanced.adm("-e -t VIP:80 -r REAL_1 -g -w 2")  # empty, and so before the one that is not, though added first
    assert met(balanced, hook, 20000, "S") == "FORWARD_DR"
    assert balanced.connections() == [names("TCP SYN_RECV CLIENT:20000 VIP:80 REAL_1:80")]
    rows = [line.split()[-2:] for line in balanced.adm("-L -n").splitlines()[-2:]]
    assert rows == [["1", "0"], ["0", "0"]]


def test_what_lblc_remembers_ends_with_it(plane: Plane) -> None:
    """Another scheduler in between, and an address goes to the least loaded again (ip_vs_lblc_done_svc())."""
    for line in ("-A -t VIP:80 -s lblc", "-a -t VIP:80 -r REAL_1 -g -w 9", "-a -t VIP:80 -r REAL_2 -g -w 9"):
        plane.adm(line)
    assert [met(plane, "tc", 20000 + number, "S") for number in range(3)] == ["FORWARD_DR"] * 3
    assert {row.split()[-1] for row in plane.connections()} == {cast.REAL_2.ip + ":80"}
    plane.adm("-E -t VIP:80 -s rr")
    plane.adm("-E -t VIP:80 -s lblc")
    assert met(plane, "tc", 21000, "S") == "FORWARD_DR"
    assert f"{cast.REAL_1.ip}:80" in {row.split()[-1] for row in plane.connections()}


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("drop_entry=3", "drop_entry is not 3 here: a full connection table evicts half-open connections by itself"),
        ("drop_packet=4", "drop_packet takes a number from 0 to 3, not '4'"),
        ("conntrack=1", "conntrack stays 0: packets pass before netfilter, which tracks none of them"),
        ("sync_retries=1", "sync_retries stays 0: no connections are synchronized"),
        ("no_such=1", "no knob 'no_such'; run: pylvs get"),
        ("am_droprate", "'am_droprate' sets nothing; run: pylvs set am_droprate=VALUE"),
    ],
)
def test_what_a_knob_cannot_be(plane: Plane, assignment: str, says: str) -> None:
    """One line, and nothing is set."""
    before = plane.settings.memory[:]
    with pytest.raises(tuning.NotTunable, match=says.replace("?", r"\?")):
        tuning.assign(plane.director, assignment)
    assert plane.settings.memory[:] == before


def test_what_is_set_can_be_read(plane: Plane) -> None:
    """Also what takes effect only where memory is short, which here it never is."""
    for name, default, value in (("amemthresh", "1024", "99"), ("drop_entry", "0", "2"), ("am_droprate", "10", "7")):
        assert tuning.value_of(plane.director, tuning.BY_NAME[name]) == default
        tuning.assign(plane.director, f"{name}={value}")
        assert tuning.value_of(plane.director, tuning.BY_NAME[name]) == value
