# SPDX-License-Identifier: GPL-2.0-or-later
"""What several rounds of one measurement say."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Figure(NamedTuple):
    """Median of the rounds, and the lowest and the highest of them but for one at each end."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Figure:
        ordered = sorted(samples)
        inner = ordered[1:-1] if len(ordered) > 4 else ordered
        return cls(median(ordered), inner[0], inner[-1])

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def ratio(samples: Sequence[float], references: Sequence[float]) -> Figure:
    """The ratio within each round."""
    return Figure.of([sample / reference for sample, reference in zip(samples, references, strict=True)])
