# SPDX-License-Identifier: GPL-2.0-or-later
"""How long something else holds a CPU: the gaps that a program sees which does nothing but look at the clock."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import NamedTuple

NOTICED = 2_000  # ns; shorter gaps are the looking itself


class Stalls(NamedTuple):
    """Gaps in ns, and the time during which they were looked for."""

    gaps: list[int]
    duration: int

    @property
    def share(self) -> float:
        """The share of the time in which the CPU was taken away."""
        return sum(self.gaps) / self.duration

    @property
    def longest(self) -> int:
        return max(self.gaps, default=0)

    def wait(self, share: float) -> float:
        """How long, in ns, this share of packets waits at least, arriving at any time alike."""
        return waiting(self.gaps, self.duration, share)


def waiting(gaps: Sequence[int], duration: int, share: float) -> float:
    """Who arrives in a gap waits for its end; so for a time x, `sum(gap - x)` of the duration waits longer."""
    low, high = 0.0, float(max(gaps, default=0))
    for _ in range(40):
        middle = (low + high) / 2
        if sum(gap - middle for gap in gaps if gap > middle) > share * duration:
            low = middle
        else:
            high = middle
    return high


def look(seconds: float) -> Stalls:
    """Hold this CPU and note when it was taken away."""
    gaps: list[int] = []
    clock = time.perf_counter_ns
    gc.disable()
    try:
        begin = last = clock()
        end = begin + int(seconds * 1e9)
        while last < end:
            now = clock()
            if now - last > NOTICED:
                gaps.append(now - last)
            last = now
    finally:
        gc.enable()
    return Stalls(gaps, last - begin)
