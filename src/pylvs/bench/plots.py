# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures as SVG by hand: bars and lines, readable on light and on dark, text as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from pylvs.bench.stats import Figure

WIDTH = 760
LEFT, RIGHT, TOP = 190, 70, 72  # bars: names on the left, values on the right
PLOT = (64, 24, 300)  # lines: left and right margin, height
BAR, GAP = 13, 12

# Colours that differ in lightness too, for those who see fewer hues and for print.
STYLE = """<style>
svg { font: 12px system-ui, "DejaVu Sans", sans-serif }
.paper { fill: #ffffff } text { fill: #24292f } .quiet { fill: #57606a } .title { font-size: 15px; font-weight: 600 }
.grid { stroke: #d0d7de } .spread { stroke: #24292f; stroke-opacity: .75 }
.mark { stroke: #24292f; stroke-dasharray: 4 3 }
.f0 { fill: #0969da } .f1 { fill: #bc4c00 } .f2 { fill: #1a7f37 } .f3 { fill: #8250df } .f4 { fill: #6e7781 }
.s0 { stroke: #0969da } .s1 { stroke: #bc4c00 } .s2 { stroke: #1a7f37 } .s3 { stroke: #8250df } .s4 { stroke: #6e7781 }
.line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
.paper { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 }
.grid { stroke: #30363d } .spread { stroke: #e6edf3 } .mark { stroke: #e6edf3 }
.f0 { fill: #4493f8 } .f1 { fill: #f0883e } .f2 { fill: #3fb950 } .f3 { fill: #ab7df8 } .f4 { fill: #9198a1 }
.s0 { stroke: #4493f8 } .s1 { stroke: #f0883e } .s2 { stroke: #3fb950 } .s3 { stroke: #ab7df8 } .s4 { stroke: #9198a1 }
}
</style>"""


class Series(NamedTuple):
    """A name in the legend, and a figure for each group (bars) or each x (lines); None where nothing was measured."""

    name: str
    figures: Sequence[Figure | None]


class Mark(NamedTuple):
    """A value to compare with: a line across the bars."""

    name: str
    value: float


def bars(title: str, unit: str, groups: Sequence[str], series: Sequence[Series], marks: Sequence[Mark] = ()) -> str:
    """Horizontal bars in groups, from zero, with the spread as a thin line."""
    highest = max(figure.high for one in series for figure in one.figures if figure)
    scale = (WIDTH - LEFT - RIGHT) / _ticks(max([highest, *(mark.value for mark in marks)]))[-1]
    body, y = [], float(TOP)
    for number, group in enumerate(groups):
        there = [(place, figure) for place, one in enumerate(series) if (figure := one.figures[number])]
        body.append(_text(LEFT - 8, y + GAP + len(there) * BAR / 2 + 4, group, "end"))
        for line, (place, figure) in enumerate(there):
            body += _bar(figure, scale, y + GAP + line * BAR, place)
        y += len(there) * BAR + GAP
    bottom = y + GAP / 2
    body = [*_bar_grid(scale, bottom, unit), *body]
    body += [_mark(mark, LEFT + mark.value * scale, bottom) for mark in marks]
    return _svg(title, _legend(series) if len(series) > 1 else [], body, bottom + 26)


def _bar_grid(scale: float, bottom: float, unit: str) -> Iterator[str]:
    for tick in _ticks((WIDTH - LEFT - RIGHT) / scale):
        x = LEFT + tick * scale
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom:.1f}"/>'
        yield _text(x, bottom + 16, short(tick), "middle", "quiet")
    yield _text(LEFT - 8, bottom + 16, unit, "end", "quiet")


def _bar(figure: Figure, scale: float, y: float, place: int) -> list[str]:
    middle = y + BAR / 2
    low, high, end = (LEFT + value * scale for value in (figure.low, figure.high, figure.median))
    return [
        f'<rect class="f{place}" x="{LEFT}" y="{y + 1:.1f}" width="{figure.median * scale:.1f}" height="{BAR - 2}"/>',
        f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>',
        _text(max(high, end) + 5, middle + 4, short(figure.median), "start", "quiet"),
    ]


def _mark(mark: Mark, x: float, bottom: float) -> str:
    line = f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{bottom:.1f}"/>'
    return line + _text(x + 3, TOP - 10, mark.name, "middle" if x < WIDTH * 3 / 4 else "end", "quiet")


class Axis(NamedTuple):
    """From a value to a place; logarithmic from `low` (at least) to `high`, or linear from zero."""

    begin: float
    end: float
    low: float
    high: float
    logarithmic: bool = True

    def at(self, value: float) -> float:
        if self.logarithmic:
            value, low, high = (math.log(number) for number in (value, self.low, self.high))
        else:
            low, high = 0.0, self.high
        return self.begin + (self.end - self.begin) * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        return _decades(self.low, self.high) if self.logarithmic else _ticks(self.high)


def lines(
    title: str, unit: str, across: str, places: Sequence[float], series: Sequence[Series], logarithmic: bool = False
) -> str:
    """Lines over a logarithmic x, with the spread as an upright line at each point."""
    left, right, height = PLOT
    figures = [figure for one in series for figure in one.figures if figure]
    low, high = min(figure.low for figure in figures), max(figure.high for figure in figures)
    if logarithmic:
        low, high = 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
    else:
        high = _ticks(high)[-1]
    bottom = TOP + height
    x, y = Axis(left, WIDTH - right, min(places), max(places)), Axis(bottom, TOP, low, high, logarithmic)
    body = list(_grid(x, y, bottom, across))
    for number, one in enumerate(series):
        body += _line(x, y, places, one, number)
    return _svg(f"{title}, {unit}", _legend(series), body, bottom + 42)


def _grid(x: Axis, y: Axis, bottom: float, across: str) -> Iterator[str]:
    for tick in y.ticks():
        at = y.at(tick)
        yield f'<line class="grid" x1="{x.begin}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield _text(x.begin - 6, at + 4, short(tick), "end", "quiet")
    for tick in x.ticks():
        yield _text(x.at(tick), bottom + 16, short(tick), "middle", "quiet")
    yield _text((x.begin + x.end) / 2, bottom + 34, across, "middle", "quiet")


def _line(x: Axis, y: Axis, places: Sequence[float], one: Series, number: int) -> Iterator[str]:
    points = [(x.at(place), figure) for place, figure in zip(places, one.figures, strict=True) if figure]
    path = " ".join(f"{at:.1f},{y.at(figure.median):.1f}" for at, figure in points)
    yield f'<polyline class="line s{number % 5}" points="{path}"/>'
    for at, figure in points:
        low, middle, high = (y.at(value) for value in (figure.low, figure.median, figure.high))
        yield f'<line class="s{number % 5}" x1="{at:.1f}" x2="{at:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        yield f'<circle class="f{number % 5}" cx="{at:.1f}" cy="{middle:.1f}" r="3.5"/>'


def _legend(series: Sequence[Series]) -> list[str]:
    x, parts = 16.0, []
    for number, one in enumerate(series):
        parts.append(f'<rect class="f{number % 5}" x="{x:.0f}" y="32" width="11" height="11"/>')
        parts.append(_text(x + 16, 42, one.name))
        x += 34 + 6.6 * len(one.name)
    return parts


def _svg(title: str, legend: Iterable[str], body: Iterable[str], height: float) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" role="img"><title>{escape(title)}</title>'
    )
    paper = '<rect class="paper" width="100%" height="100%"/>'
    return "\n".join([head, STYLE, paper, _text(16, 21, title, kind="title"), *legend, *body, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text{shown} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks(high: float) -> list[float]:
    """From zero to at least `high`, by 1, 2 or 5 of some power of ten, at most seven."""
    if high <= 0:
        return [0.0, 1.0]
    power = 10 ** math.floor(math.log10(high))
    step = next(step for step in (power / 5, power / 2, power, 2 * power) if high / step <= 6)
    return [step * number for number in range(math.ceil(high / step - 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [float(10**power) for power in range(first, last + 1)]


def short(value: float) -> str:
    """Three digits, with k and M for thousands and millions."""
    for limit, sign in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit * 0.9995:
            return f"{float(f'{value / limit:.3g}'):g}{sign}"
    return f"{float(f'{value:.3g}'):g}"
