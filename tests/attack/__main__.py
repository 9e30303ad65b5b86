# SPDX-License-Identifier: GPL-2.0-or-later
"""`make attack`: every attack within ten minutes, a line for each thing that was found, exit status 1 if there is
any."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.attack import (
    commands,
    cost,
    crash,
    decapsulation,
    floods,
    loading,
    mutation,
    races,
    slots,
)
from tests.attack.attack import MOST, Attack, Run, lines

ROOMS = (mutation, slots, commands, crash, loading, races, floods, decapsulation, cost)
ATTACKS: dict[str, Attack] = {attack.name: attack for room in ROOMS for attack in room.ATTACKS}
ALONE = ("races", "floods", "cost")  # they use every CPU, or measure one
MINUTES = 10.0


def parser() -> argparse.ArgumentParser:
    """The options of `make attack ATTACK="…"`."""
    top = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    top.add_argument("--seed", type=int, help="of everything random; printed when not given")
    top.add_argument("--only", metavar="NAME", choices=ATTACKS, help=f"one attack: {', '.join(ATTACKS)}")
    top.add_argument("--round", type=int, metavar="N", help="one round of it, as a finding names it")
    top.add_argument("--minutes", type=float, default=MINUTES, help="for all of them (default: %(default)s)")
    top.add_argument("--most", type=int, default=MOST, help="findings of one attack (default: %(default)s)")
    top.add_argument("--list", action="store_true", help="say what there is")
    return top


def one(attack: Attack, options: argparse.Namespace, seconds: float) -> int:
    """Run one attack in this process; how much it found."""
    notes: list[str] = []
    run = Run(attack.name, options.seed, seconds, options.round, most=options.most, say=notes.append)
    found = 0
    for line in lines(attack, run):
        found += 1
        print(line, flush=True)
    note = f"; {'; '.join(notes)}" if notes else ""
    took = time.monotonic() - run.begin
    print(f"{attack.name}: {run.rounds_done} rounds in {took:.0f} s, {found} found{note}", flush=True)
    return found


def start(attack: Attack, options: argparse.Namespace, seconds: float) -> subprocess.Popen[bytes]:
    """Run one attack in a process of its own."""
    words = ["--seed", options.seed, "--only", attack.name, "--minutes", seconds / 60, "--most", options.most]
    return subprocess.Popen([sys.executable, "-m", "tests.attack", *map(str, words)])


def everything(options: argparse.Namespace) -> int:
    """All attacks: those that need no CPU to themselves side by side; how many found something."""
    print(f"seed {options.seed}", flush=True)
    scale = options.minutes / MINUTES
    together = [attack for name, attack in ATTACKS.items() if name not in ALONE]
    bad = side_by_side(together, options, scale)
    for name in ALONE:
        bad += start(ATTACKS[name], options, ATTACKS[name].seconds * scale).wait() != 0
    return bad


def side_by_side(attacks: Sequence[Attack], options: argparse.Namespace, scale: float) -> int:
    """As many at a time as there are CPUs, the longest first."""
    waiting = sorted(attacks, key=lambda attack: attack.seconds)
    running: list[subprocess.Popen[bytes]] = []
    bad = 0
    while waiting or running:
        while waiting and len(running) < max(1, len(os.sched_getaffinity(0))):
            attack = waiting.pop()
            running.append(start(attack, options, attack.seconds * scale))
        time.sleep(0.2)
        ended = [process for process in running if process.poll() is not None]
        bad += sum(process.returncode != 0 for process in ended)
        running = [process for process in running if process not in ended]
    return bad


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 if nothing was found."""
    options = parser().parse_args(argv)
    if options.list:
        for attack in ATTACKS.values():
            print(f"{attack.name:14} {attack.about}")
        return 0
    given = options.seed is not None
    options.seed = options.seed if given else random.SystemRandom().randrange(1 << 31)
    if options.only:
        if not given:
            print(f"seed {options.seed}", flush=True)
        attack = ATTACKS[options.only]
        seconds = options.minutes * 60 if options.minutes != MINUTES else attack.seconds
        return bool(one(attack, options, seconds))
    return bool(everything(options))


if __name__ == "__main__":
    sys.exit(main())
