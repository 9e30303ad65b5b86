# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/benchmarks.md, its plots and README's numbers, made of the data of a run; and that data as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pylvs.bench.pictures import pictures
from pylvs.bench.references import beside, reference_name
from pylvs.bench.result import Result, load, samples_of
from pylvs.bench.stats import Figure
from pylvs.bench.targets import TARGETS, Verdict, verdicts

BEGIN, END = "<!-- numbers: written by `make bench` -->", "<!-- numbers end -->"
HEAD = """\
# Benchmarks

`make bench` measures all of this in less than ten minutes and writes this page, its plots and
[benchmarks/data.json](benchmarks/data.json), which has every sample; `pylvs bench report` writes the page again from
that. `make bench BENCH="packet"` measures one suite again, `make bench BENCH="--compare OLD.json"` says what got slower
than in an older data.json by more than the noise.

A figure is the median of its rounds, and in brackets the lowest and the highest of them, without one at each end.
References are measured in the same rounds, in turns with what they are beside, and ratios are taken within each round:
they can be compared between machines, the plain figures cannot.
"""
ABOUT = {
    "packet": """\
Test runs of the attached programs (`BPF_PROG_TEST_RUN`) by a generator that draws a flow at random for each packet; the
time of the generator with an empty program is subtracted. All of IPVS's bookkeeping is on. *Parse and swap MACs* is the
floor of any balancer, *one cache line* that of any connection table. New connections start from an empty table that is
not in the caches; the number beside them is that of the service's destinations. The generator has to undo
what a tunnel did: TUN is less half of *adjust_head, twice*.""",
    "parts": """\
The same test runs at XDP, sampled 20,000 times a second (`perf_event_open`); each sample is attributed to its line of C
by the line table that the kernel keeps of the machine code. Per cent of the time within the director's programs: what
the kernel's helpers take is not in it. *Waits at* is the one line with the most samples, which are in its part too.""",
    "wire": """\
A client, a director and two real servers (nginx), each in a network namespace, on one bridge; `wrk` with 64 connections
at a time (4 for the download), for one second a round in each scenario. All run on the same CPUs, so that what a
director takes is missing elsewhere, as the ratio to *direct*, where the client asks the real servers themselves, shows.
Replies pass the director with NAT, nftables, HAProxy and nginx, but not with DR. CPU is that of the whole machine.""",
    "table": """\
*Hit* and *insert* are whole packets, SYN or ACK, of a table that fills up. Waits are gaps seen by a program that holds
the CPU on which the sweep runs: a packet that comes at any time waits so long before it is looked at.""",
    "control": """\
The command from its start to its end, as a shell sees it, each virtual service with ten destinations.
*Clear and restore* is `-C` and then `-R`, as a swap of the whole table needs them.""",
}


def write(directory: Path) -> None:
    """Everything that is made of FOLDER/benchmarks/data.json and FOLDER/benchmarks/notes.md, and README's numbers."""
    place = directory / "benchmarks"
    result, notes = load(place / "data.json"), place / "notes.md"
    drawn = pictures(result)
    for old in place.glob("*.svg"):
        old.unlink()
    for plots in drawn.values():
        for name, svg in plots.items():
            (place / name).write_text(svg)
    text = markdown(result, {suite: list(plots) for suite, plots in drawn.items()}, _read(notes))
    (directory / "benchmarks.md").write_text(text)
    readme = directory.parent / "README.md"
    if BEGIN in (before := _read(readme)) and END in before:
        readme.write_text(numbers(before, result))


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def markdown(result: Result, plots: Mapping[str, Sequence[str]], notes: str = "") -> str:
    """The page."""
    parts = [HEAD, "\n".join(_machines(result)) + "\n", "## Targets\n", "\n".join(_targets(result)) + "\n"]
    if notes:
        parts.append(notes)
    for name, suite in result["suites"].items():
        parts += [f"## {name.capitalize()}\n", ABOUT[name] + "\n"]
        parts += [f"![{_title(plot)}](benchmarks/{plot})\n" for plot in plots.get(name, ())]
        shown = _parts(suite["rows"]) if name == "parts" else _rows(name, suite["rows"])
        parts.append("\n".join(shown) + "\n")
    return "\n".join(parts)


def _title(plot: str) -> str:
    return plot.removesuffix(".svg").replace("-", ": ", 1).replace("-", " ")


def _table(head: Sequence[str], lines: Sequence[Sequence[str]], right: int) -> Iterator[str]:
    """A table whose last `right` columns are numbers."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * (len(head) - right) + "---:|" * right
    for line in lines:
        yield "| " + " | ".join(line) + " |"


def _machines(result: Result) -> Iterator[str]:
    """Where and when each suite was measured; in one line if all were on the same machine, kernel, clang and commit."""
    suites = result["suites"]
    kept = ("cpu", "kernel", "clang", "commit")
    lines = [
        [name, suite["at"], f"{suite['seconds']} s", *(suite["machine"][key] for key in kept)]
        for name, suite in suites.items()
    ]
    yield from _table(["suite", "measured", "took", "machine", "Linux", "compiler", "commit"], lines, 0)


def judged(result: Result) -> list[Verdict]:
    """Every target for which there is data."""
    return [
        verdict
        for name, suite in result["suites"].items()
        for verdict in verdicts(samples_of(suite["rows"]), TARGETS.get(name, ()))
    ]


def _targets(result: Result) -> Iterator[str]:
    found = judged(result)
    held = sum(verdict.held for verdict in found)
    yield f"{held} of {len(found)} are held.\n"
    lines = [[v.target.path, str(v.target), str(v.figure), str(v.rounds), _strong(v)] for v in found]
    yield from _table(["path", "target", "measured", "rounds", ""], lines, 0)


def _strong(verdict: Verdict) -> str:
    return verdict.word if verdict.held else f"**{verdict.word}** ({verdict.distance:.2f} times off)"


def _rows(suite: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    samples = samples_of(rows)
    lines = []
    for row in rows:
        times = beside(suite, row, samples)
        count = f"{row['count']:,}" if row["count"] else ""
        figure = str(Figure.of(row["samples"]))
        within = f"{times} × {reference_name(suite, row)}" if times else ""
        lines.append([row["name"], row["hook"], count, row["unit"], figure, within, str(len(row["samples"]))])
    yield from _table(["what", WHERE[suite], COUNT[suite], "unit", "figure", "within the round", "rounds"], lines, 4)


def _parts(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each kind of packet, a column for each part."""
    kinds = list(dict.fromkeys((row["name"], row["count"]) for row in rows))
    parts = list(dict.fromkeys(row["hook"] for row in rows if "line" not in row))
    samples = samples_of(rows)
    waits = {(row["name"], row["count"]): row for row in rows if "line" in row}
    lines = []
    for name, count in kinds:
        shares = [samples.get((name, part, count), ()) for part in parts]
        wait = waits[name, count]
        place = wait["line"].replace("|", r"\|")
        lines.append([name, f"{_percent(wait['samples'])}: `{place}`", f"{count:,}", *map(_percent, shares)])
    yield from _table(["packets", "waits at", "flows", *parts], lines, 1 + len(parts))


def _percent(samples: Sequence[float]) -> str:
    return f"{Figure.of(samples).median:.0f}" if samples else ""


WHERE = {"packet": "hook", "wire": "scenario", "table": "of", "control": "by"}
COUNT = {"packet": "flows, destinations", "wire": "", "table": "entries", "control": "services, connections"}


def numbers(readme: str, result: Result) -> str:
    """README with the targets' table between its two marks."""
    before, _, rest = readme.partition(BEGIN)
    after = rest.partition(END)[2]
    lines = [
        [v.target.path, str(v.target), f"{v.figure.median:.3g}", "" if v.held else "not held"] for v in judged(result)
    ]
    table = "\n".join(_table(["path", "target", "measured", ""], lines, 0))
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def text(result: Result) -> str:
    """All rows and all targets, for a terminal."""
    lines = []
    for name, suite in result["suites"].items():
        lines += [
            f"{name}, {suite['at']}, {suite['seconds']} s",
            *(f"  {key}: {value}" for key, value in suite["machine"].items()),
        ]
        lines += [*_plain(name, suite["rows"]), ""]
    lines += ["targets"]
    lines += [f"  {v.target.path:52} {v.target!s:44} {v.figure!s:24} {v.word}" for v in judged(result)]
    return "\n".join(lines)


def _plain(suite: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    samples = samples_of(rows)
    for row in rows:
        times = beside(suite, row, samples)
        count = f"{row['count']:,}" if row["count"] else ""
        figure = f"{Figure.of(row['samples'])} {row['unit']}"
        yield f"  {row['name']:44} {row['hook']:14} {count:>11}  {figure:36} " + (
            f"{times} × {reference_name(suite, row)}" if times else ""
        )
