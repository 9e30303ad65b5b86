# SPDX-License-Identifier: GPL-2.0-or-later
"""How long the commands take, from their start to their end, beside the start of Python itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from pylvs.bench.generator import Generator
from pylvs.bench.packet import ENTRIES, TO_VIP, service
from pylvs.bench.stage import Stage
from pylvs.host import command
from pylvs.model import ForwardingMethod

SIZES = (10, 1_000, 10_000)
DESTINATIONS = 10
MILLION = 1_000_000
SMALL = 1 << 16  # entries of a connection table that is not measured
ONE_MORE = ["-t", "10.0.0.0:80", "-r", "172.31.0.1:80"]


class Timed(NamedTuple):
    """A row: how long `action` took, in ms."""

    name: str
    services: int
    action: Callable[[], None]
    undo: Callable[[], None] = lambda: None


def rules(services: int) -> str:
    """What `pylvsadm -R` reads: so many virtual services of ten destinations each."""
    lines = []
    for number in range(services):
        vip = f"10.0.{number >> 8}.{number & 255}:80"
        lines.append(f"-A -t {vip} -s rr")
        lines += [f"-a -t {vip} -r 172.16.{number >> 8 & 255}.{i}:80 -g -w 1" for i in range(1, DESTINATIONS + 1)]
    return "\n".join(lines) + "\n"


def python(*options: str, stdin: str = "") -> Callable[[], None]:
    """This Python with these options, to be run."""

    def run() -> None:
        command.run([sys.executable, *options], stdin, patience=120, discard=True)

    return run


def pylvsadm(*options: str, stdin: str = "") -> Callable[[], None]:
    """`pylvsadm` with these options, to be run."""
    return python("-m", "pylvs.ipvsadm", *options, stdin=stdin)


def _start() -> Iterator[Timed]:
    yield Timed("python -c pass", 0, python("-c", "pass"))
    yield Timed("pylvsadm --version", 0, pylvsadm("--version"))


def _table(services: int) -> Iterator[Timed]:
    yield Timed("restore", services, pylvsadm("-R", stdin=rules(services)))
    yield Timed("list", services, pylvsadm("-Ln"))
    yield Timed("one more destination", services, pylvsadm("-a", *ONE_MORE), pylvsadm("-d", *ONE_MORE))
    yield Timed("clear", services, pylvsadm("-C"))


def _connections(stack: ExitStack) -> Stage:
    """A director with a million connections."""
    stage = stack.enter_context(Stage("listing", ENTRIES, [service(80, ForwardingMethod.DR)]))
    stage.join(Generator(SMALL))
    stage.establish(TO_VIP, MILLION, 6)
    return stage


def measure(say: Callable[[str], None], rounds: int, budget: float) -> list[dict[str, Any]]:
    """Every command once a round, until there were `rounds` or `budget` seconds are over."""
    deadline = time.monotonic() + budget
    samples: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as stack:
        say("a million connections")
        places = [(_connections(stack), [Timed("list connections", MILLION, pylvsadm("-Lnc"))])]
        empty = stack.enter_context(Stage("control", SMALL, []))
        places += [(empty, list(_start()))] + [(empty, list(_table(size))) for size in SIZES]
        took = 0.0
        for turn in range(rounds + 1):
            begin = time.monotonic()
            if turn > 3 and begin + took > deadline:
                break
            say(f"round {turn} of {rounds}")
            for stage, actions in places if turn else places[:-1]:
                _round(stage, actions, samples if turn else {})  # the first warms up, by all but the slowest
            took = time.monotonic() - begin
    for size in SIZES:
        both = zip(samples["clear", size], samples["restore", size], strict=True)
        samples["clear and restore", size] = [round(clear + restore, 2) for clear, restore in both]
    return [
        {"name": name, "hook": "command", "count": count, "unit": "ms", "samples": values}
        for (name, count), values in samples.items()
    ]


def _round(stage: Stage, actions: list[Timed], samples: dict[tuple[str, int], list[float]]) -> None:
    with stage.inside():
        for name, count, action, undo in actions:
            begin = time.perf_counter()
            action()
            samples.setdefault((name, count), []).append(round((time.perf_counter() - begin) * 1e3, 2))
            undo()
