# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs top` without a table: numbers, order, keys, and what does not fit."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pylvs.commands.top import View, picture, rows, scaled, text
from pylvs.model import Counters
from pylvs.table.snapshot import Line, Snapshot

WEB = Line("-t 10.0.0.1:80", "", "", "rr", 3, 5, 7, Counters(10, 2000, 0, 3_000_000, 0))
ONE = Line("-t 10.0.0.1:80", "10.0.0.5:80", "Route", "", 1, 5, 0, Counters(10, 500, 0, 1, 0))
TWO = Line("-t 10.0.0.1:80", "10.0.0.6:80", "Masq", "", 0, 0, 7, Counters(0, 1500, 0, 2, 0))
DNS = Line("-u 10.0.0.1:53", "", "", "wlc", 0, 100, 0, Counters())
SHOT = Snapshot(Counters(), Counters(10, 2000, 0, 3_000_000, 0), ((WEB, (ONE, TWO)), (DNS, ())), {"FORWARD_DR": 12.5})


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (0.4, "0"), (999, "999"), (999.6, "1.0k"), (1234, "1.2k"), (9960, "10k"), (99_700, "100k"),
     (1_000_000, "1.0M"), (3e15, "3000T")],
)  # fmt: skip
def test_numbers(number: float, shown: str) -> None:
    """Short, and rounded to where the unit changes."""
    assert scaled(number) == shown


@pytest.mark.parametrize(
    ("keys", "order"),
    [("c", "DNS WEB TWO ONE"), ("r", "WEB ONE TWO DNS"), ("p", "WEB TWO ONE DNS"), ("n", "WEB ONE TWO DNS"),
     ("nn", "DNS WEB TWO ONE"), ("b", "WEB TWO ONE DNS"), ("cx", "DNS WEB TWO ONE")],
)  # fmt: skip
def test_order(keys: str, order: str) -> None:
    """A key sorts services, and destinations within theirs; the same key again reverses the order."""
    view = View("r" if keys != "r" else "c")
    for key in keys:
        view.press(key)
    names = {WEB: "WEB", ONE: "ONE", TWO: "TWO", DNS: "DNS"}
    assert " ".join(names[line] for line in rows(SHOT, view)) == order


def test_keys() -> None:
    """q, Escape and ^C quit; unknown keys do nothing."""
    view = View()
    assert not view.press("x")
    assert not view.quit
    for key in "q\x1b\x03":
        view = View()
        assert view.press(key)
        assert view.quit


def test_lines_and_data() -> None:
    """A heading, outcomes, and a row for each service and destination."""
    lines = text(SHOT, View("n")).splitlines()
    assert "2 services, 2 destinations, 105 active and 7 inactive connections; 10 conn/s" in lines[0]
    assert lines[1] == "FORWARD_DR 12/s"
    assert lines[5].split() == ["10.0.0.5:80", "Route", "1", "5", "0", "10", "500", "0", "1", "0"]
    document = View("n").arranged(SHOT).as_json()
    assert [one["service"] for one in document["services"]] == ["-t 10.0.0.1:80", "-u 10.0.0.1:53"]
    assert document["services"][0]["destinations"][1]["rate"]["in_packets"] == 1500


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("height", [3, 7, 50])
def test_the_picture_fits(width: int, height: int) -> None:
    """On a terminal of any size; what is left out is counted in the last line."""
    console = Console(width=width, height=height, record=True, file=io.StringIO(), force_terminal=True)
    console.print(picture(SHOT, View(), height))
    shown = console.export_text()
    assert len(shown.splitlines()) <= max(height, 6)
    assert all(len(line) <= width for line in shown.splitlines())
    assert ("do not fit" in shown) is (height < 9)
