# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for every table, every command line and every input."""

from __future__ import annotations

import io

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pylvs.ipvsadm.grammar import COMMANDS, OPTIONS
from pylvs.ipvsadm.parse import parse
from pylvs.ipvsadm.quick import quick_command
from pylvs.ipvsadm.run import Session
from pylvs.model import Destination, VirtualService
from tests.ipvsadm.memory import MemoryTable, snapshot
from tests.ipvsadm.strategies import tables

Configured = list[tuple[VirtualService, list[Destination]]]
STATUSES = {0, 1, 2, 255}


def run(table: MemoryTable, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = Session("ipvsadm", lambda: table, io.BytesIO(stdin), out, err).run(words)
    return status, out.getvalue(), err.getvalue()


def filled(configured: Configured) -> MemoryTable:
    table = MemoryTable()
    table.replace(configured)
    return table


def as_sets(table: MemoryTable) -> dict[VirtualService, frozenset[Destination]]:
    return {service: frozenset(destinations) for service, destinations in table.configured()}


@given(tables())
def test_save_and_restore_is_the_same_table(configured: Configured) -> None:
    """`-S -n | -R` into an empty table."""
    before = filled(configured)
    _, text, _ = run(before, "-S", "-n")
    after = MemoryTable()
    assert run(after, "-R", stdin=text.encode()) == (0, "", "")
    assert as_sets(after) == as_sets(before)


@given(tables())
def test_the_quick_way_is_the_parsers_way(configured: Configured) -> None:
    """Of every saved line that it takes."""
    for line in run(filled(configured), "-S", "-n")[1].splitlines(keepends=True):
        quick = quick_command(line.encode())
        assert quick in (None, parse("ipvsadm", line.split()))


def test_the_quick_way_takes_what_it_is_for() -> None:
    """And nothing that could mean something else."""
    words = ["-a", "-t", "10.0.0.1:80", "-r", "10.0.0.2:8080", "-g", "-w", "3"]
    assert quick_command(f"{' '.join(words)}\n".encode()) == parse("ipvsadm", words)
    for other in ("-a -t 10.0.0.1:80 -r 10.0.0.2:65536 -m -w 1", "-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1 -x 9"):
        assert quick_command(f"{other}\n".encode()) is None


@given(tables(), tables())
def test_atomic_restore_replaces_any_table_by_any_other(old: Configured, new: Configured) -> None:
    """What was there before is gone, what was read is there."""
    wanted, table = filled(new), filled(old)
    _, text, _ = run(wanted, "-S", "-n")
    assert run(table, "-R", "--atomic", stdin=text.encode()) == (0, "", "")
    assert as_sets(table) == as_sets(wanted)
    assert run(table, "-R", "--atomic", "--dry-run", stdin=text.encode()) == (0, "", "")


BAD_LINES = [b"-A -t 1.2.3.4:80 -s nosuch", b"-L", b"nonsense", b"-a -t 1.2.3.4:5 -r 1.1.1.1"]


@given(tables(), st.integers(0, 10), st.sampled_from(BAD_LINES))
def test_atomic_restore_with_a_bad_line_changes_nothing(configured: Configured, place: int, bad: bytes) -> None:
    """One line on standard error names the bad one's number."""
    table, wanted = filled([]), filled(configured)
    run(table, "-A", "-t", "10.0.0.1:80")
    lines = run(wanted, "-S", "-n")[1].encode().splitlines()
    place = min(place, len(lines))
    lines.insert(place, bad)
    before = snapshot(table)
    status, out, err = run(table, "-R", "--atomic", stdin=b"\n".join(lines))
    assert (status, out) == (1, "")
    assert err.startswith(f"line {place + 1}: ")
    assert err.endswith("; the table is as it was\n")
    assert err.count("\n") == 1
    assert snapshot(table) == before


WORDS = st.one_of(
    st.sampled_from([word for option in (*COMMANDS, *OPTIONS) for word in option.spellings()]),
    st.sampled_from(["10.0.0.1:80", "[fd00::1]:80", "1.2.3.4", "rr", "7", "master", "lo", "--", "-", "-Ln"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    st.integers().map(str),
    st.binary(max_size=6).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")),
)


@given(st.lists(WORDS, max_size=8))
@settings(max_examples=400)
@example(["-A", "-t", "\udcff:80"])
@example(["-A", "-t", "1.1.1.1:\udcff"])
@example(["-A", "-f", "9" * 5000])
@example(["-A", "-t", "1.1.1.1:80", "-b", ","])
@example(["-L", "-c", "--client", "\udcff/8"])
def test_any_words_end_well(words: list[str]) -> None:
    """Never a traceback; a refusal is told in a line and leaves the table as it was."""
    table = filled([])
    run(table, "-A", "-t", "10.0.0.9:80")
    before = snapshot(table)
    status, _, err = run(table, *words)
    assert status in STATUSES
    assert (err != "") == (status != 0)
    if status:
        assert snapshot(table) == before
        assert err.rstrip("\n").count("\n") == 0 or "\n" in "".join(words)


LINES = st.one_of(st.lists(WORDS, max_size=6).map(" ".join), st.text(max_size=20))


@given(st.lists(LINES, max_size=6), st.booleans())
@settings(max_examples=300)
def test_any_input_ends_well(lines: list[str], atomic: bool) -> None:
    """`-R` of anything; with --atomic a refusal leaves the table as it was."""
    table = filled([])
    run(table, "-A", "-t", "10.0.0.9:80")
    before = snapshot(table)
    data = "\n".join(lines).encode("utf-8", "surrogateescape")
    status, _, err = run(table, "-R", *(["--atomic"] if atomic else []), stdin=data)
    assert status in STATUSES
    if atomic and status:
        assert err.count("\n") == 1
        assert snapshot(table) == before


@given(st.binary(max_size=300))
def test_any_bytes_end_well(data: bytes) -> None:
    """Embedded NULs and what is not UTF-8."""
    assert run(MemoryTable(), "-R", stdin=data)[0] in STATUSES


@given(tables())
def test_dry_run_says_what_it_would_do(configured: Configured) -> None:
    """From an empty table there are only `+` lines, as many as there are rules."""
    wanted, table = filled(configured), MemoryTable()
    text = run(wanted, "-S", "-n")[1]
    status, out, _ = run(table, "-R", "--atomic", "--dry-run", stdin=text.encode())
    assert status == 0
    assert sorted(out.splitlines()) == sorted(f"+ {line}" for line in text.splitlines())
    assert table.configured() == []


def test_dry_run_shows_what_goes_and_what_comes() -> None:
    """A weight that changes is a line less and a line more."""
    table = MemoryTable()
    run(table, "-R", stdin=b"-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n")
    new = b"-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 3 -x 9\n"
    assert run(table, "-R", "--atomic", "--dry-run", stdin=new)[1].splitlines() == [
        "- -a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1",
        "+ -a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 3 -x 9",
    ]
