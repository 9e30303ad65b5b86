# SPDX-License-Identifier: GPL-2.0-or-later
"""What got slower between two results, on whatever machines: ratios to what is taken to be as fast as ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pylvs.bench.result import Key, Result, Samples, key_of, samples_of
from pylvs.bench.stats import Figure, ratio

YARDSTICKS: Mapping[str, Key] = {
    "packet": ("kernel hash map hit", "xdp", 1),
    "control": ("python -c pass", "command", 0),
}
NOISE = 1.1
MORE_IS_BETTER = ("requests/s", "MB/s")
NOT_SPEED = ("%", "s more")  # shares and differences have no yardstick


def slower(old: Result, new: Result) -> list[str]:
    """A line for each figure that is worse in the whole of its spread, and by more than a tenth."""
    lines: list[str] = []
    for name in new["suites"]:
        if name in old["suites"]:
            lines += _suite(name, old["suites"][name]["rows"], new["suites"][name]["rows"])
    return lines


def compared(old: Result, new: Result) -> int:
    """How many figures both results have."""
    return sum(
        len(samples_of(suite["rows"]).keys() & samples_of(old["suites"].get(name, {"rows": []})["rows"]).keys())
        for name, suite in new["suites"].items()
    )


def _suite(suite: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    before, after = samples_of(old), samples_of(new)
    for row in new:
        key, unit = key_of(row), str(row["unit"])
        if key not in before or unit in NOT_SPEED or key == _measure_of(suite, key):
            continue
        beside = _yardstick(suite, key, unit, before, after)
        was, now = _figure(key, beside, before), _figure(key, beside, after)
        times = _worse(was, now, unit in MORE_IS_BETTER)
        if times > NOISE:
            place = " · ".join(str(part) for part in key if part)
            yield f"slower: {suite}: {place}: {was} then, {now} now ({_meaning(beside, unit)}), {times:.2f} times"


def _worse(was: Figure, now: Figure, more: bool) -> float:
    """How many times worse; 0 if the spreads touch."""
    if more:
        return was.median / now.median if now.high < was.low else 0.0
    return now.median / was.median if now.low > was.high and was.median else 0.0


def _measure_of(suite: str, key: Key) -> Key | None:
    if suite == "table":  # in the same rounds
        return ("parse and swap MACs", "table", key[2])
    return (key[0], "direct", 0) if suite == "wire" else YARDSTICKS.get(suite)


def _yardstick(suite: str, key: Key, unit: str, before: Samples, after: Samples) -> Key | None:
    """What the row is a ratio to, if both results have it in as many rounds as the row."""
    beside = _measure_of(suite, key)
    if beside is None or (suite == "table" and unit != "ns"):
        return None
    return beside if all(len(samples.get(beside, ())) == len(samples[key]) for samples in (before, after)) else None


def _figure(key: Key, beside: Key | None, samples: Samples) -> Figure:
    return ratio(samples[key], samples[beside]) if beside else Figure.of(samples[key])


def _meaning(beside: Key | None, unit: str) -> str:
    return f"times {' · '.join(str(part) for part in beside if part)}" if beside else unit
