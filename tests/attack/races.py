# SPDX-License-Identifier: GPL-2.0-or-later
"""Two CPUs at once in the same few connections, while others sweep, expire, evict, or change the service. Afterwards
active, inactive and persistent connections are what a recount of the table gives, one flow has one entry, and when
all has expired nothing is left."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.attack import build
from tests.attack.arena import Arena, interface_of
from tests.attack.attack import Attack, Found, Run
from tests.attack.build import ACK, COOKIE_ECHO, FIN, INIT, RST, SYN, raw
from tests.attack.check import check_table
from tests.attack.mutation import Talk, talk_of
from tests.attack.native import HOOKS, Frame, Frames, library
from tests.attack.sums import SCTP, TCP, UDP
from tests.packets.cast import CLIENT, SECOND, VIP, VIP6, Host

PACKETS, FEW = 1_000_000, 25_000  # of a scenario, both CPUs together; in the short form
CPUS = 2
SMALL, TINY = 10, 6  # table bits
FLOWS = 6
FROM_CLIENT = (SYN, SYN, ACK, FIN | ACK, RST)
FROM_SERVER = (SYN | ACK, ACK, FIN | ACK, RST)
CHUNKS = (INIT, COOKIE_ECHO, 7, 14, 6)
AGES = 100_000  # seconds, in which everything expires
Disturb = Callable[[Arena, int], None]  # called again and again with a growing number


@dataclass(frozen=True)
class Scenario:
    """`table`: commands; the service is at port 80. `ticks`: timeouts, if short. `disturb`: what goes on meanwhile."""

    name: str
    table: Sequence[str]
    protocol: int = TCP
    six: bool = False
    flows: int = FLOWS
    ticks: int = 0
    bits: int = SMALL
    disturb: Disturb | None = None
    knobs: dict[str, int] = field(default_factory=dict)


def sweep(arena: Arena, _: int) -> None:
    """What has expired goes, as by the timer."""
    arena.memory.control.sweep()


def come_and_go(arena: Arena, number: int) -> None:
    """A destination goes, and comes again."""
    if number % 2:
        arena.plane.try_adm("-a -t VIP:80 -r BACK_1:8080 -m")
    else:
        arena.plane.try_adm("-d -t VIP:80 -r BACK_1:8080")
    time.sleep(0.002)


def edit(arena: Arena, number: int) -> None:
    """Scheduler, persistence, weights and thresholds change."""
    for scheduler in ("wlc", "sh", "mh", "rr", "wrr", "lblcr"):
        arena.plane.try_adm(f"-E -t VIP:80 -s {scheduler} {'-p 60' if number % 2 else ''}")
        arena.plane.try_adm(f"-e -t VIP:80 -r BACK_1:8080 -m -w {number % 5} -x {number % 4 + 3}")


def reset(arena: Arena, _: int) -> None:
    """A destination's connections are ended, as by `pylvs drain --reset`."""
    for slot in arena.memory.service_slots():
        for member in arena.memory.chain(slot[1]):
            arena.memory.control.end(slot[1], member)
    time.sleep(0.001)


NAT = ("-A -t VIP:80 -s wlc", "-a -t VIP:80 -r BACK_1:8080 -m", "-a -t VIP:80 -r BACK_2:8080 -m")
NAT6 = ("-A -t VIP_6:80 -s rr", "-a -t VIP_6:80 -r BACK_1_6:8080 -m")
TUN = ("-A -t VIP:80 -s wrr", "-a -t VIP:80 -r BACK_1:80 -i", "-a -t VIP:80 -r BACK_2:80 -i --tun-type gre")
PERSISTENT = ("-A -t VIP:80 -s rr -p 60", "-a -t VIP:80 -r REAL_1:80 -g")
FULLNAT_UDP = ("-A -u VIP:80 -s rr", "-a -u VIP:80 -r BACK_1:8080 --fullnat --local-address BACK")
SCENARIOS = (
    Scenario("NAT", NAT),
    Scenario("NAT, IPv6", NAT6, six=True),
    Scenario("NAT, SCTP", [line.replace("-t", "--sctp-service") for line in NAT], SCTP),
    Scenario("NAT, UDP, expiring", [line.replace("-t", "-u") for line in NAT], UDP, ticks=1, disturb=sweep),
    Scenario("DR", ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1:80 -g", "-a -t VIP:80 -r REAL_2:80 -g")),
    Scenario("TUN", TUN),
    Scenario("FULLNAT", ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r BACK_1:8080 --fullnat --local-address BACK")),
    Scenario("persistent NAT", ("-A -t VIP:80 -s rr -p 60", *NAT[1:])),
    Scenario("persistent DR, expiring", ("-A -t VIP:80 -s rr -p 1", PERSISTENT[1]), ticks=2, disturb=sweep),
    Scenario("thresholds", (NAT[0], f"{NAT[1]} -x 3 -y 1", f"{NAT[2]} -x 2")),
    Scenario("expiring", NAT, ticks=2, disturb=sweep),
    Scenario("reuse", NAT, knobs={"conn_reuse_mode": 3, "expire_nodest_conn": 1}),
    Scenario("eviction", NAT, flows=400, bits=TINY),
    Scenario("eviction, DR", PERSISTENT, flows=400, bits=TINY),
    Scenario("eviction, FULLNAT", FULLNAT_UDP, UDP, flows=400, bits=TINY, ticks=50, disturb=sweep),
    Scenario("-d and -a", NAT, disturb=come_and_go),
    Scenario("-E and -e", NAT, disturb=edit),
    Scenario("drain --reset", NAT, disturb=reset),
)  # fmt: skip


class Race:
    """One scenario on one arena."""

    def __init__(self, arena: Arena, scenario: Scenario, random: Random) -> None:
        self.arena, self.scenario, self.random = arena, scenario, random
        self.first_seed = random.randrange(1, 1 << 40)

    def run(self, packets: int) -> Iterator[str]:
        """What is wrong afterwards."""
        arena, scenario = self.arena, self.scenario
        arena.plane.wipe()
        arena.commands(scenario.table)
        for name, value in scenario.knobs.items():
            arena.plane.settings[name] = value
        sides = self._sides()
        self._shorten()
        yield from self._race(sides, packets)
        yield from check_table(arena.memory)
        arena.plane.age(AGES)
        for _ in range(3):  # templates are given another minute, once
            arena.memory.control.sweep()
            arena.plane.age(AGES)
        yield from self._left()

    def _left(self) -> Iterator[str]:
        entries = len(self.arena.plane.entries())
        if entries:
            yield f"{entries} entries are left when all have expired"
        for state in self.arena.plane.director.services():
            for member in state.destinations:
                if member.active or member.inactive or member.persistent:
                    counts = f"{member.active} active, {member.inactive} inactive, {member.persistent} persistent"
                    yield f"when all have expired, {member.destination} has {counts} connections"

    def _shorten(self) -> None:
        settings, ticks = self.arena.plane.settings, self.scenario.ticks
        if ticks:
            for name in ("tcp_timeout", "udp_timeout", "sctp_timeout"):
                settings[name] = tuple(ticks + i % 2 for i in range(len(settings[name])))

    def _sides(self) -> list[list[Frame]]:
        """What each CPU gets: requests, and replies where there are any; else requests on both."""
        requests: list[Frame] = []
        replies: list[Frame] = []
        for number in range(self.scenario.flows):
            client = (CLIENT, SECOND)[number % 2]
            talk = self._open(client, 20000 + number // 2)
            requests += [self._frame(client, data) for data in self._requests(client, 20000 + number // 2)]
            if talk and talk.near != talk.far:
                replies += [self._frame(talk.server, data) for data in self._replies(talk)]
        if not replies:
            return [requests, requests]
        # few flows: the second CPU sends some requests too, for the same connection at the same time
        return [requests, replies if self.scenario.flows > FLOWS else replies + requests[::3]]

    def _ends(self, client: Host) -> tuple[bytes, bytes]:
        six = self.scenario.six
        return raw(client.ip6 if six else client.ip), raw(VIP6 if six else VIP)

    def _open(self, client: Host, sport: int) -> Talk | None:
        data = build.packet(self.scenario.protocol, *self._ends(client), sport, 80)
        done = self.arena.send(build.ether(client, data))
        return talk_of(client, data, done.data) if self.arena.outcome(done).startswith("FORWARD") else None

    def _requests(self, client: Host, sport: int) -> Iterator[bytes]:
        src, dst = self._ends(client)
        if self.scenario.protocol == SCTP:
            yield from (build.ip(src, dst, SCTP, build.sctp(sport, 80, chunk)) for chunk in CHUNKS)
        elif self.scenario.protocol == UDP:
            yield build.packet(UDP, src, dst, sport, 80)
        else:
            yield from (build.packet(TCP, src, dst, sport, 80, flags) for flags in FROM_CLIENT)

    def _replies(self, talk: Talk) -> Iterator[bytes]:
        src, dst, sport, dport = talk.far
        if talk.protocol == SCTP:
            yield from (build.ip(dst, src, SCTP, build.sctp(dport, sport, chunk)) for chunk in (2, 11, *CHUNKS[2:]))
        elif talk.protocol == UDP:
            yield talk.reply(0)
        else:
            yield from map(talk.reply, FROM_SERVER)

    def _frame(self, host: Host, data: bytes) -> Frame:
        return self.arena.frame("tc", build.ether(host, data), interface_of(host))

    def _race(self, sides: Sequence[Sequence[Frame]], packets: int) -> Iterator[str]:
        stop = ctypes.c_uint32(0)
        results: list[int] = []
        cpus = sorted(os.sched_getaffinity(0))
        threads = [
            threading.Thread(target=self._side, args=(side, packets // CPUS, cpus[k % len(cpus)], k, stop, results))
            for k, side in enumerate(sides)
        ]
        for thread in threads:
            thread.start()
        number = 0
        while any(thread.is_alive() for thread in threads):
            if self.scenario.disturb:
                self.scenario.disturb(self.arena, number)
            else:
                time.sleep(0.01)
            number += 1
        for thread in threads:
            thread.join()
        if -1 in results:
            yield "the kernel refused a test run"

    def _side(
        self, side: Sequence[Frame], runs: int, cpu: int, number: int, stop: ctypes.c_uint32, results: list[int]
    ) -> None:
        """In a thread, whose namespace is the arena's since it is a child of the thread that is in it."""
        held = Frames(side)
        program = self.arena.runner.batch.program[HOOKS.index("tc")]
        done = library().race(
            program, held.array, held.count, runs, cpu, self.first_seed + number, ctypes.addressof(stop)
        )
        results.append(done)


def race(run: Run) -> Found:
    """Every scenario once, and again as long as there is time."""
    packets = FEW if run.short else PACKETS
    for bits in (TINY, SMALL):
        cases = [scenario for scenario in SCENARIOS if scenario.bits == bits]
        first = SCENARIOS.index(cases[0])
        if run.only is not None and SCENARIOS[run.only].bits != bits:
            continue
        with Arena(bits) as arena:
            yield from _races(run, arena, cases, packets, first)


def _races(run: Run, arena: Arena, cases: Sequence[Scenario], packets: int, first: int) -> Found:
    order = [SCENARIOS.index(case) for case in cases]
    run.random(first).shuffle(order)
    for number in order if run.only is None else [run.only]:
        if run.left <= 0 and run.only is None:
            return
        found = list(Race(arena, SCENARIOS[number], run.random(number)).run(packets))
        if found:
            yield number, f"{SCENARIOS[number].name}: {'; '.join(found)}"
        run.rounds_done += 1


ATTACKS = (Attack("races", "two CPUs in the same connections", 110, race),)
