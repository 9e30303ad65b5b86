# SPDX-License-Identifier: GPL-2.0-or-later
"""Which plots are drawn of a result: file name → SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pylvs.bench.plots import Mark, Series, bars, lines
from pylvs.bench.result import Key, Result, Samples, samples_of
from pylvs.bench.stats import Figure, ratio
from pylvs.bench.targets import INSERT, MILLION

Drawn = Iterator[tuple[str, str]]
Rows = Sequence[Mapping[str, Any]]


def pictures(result: Result) -> dict[str, dict[str, str]]:
    """The plots of each suite, by title of the file: {"packet": {"packet-paths.svg": "<svg …"}}."""
    return {name: dict(DRAWERS[name](suite["rows"])) for name, suite in result["suites"].items() if name in DRAWERS}


def _figure(samples: Samples, key: Key) -> Figure | None:
    return Figure.of(samples[key]) if samples.get(key) else None


def _names(rows: Rows, keep: Callable[[Mapping[str, Any]], bool]) -> list[str]:
    """Names of the rows that are kept, each once, in their order."""
    return list(dict.fromkeys(row["name"] for row in rows if keep(row)))


def _packet(rows: Rows) -> Drawn:
    samples = samples_of(rows)
    if paths := _names(rows, lambda row: row["hook"] == "xdp" and _is_path(row["name"])):
        series = [
            Series(f"{count:,} flows", [_figure(samples, (name, "xdp", count)) for name in paths])
            for count in (1_000, MILLION)
        ]
        yield "packet-paths.svg", bars("A packet of a known connection, XDP", "ns", paths, series)
    yield from _flows(rows, samples)
    yield from _new(rows, samples)


def _is_path(name: str) -> bool:
    references = ("parse and swap MACs", "adjust_head, twice", "one cache line", "DR, in the rounds of ten million")
    return not name.startswith(("new, ", "SYN flood", "insert in")) and name not in references


def _flows(rows: Rows, samples: Samples) -> Drawn:
    names = ("DR", "kernel lru map hit", "kernel hash map hit", "one cache line")
    counts = sorted({row["count"] for row in rows if row["name"] == "DR" and row["hook"] == "xdp"})
    if len(counts) > 1:
        series = [Series(name, [_figure(samples, (name, "xdp", count)) for count in counts]) for name in names]
        shown = [one for one in series if any(one.figures)]
        yield "packet-flows.svg", lines("DR beside one hit in a map", "ns", "flows, in random order", counts, shown)


def _new(rows: Rows, samples: Samples) -> Drawn:
    names = _names(rows, lambda row: row["name"].startswith("new, ") and row["hook"] == "xdp")
    counts = sorted({row["count"] for row in rows if row["name"] in names})
    if not names:
        return
    series = [
        Series(f"{count:,} destinations", [_figure(samples, (name, "xdp", count)) for name in names])
        for count in counts
    ]
    full = _figure(samples, INSERT)
    marks = [Mark(INSERT[0], full.median)] if full else []
    groups = [name.removeprefix("new, ") for name in names]
    yield "packet-new.svg", bars("The first packet of a connection, XDP", "ns", groups, series, marks)


def _wire(rows: Rows) -> Drawn:
    samples = samples_of(rows)
    scenarios = list(dict.fromkeys(row["hook"] for row in rows))
    loads = {
        "wire-requests.svg": ("Requests a second, beside direct", ("new connection each", "keep-alive")),
        "wire-download.svg": ("Download, beside direct", ("download",)),
        "wire-cpu.svg": (
            "CPU time for a request, beside direct",
            ("new connection each, CPU a million requests", "keep-alive, CPU a million requests"),
        ),
    }
    for file, (title, names) in loads.items():
        series = [
            Series(name.partition(", CPU")[0], [_beside(samples, name, scenario) for scenario in scenarios])
            for name in names
            if (name, "direct", 0) in samples
        ]
        if series:
            yield file, bars(title, "× direct", scenarios, series)
    for load in ("new connection each", "keep-alive"):
        if (f"{load}, p50", "direct", 0) in samples:
            series = [_latency(samples, load, percentile, scenarios) for percentile in ("p50", "p99")]
            yield f"wire-latency-{load.split()[0].split('-')[0]}.svg", bars(f"Latency, {load}", "ms", scenarios, series)


def _latency(samples: Samples, load: str, percentile: str, scenarios: Sequence[str]) -> Series:
    return Series(percentile, [_figure(samples, (f"{load}, {percentile}", scenario, 0)) for scenario in scenarios])


def _beside(samples: Samples, name: str, scenario: str) -> Figure | None:
    key, direct = (name, scenario, 0), (name, "direct", 0)
    return ratio(samples[key], samples[direct]) if key in samples else None


def _table(rows: Rows) -> Drawn:
    samples = samples_of(rows)
    grown = _names(rows, lambda row: row["name"].partition(",")[0] in ("hit", "insert"))
    counts = sorted({row["count"] for row in rows if row["name"] in grown})
    if len(counts) > 1:
        series = [
            Series(name.partition(",")[0], [_figure(samples, (name, "table", count)) for count in counts])
            for name in grown
        ]
        yield "table-growth.svg", lines("As the table fills", "ns", "connections", counts, series)
    waits = [row for row in rows if row["name"].startswith("1 packet in 1,000 waits: ")]
    if waits:
        groups = [row["name"].partition(": ")[2] for row in waits]
        series = [Series("1 packet in 1,000 waits at least", [Figure.of(row["samples"]) for row in waits])]
        yield "table-waits.svg", bars("What the sweep does to 1 packet in 1,000", "µs", groups, series)


def _control(rows: Rows) -> Drawn:
    samples = samples_of(rows)
    counts = sorted({row["count"] for row in rows if row["name"] == "restore"})
    names = _names(rows, lambda row: row["count"] in counts)
    if len(counts) > 1:
        series = [Series(name, [_figure(samples, (name, "command", count)) for count in counts]) for name in names]
        yield (
            "control.svg",
            lines(
                "pylvsadm, from its start to its end",
                "ms",
                "virtual services of ten destinations",
                counts,
                series,
                True,
            ),
        )


DRAWERS: Mapping[str, Callable[[Rows], Drawn]] = {
    "packet": _packet,
    "wire": _wire,
    "table": _table,
    "control": _control,
}
