# SPDX-License-Identifier: GPL-2.0-or-later
"""The connection table: what it takes, what it costs as it grows, and what its sweep does to others."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pylvs.bench.frames import SYN, frame
from pylvs.bench.generator import Generator
from pylvs.bench.packet import ENTRIES, MANY_PARTS, REAL6, TO_VIP, TO_VIP6, VIP6, Bench, Row, one_cpu, service
from pylvs.bench.stage import CHUNK, Stage
from pylvs.bench.stalls import Stalls, look
from pylvs.dataplane.kernel import Map
from pylvs.dataplane.mapped import MappedArray
from pylvs.errors import PylvsError
from pylvs.model import ConfiguredService, ForwardingMethod, Protocol

GROWTH = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
BIG_ENTRIES = 12_500_000  # ten million are four fifths of them: fuller, and too many would find no room
LEAST_HELD = 0.97  # of ten million connections
SMALL = 1 << 16
NO_ROOM = 0.001  # of new connections
LOOK = 0.5  # seconds for each look at the stalls
FLOOR = "parse and swap MACs"
EXPIRING = 200_000
WATCHED = 1_000  # connections whose end is awaited
PATIENCE = 10.0
SERVICE = service(80, ForwardingMethod.DR)
SERVICE6 = service(80, ForwardingMethod.DR, protocol=Protocol.UDP, vip=VIP6, real=REAL6)


class Rows:
    """Samples by name, number and unit, in the order in which they came."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, int, str], list[float]] = {}

    def add(self, name: str, count: int, unit: str, value: float) -> None:
        self._samples.setdefault((name, count, unit), []).append(float(f"{value:.5g}"))

    def data(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "hook": "table", "count": count, "unit": unit, "samples": values}
            for (name, count, unit), values in self._samples.items()
        ]


def director(stack: ExitStack, entries: int, configured: ConfiguredService = SERVICE) -> Stage:
    """A director with one service and an empty table."""
    stage = stack.enter_context(Stage("table", entries, [configured]))
    stage.join(Generator(SMALL))
    return stage


def charged(map: Map) -> int:
    """Bytes of kernel memory that a map is charged for."""
    text = Path(f"/proc/self/fdinfo/{map.fd}").read_text()
    found = re.search(r"memlock:\s*(\d+)", text)
    if not found:
        raise PylvsError("this kernel does not say in /proc/self/fdinfo what a map takes")
    return int(found[1])


def size(stage: Stage) -> int:
    """Bytes of the table with all that belongs to it."""
    return sum(charged(stage.instance.map(name)) for name in ("connections", "due"))


def _memory(stage: Stage, family: str, rows: Rows) -> int:
    """What each of ten million connections takes, of all that the kernel keeps for the table; how many there are."""
    count, there = GROWTH[-1], len(_held(stage))
    held = min(there, count)  # others, of what was measured before, may be there too
    if held < count * LEAST_HELD:
        raise PylvsError(f"bench: only {held:,} of {count:,} {family} connections are in a table for {stage.entries:,}")
    rows.add(f"memory a connection, {family}", count, "bytes", size(stage) / held)
    return there


def room(stage: Stage) -> float:
    """Fill a table; the share of its entries that are taken when the first chunk has more than NO_ROOM without one."""
    step = stage.entries // 64
    name = stage.outcome_names.index("FORWARD_STATELESS")
    for start in range(0, stage.entries, step):
        before = stage.outcomes()[name]
        stage.establish(TO_VIP._replace(client=TO_VIP.client + start), step, 6)
        if stage.outcomes()[name] - before > step * NO_ROOM * 2:  # a handshake's two packets
            return start / stage.entries
    raise PylvsError("bench: a table was never full")


def _growth(stage: Stage, rounds: int, deadline: float, rows: Rows, say: Callable[[str], None]) -> None:
    """Hit and insert, each time that the table has grown tenfold; what it takes at its largest."""
    held = 0
    for count in GROWTH:
        say(f"{count:,} connections")
        for start in range(held, count, CHUNK):
            stage.establish(TO_VIP._replace(client=TO_VIP.client + start), min(CHUNK, count - start), 6)
        held = count
        if count == GROWTH[-1]:
            _memory(stage, "IPv4", rows)
        bench = Bench()
        common = (stage.generator, stage.target, TO_VIP)
        hit = Row("hit", "xdp", count, *common, frame(), stage, "FORWARD_DR")
        new = Row("insert", "xdp", count, *common, frame(flags=SYN), stage, "FORWARD_DR", start=1 << 26, repeat=1000)
        bench.rows = [_floor(stage, count), hit, new]
        bench.run(rounds, deadline)
        for row in bench.rows:
            for sample in row.samples:
                rows.add(row.name, count, "ns", sample)


def _floor(stage: Stage, count: int) -> Row:
    """The reference of the rows with this count."""
    generator = stage.generator
    return Row(FLOOR, "xdp", count, generator, generator.reference("swap"), TO_VIP, frame(), parts=MANY_PARTS)


def _note(rows: Rows, state: str, count: int, stalls: Stalls) -> None:
    rows.add(f"CPU taken: {state}", count, "%", stalls.share * 100)
    rows.add(f"1 packet in 1,000 waits: {state}", count, "µs", stalls.wait(0.001) / 1e3)
    rows.add(f"longest wait: {state}", count, "µs", stalls.longest / 1e3)


def _due_now(stage: Stage) -> None:
    """Every connection is past its time."""
    now, layout = stage.now(), stage.instance.layouts["connection"]
    with MappedArray(stage.instance.map("connections")) as table, MappedArray(stage.instance.map("due")) as due:
        _column(table.memory, layout.offset("expires"), layout.size, now)
        _column(due.memory, 0, due.stride, now)


def _column(memory: memoryview, offset: int, stride: int, value: int) -> None:
    """Store one 32-bit value into every record."""
    words = memory.cast("I")
    column = words[offset // 4 :: stride // 4]
    column[:] = memoryview(bytearray(value.to_bytes(4, "little") * len(column))).cast("I")
    column.release()
    words.release()


def _expiry(stage: Stage, idle: float, rows: Rows) -> None:
    """Many connections end within one second: what each costs, and what others notice."""
    bench = Bench()
    bench.rows = [_floor(stage, EXPIRING)]
    bench.run(1, time.monotonic())
    rows.add(FLOOR, EXPIRING, "ns", bench.rows[0].samples[0])
    stage.forget(6, 80)
    stage.establish(TO_VIP, EXPIRING, 6)
    _due_now(stage)
    stalls = look(1.2)  # the sweep passes every set in one
    if left := len(_held(stage)):
        raise PylvsError(f"bench: {left} connections did not expire")
    rows.add("expire", EXPIRING, "ns", (sum(stalls.gaps) - idle * stalls.duration) / EXPIRING)
    _note(rows, "all connections expire", EXPIRING, stalls)


def _held(stage: Stage) -> list[int]:
    """Numbers of the entries in use."""
    layout, first = stage.instance.layouts["connection"], stage.instance.layouts.constants.get("TAG_FIRST", 2)
    with MappedArray(stage.instance.map("connections"), writable=False) as table:
        words = table.memory.cast("I")
        column = words[layout.offset("tag") // 4 :: layout.size // 4]
        tags = column.tolist()
        column.release()
        words.release()
    return [number for number, tag in enumerate(tags) if tag >= first]


def _lateness(stage: Stage, rows: Rows) -> None:
    """Connections with known ends, over two seconds: how much later each entry was gone."""
    layout, ticks = stage.instance.layouts["connection"], stage.records.settings["second"]
    stage.establish(TO_VIP, WATCHED, 6)
    waiting, late = set(_held(stage)), []
    tick, begin = stage.now(), time.monotonic()
    ends = {number: random.Random(number).randrange(ticks // 2, 2 * ticks) for number in waiting}
    with MappedArray(stage.instance.map("connections")) as table, MappedArray(stage.instance.map("due")) as due:
        for number, after in ends.items():
            layout["expires"].pack_into(table.memory, number * layout.size, tick + after)
            due.memory[number // 8 * due.stride : number // 8 * due.stride + 4] = (tick + 1).to_bytes(4, "little")
    while waiting and time.monotonic() < begin + PATIENCE:
        left = set(_held(stage))
        passed = time.monotonic() - begin
        late += [passed - ends[number] / ticks for number in waiting - left]
        waiting &= left
    if waiting:
        raise PylvsError(f"bench: {len(waiting)} connections did not expire")
    for value in sorted(late)[:: WATCHED // 50]:
        rows.add("gone after its timeout", WATCHED, "s", value)


def measure(say: Callable[[str], None], rounds: int, budget: float) -> list[dict[str, Any]]:
    """The whole suite; with little of its `budget` seconds left, growth in fewer rounds."""
    rows, begin = Rows(), time.monotonic()
    with one_cpu():
        _sweep(rounds, rows, say)
        with ExitStack() as stack:
            _lateness(director(stack, 1 << 12), rows)
        with ExitStack() as stack:
            stage = director(stack, BIG_ENTRIES)
            _growth(stage, rounds, begin + budget, rows, say)
            for _ in range(rounds):
                _note(rows, f"a table for {stage.entries:,}", GROWTH[-1], look(LOOK))
        say(f"memory of {GROWTH[-1]:,} connections, IPv6")
        with ExitStack() as stack:
            stage = director(stack, BIG_ENTRIES, SERVICE6)
            stage.establish(TO_VIP6, GROWTH[-1], 17)  # UDP: one packet each, and the same entry
            there = _memory(stage, "IPv6", rows)
            rows.add("connections that found room", GROWTH[-1], "%", there / GROWTH[-1] * 100)
    return rows.data()


def _sweep(rounds: int, rows: Rows, say: Callable[[str], None]) -> None:
    """What others notice: without a director, of an empty table, of one whose connections all expire at once."""
    for number in range(rounds):
        say(f"the sweep, round {number + 1} of {rounds}")
        _note(rows, "no director", 0, look(LOOK))
        with ExitStack() as stack:  # a new one each time: a running timer cannot be stopped for the reference
            stage = director(stack, ENTRIES // 2)
            idle = look(LOOK)
            _note(rows, f"a table for {stage.entries:,}, empty", 0, idle)
            _expiry(stage, idle.share, rows)
            if number == 0:
                stage.forget(6, 80)
                rows.add("taken when 1 in 1,000 finds no room", stage.entries, "%", room(stage) * 100)
