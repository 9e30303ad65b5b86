# SPDX-License-Identifier: GPL-2.0-or-later
"""What was to be reached, as ratios within one run, and what was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pylvs.bench.stats import Figure, ratio

Samples = Mapping[tuple[str, str, int], Sequence[float]]  # by name, hook and number of flows or destinations
MILLION = 1_000_000


class Target(NamedTuple):
    """`path` is to cost at most (wire: at least) `limit` times what `reference` costs."""

    path: str
    reference: str
    limit: float
    row: tuple[str, str, int]
    beside: tuple[str, str, int]


class Verdict(NamedTuple):
    target: Target
    figure: Figure

    @property
    def reached(self) -> bool:
        return self.figure.median <= self.target.limit


SWAP = ("parse and swap MACs", "xdp", 1)
BESIDE = "DR, in the rounds of ten million"
INSERT = ("insert in a full LRU map", "xdp", 1)


def _lru(count: int) -> tuple[str, str, int]:
    return ("kernel lru map hit", "xdp", count)


def _dr(count: int) -> tuple[str, str, int]:
    return ("DR", "xdp", count)


PACKET = (
    Target("not for us", "parse and swap MACs", 3, ("not for us", "xdp", 1000), SWAP),
    Target("established DR, 1,000 flows", "parse and swap MACs", 8, _dr(1000), SWAP),
    Target("established DR, 1,000,000 flows", "a hit in a kernel LRU map", 0.7, _dr(MILLION), _lru(MILLION)),
    *(
        Target(f"{name}, {count:,} flows", "DR", 1.3, (name, "xdp", count), _dr(count))
        for name in ("NAT in", "NAT back", "NAT back, 64 flows a client", "TUN")
        for count in (1000, MILLION)
    ),
    *(
        Target(f"new connection, {name}", "an insert in a full LRU map", 0.75, (f"new, {name}", "xdp", 10), INSERT)
        for name in ("rr", "wrr", "mh", "sh")
    ),
    *(
        Target(
            f"new connection, {name}, 100 destinations", "rr", 3, (f"new, {name}", "xdp", 100), ("new, rr", "xdp", 100)
        )
        for name in ("lc", "wlc")
    ),
    Target("established DR, 10,000,000 flows", "1,000,000 flows", 1.5, _dr(10 * MILLION), (BESIDE, "xdp", MILLION)),
)


def verdicts(samples: Samples, targets: Sequence[Target] = PACKET) -> list[Verdict]:
    """Every target whose rows were measured."""
    measured = (target for target in targets if target.row in samples and target.beside in samples)
    return [Verdict(target, ratio(samples[target.row], samples[target.beside])) for target in measured]


def by_key(rows: Sequence[Mapping[str, Any]]) -> Samples:
    """Samples of rows as they are in a result file."""
    return {(row["name"], row["hook"], row["count"]): row["samples"] for row in rows}
