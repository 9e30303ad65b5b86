# SPDX-License-Identifier: GPL-2.0-or-later
"""What was to be reached, as ratios within one run, and what was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pylvs.bench.result import Key, Samples
from pylvs.bench.stats import Figure, ratio

MILLION = 1_000_000
PEERS = ("nftables DNAT", "HAProxy", "nginx stream")


class Target(NamedTuple):
    """`row` is to be at most (`least`: at least) `limit` times `beside`; without `beside`, `limit` itself."""

    path: str
    reference: str
    limit: float
    row: Key
    beside: Key | None
    least: bool = False

    def __str__(self) -> str:
        sign = "≥" if self.least else "≤"
        return f"{sign} {self.limit:g} × {self.reference}" if self.beside else f"{sign} {self.limit:g} {self.reference}"


class Verdict(NamedTuple):
    """A target and what came of it; `figure` is the ratio, or the value if nothing is beside it."""

    target: Target
    figure: Figure
    rounds: int

    @property
    def distance(self) -> float:
        """How many times too much (or too little) it is: at most 1 if the target is held."""
        part = self.figure.median / self.target.limit
        return 1 / part if self.target.least else part

    @property
    def held(self) -> bool:
        return self.distance <= 1

    @property
    def sure(self) -> bool:
        """All of the spread is on the same side of the limit."""
        return not self.figure.low <= self.target.limit <= self.figure.high or self.figure.low == self.figure.high

    @property
    def word(self) -> str:
        return ("held" if self.held else "not held") + ("" if self.sure else ", within the spread")


SWAP = ("parse and swap MACs", "xdp", 1)
BESIDE = "DR, in the rounds of ten million"
INSERT = ("insert in a full LRU map", "xdp", 1)
REQUESTS = "new connection each"
WIRED = f"wire, requests/s, {REQUESTS}"


def _lru(count: int) -> Key:
    return ("kernel lru map hit", "xdp", count)


def _dr(count: int) -> Key:
    return ("DR", "xdp", count)


def _wire(scenario: str) -> Key:
    return (REQUESTS, scenario, 0)


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

TABLE = tuple(
    Target(f"memory, 10,000,000 connections, {family}", "bytes each", 100,
           (f"memory a connection, {family}", "table", 10 * MILLION), None)
    for family in ("IPv4", "IPv6")
)  # fmt: skip

# On veth `pylvs attach` takes TC by itself; XDP is measured as what was asked for.
WIRE = (
    *(
        Target(f"{WIRED}, DR at {hook}", peer, limit, _wire(f"DR, {hook}"), _wire(peer), True)
        for hook in ("TC", "XDP")
        for peer, limit in (("direct", 0.8), *((peer, 1.3) for peer in PEERS))
    ),
    Target(f"{WIRED}, NAT at TC", PEERS[0], 1, _wire("NAT, TC"), _wire(PEERS[0]), True),
    Target("wire, download, NAT at TC", PEERS[0], 1, ("download", "NAT, TC", 0), ("download", PEERS[0], 0), True),
)  # fmt: skip

TARGETS: Mapping[str, Sequence[Target]] = {"packet": PACKET, "wire": WIRE, "table": TABLE}


def verdicts(samples: Samples, targets: Sequence[Target]) -> list[Verdict]:
    """Every target whose rows were measured."""
    found = []
    for target in targets:
        if target.row in samples and (target.beside is None or target.beside in samples):
            ours = samples[target.row]
            figure = ratio(ours, samples[target.beside]) if target.beside else Figure.of(ours)
            found.append(Verdict(target, figure, len(ours)))
    return found
