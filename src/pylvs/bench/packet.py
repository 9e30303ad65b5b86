# SPDX-License-Identifier: GPL-2.0-or-later
"""ns a packet, by test runs of many flows: every row beside its references, round by round."""

from __future__ import annotations

import math
import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from pylvs.bench.frames import ACK, SYN, frame
from pylvs.bench.generator import Flows, Generator
from pylvs.bench.stage import Stage, number
from pylvs.bench.targets import BESIDE
from pylvs.errors import PylvsError
from pylvs.model import (
    ConfiguredService,
    Destination,
    ForwardingMethod,
    Protocol,
    ServiceKey,
    VirtualService,
)
from pylvs.table.load import OBJECT

ENTRIES = 1 << 21  # twice a million flows, rounded up: for our table and for the reference maps
BIG_ENTRIES = 1 << 24
FLOOD_ENTRIES = 1 << 20
SIZES = (1, 1_000, 100_000, 1_000_000)
BIG = 10_000_000
BIG_SHARE = 0.22  # of the time that there is
ROUNDS = 7
LEAST = 3  # rounds, however late it is
PARTS, MANY_PARTS = 4, 20  # runs of a sample; many where it is of a few ns
RUN_NS = 5e6  # of CPU time in each run
REPEAT = (5_000, 400_000)
NEW = (1_000, 8_000)  # the same for new connections: few enough to leave the table almost empty
TRIES = 5
WARM = 150_000  # packets before a sample, so that the caches hold what they would hold in such traffic
GROWN = "adjust_head, twice"  # a tunnel's, and the generator's, which undoes it
SHARE = 0.95  # of the packets that must end as the row says; at ten million flows some buckets of the table overflow

VIP, VIP6, ELSEWHERE = "198.18.0.1", "2001:db8::1:1", "198.18.9.9"
CLIENTS, CLIENTS6 = number("10.0.0.0"), number("2001:db8::2:0")
REAL, REAL6, LOCAL = "172.16.0.1", "2001:db8::1:2", "172.31.0.0"
LOCALS = 32

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos")
CROWDS = {10: SCHEDULERS, 100: ("rr", "wrr", "lc", "wlc", "sh", "mh"), 1024: ("rr", "wlc", "mh")}


SOME = (1_000, 1_000_000)


@dataclass
class Row:
    """One line of the result: what is run, how it must end, and the samples of each round, in ns."""

    name: str
    hook: str
    count: int
    generator: Generator
    target: int
    flows: Flows
    packet: bytes
    stage: Stage | None = None
    outcome: str = ""
    service: tuple[int, int] = (6, 80)
    fresh: bool = False  # new connections: an empty table before each run
    start: int | None = None  # flows one after another, from this number on
    repeat: int = 0
    parts: int = PARTS
    samples: list[float] = field(default_factory=list)
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def new(self) -> bool:
        return self.start is not None

    @property
    def key(self) -> str:
        return f"{self.name} · {self.hook} · {self.count}"


class Wrong(PylvsError):
    """The packets did not take the path that is measured."""


class Bench:
    """Rows and their rounds."""

    def __init__(self, say: Callable[[str], None] = lambda _: None) -> None:
        self.say = say
        self.rows: list[Row] = []
        self._cold = mmap.mmap(-1, 64 << 20)
        self._patch = b"\1" * (64 << 20)

    def run(self, rounds: int, deadline: float) -> None:
        """All rows, `rounds` times, each beside an empty run of the same kind; at the deadline, less often."""
        took = 0.0
        for round in range(rounds + 1):
            begin = time.monotonic()
            if round > LEAST and begin + took > deadline:
                break
            self.say(f"round {round} of {rounds}")
            for row in self.rows:
                sample = self._sample(row, round) - self._undoing(row)
                if round:  # the first one finds out how long things take
                    row.samples.append(sample)
            took = time.monotonic() - begin

    def _undoing(self, row: Row) -> float:
        """What the generator takes to undo a tunnel, and has not to in the empty run: one of the two calls of GROWN."""
        grown = next((other for other in self.rows if other.name == GROWN), None)
        return grown.samples[-1] / 2 if grown and grown.samples and row.name == "TUN" else 0.0

    def _sample(self, row: Row, round: int) -> float:
        row.repeat = row.repeat or (NEW if row.new else REPEAT)[0]
        for attempt in range(TRIES):
            if (sample := self._run(row, round * TRIES + attempt, row.parts if round else 1)) is not None:
                return sample
        raise Wrong(f"bench: {row.key}: the packets went other cases: {row.shares}; run: pylvs bench packet")

    def _run(self, row: Row, seed: int, parts: int) -> float | None:
        """One sample; None if the packets took another path, as when a next hop grew old meanwhile.

        Both the run and the empty run are the quickest of several, taken in turns: whatever else this machine does
        can only add to them.
        """
        self._prepare(row)
        row.generator.plan(row.flows, row.count, len(row.packet), row.start)
        row.generator.seed(seed)
        with row.stage.inside() if row.stage else nullcontext():
            if row.stage and row.flows.replies:
                row.stage.renew_hop(row.packet)
            if not row.new:
                row.generator.run(row.hook, row.target, row.packet, min(3 * row.count, WARM))
            before = row.stage.outcomes() if row.stage else []
            times = [self._pair(row) for _ in range(parts)]
            after = row.stage.outcomes() if row.stage else []
        if not self._as_expected(row, before, after):
            return None
        total, nothing = (min(column) for column in zip(*times, strict=True))
        if row.start is not None and not row.fresh:
            row.start += 2 * parts * row.repeat
        low, high = NEW if row.new else REPEAT
        row.repeat = int(min(max(RUN_NS / total, low), high))
        return float(total - nothing)

    def _pair(self, row: Row) -> tuple[float, float]:
        """The run and the empty run, with next hops that are young enough for both."""
        if row.stage:
            row.stage.prime(*row.service)
        ingress = row.stage.ifindex if row.stage else 0  # one arm: where it came in it goes out
        targets = row.target, row.generator.reference("empty")
        first, second = (row.generator.run(row.hook, target, row.packet, row.repeat, ingress) for target in targets)
        return first, second

    def _prepare(self, row: Row) -> None:
        stage = row.stage
        if stage is None:
            return
        if row.fresh:
            stage.forget(*row.service)
            self._cold.seek(0)
            self._cold.write(self._patch)  # what was just zeroed is not to be found in the caches
        if row.flows.replies:
            stage.forget_routes()
        stage.prime(*row.service)

    def _as_expected(self, row: Row, before: list[int], after: list[int]) -> bool:
        if row.stage is None:
            if row.generator.misses > row.repeat * row.parts / 100:
                raise Wrong(f"bench: {row.key}: {row.generator.misses} lookups found nothing")
            return True
        counts = [b - a for a, b in zip(before, after, strict=True)]
        total = sum(counts)
        row.shares = {name: count / total for name, count in zip(row.stage.outcome_names, counts, strict=True) if count}
        return row.shares.get(row.outcome, 0) >= SHARE


def service(
    port: int,
    method: ForwardingMethod,
    scheduler: str = "rr",
    destinations: int = 1,
    protocol: Protocol = Protocol.TCP,
    vip: str = VIP,
    real: str = REAL,
) -> ConfiguredService:
    """A virtual service and its destinations, whose addresses follow one another."""
    first = ip_address(real)
    pool = tuple(ip_address(LOCAL) + i for i in range(LOCALS)) if method is ForwardingMethod.FULLNAT else ()
    weights = (65535,) if scheduler == "ovf" else (1, 2, 3)  # ovf takes as many connections as weight
    members = [
        Destination(first + i, port, method, weights[i % len(weights)], local_addresses=pool)
        for i in range(destinations)
    ]
    key = ServiceKey(protocol, ip_address(vip), port, family=first.version)
    return VirtualService(key, scheduler, netmask=128 if first.version == 6 else 0xFFFFFFFF), members


def _shared(flows: Flows) -> Flows:
    """Every client has 64 of the flows."""
    return flows._replace(address=(6, 0xFFFFFFFF), port=(0, 63))


class Case(NamedTuple):
    """What is measured of established connections: the kind of service, the flows, and how their packets end."""

    name: str
    kind: str
    flows: Flows
    outcome: str
    protocol: int = 6
    hooks: tuple[str, ...] = ("xdp", "tc")
    sizes: tuple[int, ...] = SOME


TO_VIP = Flows(CLIENTS, number(VIP), 80)
TO_VIP6 = Flows(CLIENTS6, number(VIP6), 80, family=6)
FROM_REAL = Flows(CLIENTS, number(REAL), 80, replies=True)

FULLNAT_BACK = Flows(number(LOCAL), number(REAL), 80, replies=True, client_port=1024, address=(0, 31), port=(5, 0xFFFF))

CASES = (
    Case("not for us", "dr", TO_VIP._replace(server=number(ELSEWHERE)), "PASS_NOT_OURS"),
    Case("DR", "dr", TO_VIP, "FORWARD_DR", sizes=SIZES),
    Case("DR, UDP", "udp", TO_VIP, "FORWARD_DR", 17),
    Case("DR, IPv6", "v6", TO_VIP6, "FORWARD_DR"),
    Case("NAT in", "nat", TO_VIP, "FORWARD_NAT"),
    Case("NAT back", "nat", FROM_REAL, "FORWARD_NAT_REPLY"),
    Case("NAT back, 64 flows a client", "nat-shared", _shared(FROM_REAL), "FORWARD_NAT_REPLY"),
    # The kernel does not let a packet be tunnelled twice, and a test run at TC has but one packet.
    Case("TUN", "tun", TO_VIP, "FORWARD_TUN", hooks=("xdp",)),
    Case("FULLNAT in", "fullnat", TO_VIP, "FORWARD_FULLNAT"),
    Case("FULLNAT back", "fullnat", FULLNAT_BACK, "FORWARD_FULLNAT_REPLY"),
)

KINDS = {
    "dr": (service(80, ForwardingMethod.DR), TO_VIP, None),
    "udp": (service(80, ForwardingMethod.DR, protocol=Protocol.UDP), TO_VIP, None),
    "v6": (service(80, ForwardingMethod.DR, vip=VIP6, real=REAL6), TO_VIP6, None),
    "nat": (service(80, ForwardingMethod.NAT), TO_VIP, FROM_REAL),
    "nat-shared": (service(80, ForwardingMethod.NAT), _shared(TO_VIP), _shared(FROM_REAL)),
    "tun": (service(80, ForwardingMethod.TUN), TO_VIP, None),
    "fullnat": (service(80, ForwardingMethod.FULLNAT), TO_VIP, FULLNAT_BACK),
}


def build(
    stack: ExitStack, generator: Generator, kind: str, count: int, entries: int, object_path: Path = OBJECT
) -> Stage:
    """A director with `count` established connections of one kind."""
    configured, flows, replies = KINDS[kind]
    stage = stack.enter_context(Stage(kind, entries, [configured], object_path))
    stage.join(generator)
    stage.establish(flows, count, 17 if kind == "udp" else 6, replies)
    return stage


def references(generator: Generator, sizes: Sequence[int], kinds: Sequence[str] = ("hash", "lru")) -> Iterator[Row]:
    """The rows that others are ratios to."""
    packet = frame()
    for hook in ("xdp", "tc"):
        yield Row(
            "parse and swap MACs", hook, 1, generator, generator.reference("swap"), TO_VIP, packet, parts=MANY_PARTS
        )
    yield Row(GROWN, "xdp", 1, generator, generator.reference("grow"), TO_VIP, packet, parts=MANY_PARTS)
    for count in sizes:
        yield Row("one cache line", "xdp", count, generator, generator.reference("line"), TO_VIP, packet)
    for kind in kinds:
        target = generator.reference(f"{kind}_hit")
        for count in sizes:
            yield Row(f"kernel {kind} map hit", "xdp", count, generator, target, TO_VIP, packet)


def established(generator: Generator, stages: dict[str, Stage], cases: Sequence[Case] = CASES) -> Iterator[Row]:
    """One row for each case, hook and number of flows."""
    for case in cases:
        for hook in case.hooks:
            for count in case.sizes:
                stage = stages[case.kind]
                packet = frame(case.flows.family, case.protocol, ACK)
                yield Row(
                    case.name,
                    hook,
                    count,
                    stage.generator,
                    stage.target,
                    case.flows,
                    packet,
                    stage,
                    case.outcome,
                    (case.protocol, 80),
                )


FLOOD = Flows(CLIENTS, number(VIP), 80, client_port=2000)


def flooded(stage: Stage) -> Row:
    """SYNs of ever new clients while the table is full of established connections."""
    return Row(
        "SYN flood, table full",
        "xdp",
        FLOOD_ENTRIES,
        stage.generator,
        stage.target,
        FLOOD,
        frame(flags=SYN),
        stage,
        "FORWARD_STATELESS",
        start=0,
    )


def port_of(scheduler: str, destinations: int) -> int:
    return 1000 + SCHEDULERS.index(scheduler) * len(CROWDS) + list(CROWDS).index(destinations)


def crowded() -> list[ConfiguredService]:
    """A service for each scheduler and number of destinations that are measured."""
    return [
        service(port_of(scheduler, crowd), ForwardingMethod.DR, scheduler, crowd)
        for crowd, schedulers in CROWDS.items()
        for scheduler in schedulers
    ]


def new_connections(stage: Stage) -> Iterator[Row]:
    """The first packet of a flow, for each scheduler."""
    for crowd, schedulers in CROWDS.items():
        for scheduler in schedulers:
            port = port_of(scheduler, crowd)
            flows = Flows(CLIENTS, number(VIP), port)
            for hook in ("xdp", "tc") if scheduler in ("rr", "wlc") and crowd == 10 else ("xdp",):
                yield Row(
                    f"new, {scheduler}",
                    hook,
                    crowd,
                    stage.generator,
                    stage.target,
                    flows,
                    frame(flags=SYN),
                    stage,
                    "FORWARD_DR",
                    (6, port),
                    fresh=True,
                    start=0,
                )


@contextmanager
def one_cpu() -> Iterator[None]:
    """Only the last CPU of those that this process may use."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def measure(
    say: Callable[[str], None], rounds: int = ROUNDS, budget: float = 3600, object_path: Path = OBJECT
) -> list[dict[str, Any]]:
    """The whole suite, in about `budget` seconds, as data."""
    begin = time.monotonic()
    with one_cpu():
        rows = _up_to_a_million(say, rounds, begin + budget * (1 - BIG_SHARE), object_path)
        rows += _ten_million(say, rounds, object_path)
    return [
        {
            "name": row.name,
            "hook": row.hook,
            "count": row.count,
            "unit": "ns",
            "samples": [round(sample, 2) for sample in row.samples],
            "shares": {name: round(share, 5) for name, share in row.shares.items()},
        }
        for row in rows
    ]


def _up_to_a_million(say: Callable[[str], None], rounds: int, deadline: float, object_path: Path) -> list[Row]:
    with ExitStack() as stack:
        generator, full = Generator(ENTRIES), Generator(ENTRIES)
        for kind in ("hash", "lru"):
            generator.fill(kind, TO_VIP, SIZES[-1], frame())
        full.fill("lru", TO_VIP, ENTRIES * 5 // 4, frame())
        stages = {}
        for kind in KINDS:
            say(f"a million connections: {kind}")
            stages[kind] = build(stack, generator, kind, SIZES[-1], ENTRIES, object_path)
        crowd = stack.enter_context(Stage("new", ENTRIES, crowded(), object_path))
        crowd.join(generator)
        flood = build(stack, generator, "dr", FLOOD_ENTRIES * 3 // 2, FLOOD_ENTRIES, object_path)
        bench = Bench(say)
        bench.rows += references(generator, SIZES)
        bench.rows += established(generator, stages)
        bench.rows.append(
            Row(
                "insert in a full LRU map",
                "xdp",
                1,
                full,
                full.reference("lru_insert"),
                TO_VIP,
                frame(),
                start=2 * ENTRIES,
            )
        )
        bench.rows += new_connections(crowd)
        bench.rows.append(flooded(flood))
        bench.run(rounds, deadline)
        return bench.rows


def _ten_million(say: Callable[[str], None], rounds: int, object_path: Path) -> list[Row]:
    with ExitStack() as stack:
        say("ten million connections")
        generator = Generator(BIG_ENTRIES)
        generator.fill("hash", TO_VIP, BIG, frame())
        stage = build(stack, generator, "dr", BIG, BIG_ENTRIES, object_path)
        beside = build(stack, generator, "dr", SIZES[-1], ENTRIES, object_path)
        dr = next(case for case in CASES if case.name == "DR")
        bench = Bench(say)
        bench.rows += [row for row in references(generator, [BIG], ("hash",)) if row.count == BIG]
        bench.rows += established(generator, {"dr": stage}, [dr._replace(sizes=(BIG,))])
        bench.rows += established(generator, {"dr": beside}, [dr._replace(name=BESIDE, sizes=SIZES[-1:])])
        bench.run(rounds, math.inf)  # two seconds each: the setting up is what takes long
        return bench.rows
