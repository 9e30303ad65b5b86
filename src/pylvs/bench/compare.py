# SPDX-License-Identifier: GPL-2.0-or-later
"""What got slower between two results, on whatever machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pylvs.bench.stats import Figure

YARDSTICK = ("kernel hash map hit", "xdp", 1)  # is taken to be as fast as ever: machines differ, and days
NOISE = 1.1


def slower(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each row whose rounds were all slower than the old ones', and by more than a tenth."""
    before, after = _figures(old), _figures(new)
    scale = 1.0
    if YARDSTICK in before and YARDSTICK in after:
        scale = after[YARDSTICK].median / before[YARDSTICK].median
    lines = []
    for key in before.keys() & after.keys():
        was, now = before[key], after[key]
        if now.low > was.high * scale and now.median > was.median * scale * NOISE:
            times = now.median / was.median / scale
            lines.append(f"slower: {' · '.join(map(str, key))}: {was} then, {now} now, {times:.2f} times")
    return sorted(lines)


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, int], Figure]:
    return {(row["name"], row["hook"], row["count"]): Figure.of(row["samples"]) for row in rows}
