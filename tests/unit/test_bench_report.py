# SPDX-License-Identifier: GPL-2.0-or-later
"""What a benchmark's data say: figures, targets, what got slower, the page and its plots."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as Xml
from pathlib import Path
from typing import Any

import pytest

from pylvs.bench import main as command
from pylvs.bench.pictures import pictures
from pylvs.bench.plots import Mark, Series, bars, lines, short
from pylvs.bench.regressions import compared, slower
from pylvs.bench.report import BEGIN, END, judged, markdown, numbers, text, write
from pylvs.bench.result import Result, load, merged, save
from pylvs.bench.segment import SCENARIOS
from pylvs.bench.stats import Figure, ratio
from pylvs.bench.targets import TARGETS, Target, verdicts
from pylvs.bench.wire import Samples, data
from pylvs.errors import PylvsError

MACHINE = {"cpu": "a CPU, 2 CPUs, 4 GiB", "kernel": "6.18", "clang": "clang 14", "commit": "abc1234"}
STEADY = (1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.0)  # seven rounds
MILLION = 1_000_000


def row(
    name: str, hook: str, count: int, unit: str, value: float, spread: tuple[float, ...] = STEADY
) -> dict[str, Any]:
    return {"name": name, "hook": hook, "count": count, "unit": unit, "samples": [value * part for part in spread]}


def packet(dr: float = 60.0, speed: float = 1.0) -> list[dict[str, Any]]:
    """A machine `1/speed` times as fast as usual, where DR costs `dr` on the usual one."""
    nanoseconds = {
        ("parse and swap MACs", "xdp", 1): 8, ("kernel hash map hit", "xdp", 1): 26, ("not for us", "xdp", 1000): 16,
        ("kernel lru map hit", "xdp", MILLION): 260, ("DR", "xdp", 1000): dr, ("DR", "xdp", MILLION): 150,
        ("insert in a full LRU map", "xdp", 1): 500, ("new, rr", "xdp", 10): 300,
    }  # fmt: skip
    return [row(*key, "ns", value * speed) for key, value in nanoseconds.items()]


def wire(dr: float = 900.0) -> list[dict[str, Any]]:
    ways = {"direct": 1000, "DR, XDP": dr, "NAT, TC": 600, "nftables DNAT": 550, "HAProxy": 500, "nginx stream": 400}
    return [
        row(name, way, 0, "requests/s", value)
        for name in ("new connection each", "keep-alive")
        for way, value in ways.items()
    ]


def table() -> list[dict[str, Any]]:
    rows = [
        row(f"memory a connection, {family}", "table", 10 * MILLION, "bytes", 82, (1,)) for family in ("IPv4", "IPv6")
    ]
    return rows + [row(name, "table", count, "ns", 50) for name in ("hit", "insert") for count in (1000, MILLION)]


def control() -> list[dict[str, Any]]:
    sizes = [row("restore", "command", count, "ms", 10 * count**0.5) for count in (10, 1000, 10_000)]
    return [row("python -c pass", "command", 0, "ms", 20), *sizes]


def parts() -> list[dict[str, Any]]:
    shares = {"parsing": 10, "its connection": 50}
    ways = [(name, count) for name in ("DR", "TUN") for count in (1000, MILLION)]
    rows = [row(name, part, count, "%", share) for name, count in ways for part, share in shares.items()]
    rows.append(row("TUN", "rewriting", 1000, "%", 15))
    return rows + [{**row(name, "waits at", count, "%", 30), "line": "a.h:7 if (b || c)"} for name, count in ways]


def result(**suites: list[dict[str, Any]]) -> Result:
    at = "2026-11-25 12:00 UTC"
    return {
        "suites": {name: {"at": at, "seconds": 9, "machine": MACHINE, "rows": rows} for name, rows in suites.items()}
    }


def whole() -> Result:
    return result(packet=packet(), parts=parts(), wire=wire(), table=table(), control=control())


def test_a_figure_leaves_out_one_round_at_each_end() -> None:
    """One round disturbed by something else does not widen the spread; with few rounds all count."""
    assert Figure.of([5, 1, 2, 3, 4, 100, 3]) == Figure(3, 2, 5)
    assert Figure.of([2, 1]) == Figure(1.5, 1, 2)


def test_a_ratio_is_taken_within_each_round() -> None:
    """A machine that is slow for a while is slow for both."""
    assert ratio([2, 20, 2], [1, 10, 1]) == Figure(2, 2, 2)
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])


@pytest.mark.parametrize(
    ("least", "ours", "held", "distance"),
    [(False, 7, True, 0.7), (False, 20, False, 2), (True, 20, True, 0.5), (True, 8, False, 1.25)],
)
def test_a_target_is_held_or_not_and_says_how_far_it_is(least: bool, ours: float, held: bool, distance: float) -> None:
    target = Target("path", "reference", 10, ("a", "xdp", 1), ("b", "xdp", 1), least)
    verdict = verdicts({("a", "xdp", 1): [ours] * 7, ("b", "xdp", 1): [1.0] * 7}, [target])[0]
    assert verdict.held is held
    assert verdict.distance == pytest.approx(distance)


def test_a_target_near_its_limit_is_said_to_be_within_the_spread() -> None:
    target = Target("path", "bytes each", 1.0, ("a", "table", 1), None)
    verdict = verdicts({("a", "table", 1): [0.9, 0.95, 0.97, 0.99, 1.05, 1.05, 1.1]}, [target])[0]
    assert verdict.held
    assert verdict.word == "held, within the spread"


def test_targets_without_data_are_not_judged() -> None:
    """Nothing is said about what was not measured."""
    assert {verdict.target.path for verdict in judged(result(packet=packet()))} == {
        "not for us", "established DR, 1,000 flows", "established DR, 1,000,000 flows", "new connection, rr",
    }  # fmt: skip


def test_every_target_names_rows_of_its_suite() -> None:
    """A wire target is about ways, a packet target about hooks."""
    for suite, targets in TARGETS.items():
        hooks = {target.row[1] for target in targets}
        assert hooks <= {"packet": {"xdp", "tc"}, "table": {"table"}}.get(
            suite, {scenario.name for scenario in SCENARIOS}
        )


def test_nothing_is_slower_than_itself() -> None:
    assert slower(whole(), whole()) == []
    assert compared(whole(), whole()) == sum(len(suite["rows"]) for suite in whole()["suites"].values())


def test_what_got_slower_is_named_with_how_much() -> None:
    found = slower(result(packet=packet(dr=60)), result(packet=packet(dr=90)))
    assert len(found) == 1
    assert found[0].startswith("slower: packet: DR · xdp · 1000: ")
    assert found[0].endswith("1.50 times")


def test_a_slower_machine_is_not_a_slower_director() -> None:
    assert slower(result(packet=packet()), result(packet=packet(speed=2))) == []


def test_less_than_the_noise_is_not_slower() -> None:
    assert slower(result(packet=packet(dr=60)), result(packet=packet(dr=64))) == []


def test_a_wide_spread_is_not_slower() -> None:
    """The median moved, but the rounds of both overlap."""
    wide = (0.7, 0.8, 0.9, 1.3, 1.4, 1.5, 1.6)
    old, new = ([row("DR", "xdp", 1, "ns", 50, spread)] for spread in (STEADY, wide))
    assert slower(result(packet=old), result(packet=new)) == []


def test_fewer_requests_are_slower() -> None:
    found = slower(result(wire=wire(dr=900)), result(wire=wire(dr=600)))
    assert [line.partition(" then")[0].partition(": ")[2][:30] for line in found] == [
        "wire: new connection each · DR", "wire: keep-alive · DR, XDP: 0.",
    ]  # fmt: skip
    assert slower(result(wire=wire(dr=600)), result(wire=wire(dr=900))) == []


def test_a_slower_machine_is_not_a_slower_table() -> None:
    """Its ratios are to what was measured with as many connections."""
    names = {"parse and swap MACs": 4, "hit": 50}
    old, new = ([row(n, "table", 1000, "ns", v * speed) for n, v in names.items()] for speed in (1, 2))
    assert slower(result(table=old), result(table=new)) == []
    assert len(slower(result(table=old), result(table=[old[0], new[1]]))) == 1


def test_more_memory_is_worse() -> None:
    old, new = ([row("memory a connection, IPv4", "table", 1, "bytes", value, (1,))] for value in (81, 120))
    assert "1.48 times" in slower(result(table=old), result(table=new))[0]


def test_a_result_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    save(file, whole())
    assert load(file) == whole()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"suites": 1}', '{"suites": {"packet": {"rows": [{}]}}}'])
def test_a_file_without_a_result_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "old.json"
    file.write_text(text)
    with pytest.raises(PylvsError, match=r"old\.json: .*give a file written by") as error:
        load(file)
    assert "\n" not in str(error.value)


def test_one_suite_measured_again_leaves_the_others() -> None:
    new = merged(whole(), result(wire=wire(dr=1)), ["packet", "wire", "table", "control"])
    assert list(new["suites"]) == ["packet", "wire", "table", "control"]
    assert new["suites"]["wire"]["rows"] == wire(dr=1)
    assert new["suites"]["packet"]["rows"] == packet()


def test_the_page_has_every_row_target_and_machine() -> None:
    page = markdown(whole(), {"packet": ["packet-paths.svg"]}, "What remains.\n")
    assert page.count("abc1234") == 5
    assert "6.18" in page
    assert "What remains." in page
    assert "](benchmarks/packet-paths.svg)" in page
    for name, suite in whole()["suites"].items():
        for one in suite["rows"] if name != "parts" else ():
            assert f"| {one['name']} | {one['hook']} |" in page
    assert "| established DR, 1,000 flows | ≤ 8 × parse and swap MACs | 7.5 (7.5 to 7.5) | 7 | held |" in page


def test_the_page_has_a_line_for_each_case_and_a_column_for_each_part() -> None:
    page = markdown(whole(), {})
    assert "| packets | waits at | flows | parsing | its connection | rewriting |" in page
    assert r"| DR | 30: `a.h:7 if (b \|\| c)` | 1,000 | 10 | 50 |  |" in page
    assert r"| TUN | 30: `a.h:7 if (b \|\| c)` | 1,000 | 10 | 50 | 15 |" in page


def test_the_page_says_what_is_not_held_and_how_far_it_is() -> None:
    page = markdown(result(packet=packet(dr=80)), {})
    assert "3 of 4 are held." in page
    assert "| 10 (10 to 10) | 7 | **not held** (1.25 times off) |" in page


def test_every_table_of_the_page_is_even() -> None:
    """As many cells in each line as in its head."""
    tables = re.findall(r"(?:^\|.*\n)+", markdown(whole(), {}), re.MULTILINE)
    assert len(tables) == 7
    for one in tables:
        assert len({line.count("|") - line.count(r"\|") for line in one.splitlines()}) == 1


def test_the_text_names_the_reference_of_each_row() -> None:
    shown = text(whole())
    assert re.search(r"DR +xdp +1,000 +60 \(59.4 to 60.6\) ns +7.5 \(7.5 to 7.5\) × parse and swap MACs", shown)
    assert re.search(r"DR, XDP +900 \(.*\) requests/s +0.9 \(0.9 to 0.9\) × direct", shown)


def test_only_the_numbers_of_the_readme_change() -> None:
    readme = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = numbers(readme, whole())
    assert new.startswith(f"before\n{BEGIN}\n")
    assert new.endswith(f"{END}\nafter\n")
    assert "old" not in new
    assert "| established DR, 1,000 flows |" in new
    assert numbers(new, whole()) == new


def test_the_report_is_made_of_the_data_beside_it(tmp_path: Path) -> None:
    """Plots of an older run go, the notes stay; the same data give the same files."""
    directory = tmp_path / "docs" / "benchmarks"
    directory.mkdir(parents=True)
    save(directory / "data.json", whole())
    (directory / "old.svg").write_text("old")
    (directory / "notes.md").write_text("What remains.\n")
    write(tmp_path / "docs")
    first = {path: path.read_text() for path in (tmp_path / "docs").rglob("*.*")}
    assert directory / "old.svg" not in first
    assert {path.name for path in first if path.suffix == ".svg"} == set().union(*pictures(whole()).values())
    for name in re.findall(r"\]\((benchmarks/[^)]*)\)", first[tmp_path / "docs" / "benchmarks.md"]):
        assert (tmp_path / "docs" / name).exists()
    write(tmp_path / "docs")
    assert {path: path.read_text() for path in first} == first


def test_plots_are_well_formed_and_readable_on_dark() -> None:
    """Every colour of the light style has another one in the dark style."""
    drawn = {name: svg for plots in pictures(whole()).values() for name, svg in plots.items()}
    assert {"packet-paths.svg", "packet-flows.svg", "wire-requests.svg", "table-growth.svg", "control.svg"} <= set(
        drawn
    )
    for svg in drawn.values():
        root = Xml.fromstring(svg)
        assert root.attrib["viewBox"].startswith("0 0 ")
        light, _, dark = svg.partition("@media (prefers-color-scheme: dark)")
        coloured = set(re.findall(r"(\.?\w+) \{ (?:fill|stroke): #", light))
        assert coloured == set(re.findall(r"(\.?\w+) \{ (?:fill|stroke): #", dark))


def inside(svg: str) -> bool:
    """Whether every text and shape begins in the picture."""
    root = Xml.fromstring(svg)
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    places = [
        (float(part.attrib["x"]), float(part.attrib["y"])) for part in root.iter() if {"x", "y"} <= set(part.attrib)
    ]
    return all(0 <= x <= width and 0 <= y <= height for x, y in places)


@pytest.mark.parametrize("highest", [0.003, 1, 7.3, 99, 1000, 1.2e7])
def test_bars_fit_whatever_their_size(highest: float) -> None:
    figures = [Figure(highest / 2, highest / 3, highest), None]
    assert inside(bars("title", "ns", ["<a>", "b"], [Series("one", figures)], [Mark("mark", highest / 2)]))


@pytest.mark.parametrize("logarithmic", [False, True])
def test_lines_fit_and_leave_out_what_was_not_measured(logarithmic: bool) -> None:
    series = [Series("one", [Figure(5, 4, 6), None, Figure(500, 400, 600)])]
    svg = lines("title", "ns", "flows", [1, 1000, 10_000_000], series, logarithmic)
    assert inside(svg)
    assert svg.count("<circle") == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.051, "0.051"), (7.25, "7.25"), (999.9, "1k"), (1500, "1.5k"), (12_345_678, "12.3M")],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert short(value) == shown


def test_an_unknown_suite_and_a_missing_result_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(PylvsError, match=r"no benchmark 'pakcet'; accepted: packet, parts, wire, table, control"):
        command.run(["pakcet"])
    with pytest.raises(PylvsError, match="give a file written by"):
        command.run(["control", "--compare", str(tmp_path / "none.json")])


def test_suites_that_are_finished_are_kept_when_a_later_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that only that one has to be run again."""

    def suite(name: str, *_: object) -> dict[str, Any]:
        if name == "wire":
            raise PylvsError("bench: no wrk")
        return dict(whole()["suites"][name])

    monkeypatch.setattr(command, "_suite", suite)
    with pytest.raises(PylvsError, match="no wrk"):
        command.run(["packet", "wire", "--write", str(tmp_path)])
    kept = json.loads((tmp_path / "benchmarks" / "data.json").read_text())
    assert list(kept["suites"]) == ["packet"]
    assert "not for us" in (tmp_path / "benchmarks.md").read_text()


def test_comparing_ends_with_status_1_where_something_got_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_suite", lambda *_: result(packet=packet(dr=90))["suites"]["packet"])
    for dr, status in ((60, 1), (90, 0)):
        save(tmp_path / "old.json", result(packet=packet(dr=dr)))
        assert command.run(["packet", "--compare", str(tmp_path / "old.json")]) == status
        said = "".join(capsys.readouterr())
        assert ("slower: packet: DR" in said) is bool(status)


def test_cpu_time_beyond_direct_is_a_difference_within_each_round() -> None:
    """In the order of the ways, whichever came first in the round."""
    cpu = "keep-alive, CPU a million requests"
    samples: Samples = {(cpu, "DR", "s"): [30.0, 50.0], (cpu, "direct", "s"): [20.0, 45.0]}
    rows = {(row["name"], row["hook"]): row["samples"] for row in data(samples, ["direct", "DR"])}
    assert list(rows) == [(cpu, "direct"), (cpu, "DR"), (f"{cpu}, beyond direct", "DR")]
    assert rows[f"{cpu}, beyond direct", "DR"] == [10, 5]
