# SPDX-License-Identifier: GPL-2.0-or-later
"""An attack is a generator of what it found, a line each. It asks its `Run` for rounds until the time is up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

MOST = 20  # findings of one attack: more of them say no more
SEED = 1  # of the short forms, which are the same each time

Case = TypeVar("Case")


@dataclass
class Run:
    """One run of one attack: `seconds` of time, or `limit` rounds, or the one round `only`. `short`: as part of `make
    test`, where what is done must not depend on how fast the machine is."""

    name: str
    seed: int
    seconds: float
    only: int | None = None
    short: bool = False
    limit: int = 1 << 30
    most: int = MOST
    say: Callable[[str], None] = lambda _: None
    rounds_done: int = 0
    begin: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until the time is up."""
        return self.begin + self.seconds - time.monotonic()

    def random(self, number: int) -> Random:
        """Of one round: the same in every run with this seed."""
        return Random(f"{self.seed}/{self.name}/{number}")

    def rounds(self, most: int = 1 << 30) -> Iterator[tuple[int, Random]]:
        """Number and random numbers of each round."""
        for number in range(min(most, self.limit)) if self.only is None else (self.only,):
            if self.left <= 0 and self.only is None:
                return
            yield number, self.random(number)
            self.rounds_done += 1

    def cases(self, cases: Sequence[Case]) -> Iterator[tuple[int, Case, Random]]:
        """Each of a list of cases once, in an order that the seed decides; as many as there is time for."""
        order = list(range(len(cases)))
        self.random(-1).shuffle(order)
        for place, random in self.rounds(len(cases)):
            number = order[place] if self.only is None else place
            yield number, cases[number], random

    def replay(self, number: int) -> str:
        """What to run to see a round's finding again."""
        return f'make attack ATTACK="--seed {self.seed} --only {self.name} --round {number}"'


Found = Iterator[tuple[int, str]]  # the number of the round, and what was found


@dataclass(frozen=True)
class Attack:
    """`seconds`: in `make attack`."""

    name: str
    about: str
    seconds: float
    run: Callable[[Run], Found]
    short: int = 1  # rounds in `make test`


def lines(attack: Attack, run: Run) -> Iterator[str]:
    """What an attack finds, as lines that say how to see it again. What differs only in its example, which is in
    brackets at the end, is said once."""
    seen: set[str] = set()
    for number, text in attack.run(run):
        if (what := text.partition(" (e.g. ")[0]) in seen:
            continue
        seen.add(what)
        yield f"{attack.name}: {text} · {run.replay(number)}"
        if len(seen) >= run.most:
            return


def findings(attack: Attack) -> list[str]:
    """The short form, for a test: it expects nothing."""
    return list(lines(attack, Run(attack.name, SEED, math.inf, short=True, limit=attack.short)))
