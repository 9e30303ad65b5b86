# SPDX-License-Identifier: GPL-2.0-or-later
"""What a hostile packet costs where little is configured and where much is: destinations, marks, local addresses.
Only ratios are looked at, of CPU time beyond that of a packet that is for nobody."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pylvs.host.iproute import batch
from pylvs.table import marks
from tests.attack import build
from tests.attack.arena import Arena
from tests.attack.attack import Attack, Found, Run
from tests.attack.build import raw
from tests.attack.native import HOOKS, Frames, library
from tests.attack.sums import TCP, UDP
from tests.packets.cast import CLIENT, REAL_1, VIP

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos")
FEW, MANY = 10, 1024
BITS = 10
FILL, PACKETS = 20_000, 10_000
TRIES = 5
MOST, SLACK = 2.0, 0.3e-6  # times, and seconds beside that, which a busy machine may add
ELSEWHERE = "10.0.0.99"
RULES = 500
POOL = 200


@dataclass(frozen=True)
class Load:
    """A flood, and the commands that prepare for it."""

    name: str
    commands: str
    port: int = 80
    protocol: int = TCP
    rules: int = 0


def crowd(scheduler: str, count: int) -> Load:
    """A service with so many destinations."""
    members = "".join(f"-a -t {VIP}:80 -r 10.3.{i >> 8}.{i & 255}:80 -g -w {i % 3 + 1}\n" for i in range(count))
    return Load(f"{scheduler}, {count} destinations", f"-A -t {VIP}:80 -s {scheduler}\n{members}")


def marked(count: int) -> Load:
    """A firewall mark's service, and so many rules, none of them about what comes."""
    return Load(
        f"{count} rules of marks",
        f"-A -f 1 -s rr\n-A -t {VIP}:80 -s rr\n-a -t {VIP}:80 -r {REAL_1.ip}:80 -g\n",
        rules=count,
    )


def pooled(count: int) -> Load:
    """FULLNAT, from so many local addresses."""
    addresses = ",".join(f"10.1.1.{i + 1}" for i in range(count))
    members = f"-a -u {VIP}:80 -r 10.1.0.21:80 --fullnat --local-address {addresses}\n"
    return Load(f"{count} local addresses", f"-A -u {VIP}:80 -s rr\n{members}", protocol=UDP)


PAIRS = [
    *((crowd(scheduler, FEW), crowd(scheduler, MANY)) for scheduler in SCHEDULERS),
    (marked(FEW), marked(RULES)),
    (pooled(1), pooled(POOL)),
]


class Meter:
    """CPU time of floods on one arena."""

    def __init__(self, arena: Arena, seed: int) -> None:
        self.arena, self.seed = arena, seed
        self._stop, self._sent = ctypes.c_uint32(0), ctypes.c_uint64(0)

    def prepare(self, load: Load) -> None:
        """Make the table, and fill the table of connections."""
        self.arena.plane.wipe()
        self.arena.plane.adm("-R", load.commands)
        if load.rules:
            rules = marks.expand(1, "tcp", "10.0.0.104/32", ",".join(str(1000 + 2 * i) for i in range(load.rules)))
            marks.change(self.arena.plane.director, rules, [])
        self.flood(load, VIP, FILL)

    def flood(self, load: Load, vip: str, packets: int) -> float:
        """Seconds for each packet."""
        data = build.packet(load.protocol, raw(CLIENT.ip), raw(vip), 1024, load.port)
        held = Frames([self.arena.frame("tc", build.ether(CLIENT, data))])
        program, self.seed = self.arena.runner.batch.program[HOOKS.index("tc")], self.seed + 1
        stop, sent = ctypes.addressof(self._stop), ctypes.addressof(self._sent)
        begin = time.thread_time()
        library().flood(program, held.array, 1, packets, 0.0, -1, self.seed, stop, sent)
        return (time.thread_time() - begin) / packets

    def cost(self, load: Load) -> float:
        """Seconds for each packet beyond those of one that is for nobody: the least of several."""
        self.prepare(load)
        pairs = [(self.flood(load, VIP, PACKETS), self.flood(load, ELSEWHERE, PACKETS)) for _ in range(TRIES)]
        total, nothing = (min(column) for column in zip(*pairs, strict=True))
        return max(total - nothing, 1e-9)


def measure(run: Run) -> Found:
    """Each pair of loads."""
    with Arena(BITS) as arena:
        batch(f"route add 10.3.0.0/16 via {REAL_1.ip}", *(f"addr add 10.1.1.{i + 1}/32 dev eth1" for i in range(POOL)))
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(before)})
        try:
            for number, (few, many), random in run.cases(PAIRS):
                yield from ((number, text) for text in _compared(Meter(arena, random.getrandbits(40)), few, many, run))
        finally:
            os.sched_setaffinity(0, before)


def _compared(meter: Meter, few: Load, many: Load, run: Run) -> Iterator[str]:
    first, second = meter.cost(few), meter.cost(many)
    run.say(f"{few.name}: {first * 1e9:.0f} ns; {many.name}: {second * 1e9:.0f} ns")
    if second > MOST * first + SLACK:
        yield (
            f"a hostile packet costs {second / first:.1f} times as much with {many.name} as with {few.name}"
            f" (e.g. {second * 1e9:.0f} ns and {first * 1e9:.0f} ns)"
        )


ATTACKS = (Attack("cost", "a hostile packet where little and where much is configured", 45, measure),)
