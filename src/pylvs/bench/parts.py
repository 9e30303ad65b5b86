# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the time of a packet goes: a packet is run many times while the instruction pointer is sampled.

Samples (perf_event_open(2), the CPU clock) are attributed to lines of C by the line table that the kernel keeps of the
machine code. A sample falls on the instruction that waits, so that a load from memory shows at what needs it.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from pylvs.bench.generator import Generator
from pylvs.bench.packet import CASES, ENTRIES, SOME, Row, build, established, one_cpu
from pylvs.bench.stage import Stage
from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.kernel import Line, Program
from pylvs.errors import PylvsError
from pylvs.table.load import OBJECT

PERF_EVENT_OPEN = {"x86_64": 298, "ppc64le": 319, "s390x": 331}  # other machines: the number of all newer ones
PERF_EVENT_OPEN_ELSEWHERE = 241
SOFTWARE, CPU_CLOCK, SAMPLE_IP, BY_FREQUENCY, NOT_USER = 1, 0, 1, 1 << 10, 1 << 4  # linux/perf_event.h
DISABLED, SAMPLE, ENABLE_EVENT, DISABLE_EVENT = 1, 9, 0x2400, 0x2401
ATTRIBUTES = 128  # bytes of struct perf_event_attr
HEAD = 1024  # offset of data_head, data_tail behind it, in struct perf_event_mmap_page
FREQUENCY = 20_000  # a second
RING = 1 << 20  # bytes: a second's samples and more
ENOUGH = 2_000  # samples a round
REPEAT = 100_000  # packets a run

OTHERS = "all else"
# The parts in the order in which a packet meets them, by the files and directories of C that they are in.
PARTS = {
    "parsing": ("packet.h", "hooks.h", "addr.h", "protocols.h"),
    "is it for us": ("service.h",),
    "its connection": ("connection.h", "table.h", "hash.h", "states.h", "replies.h"),
    "its destination": ("records.h", "maps.h"),
    "next hop": ("forward.h",),
    "rewriting": ("dr.h", "nat.h", "tun.h", "mss.h", "checksum.h"),
    "counting": ("count.h",),
    "entry, exit": ("director.bpf.c",),
    "a new flow": ("schedulers", "schedule.h", "lock.h", "persistence.h", "rendezvous.h"),
    "rare packets": ("fragment.h", "icmp.h", "tunnel.h"),
    OTHERS: ("kernel.h", "trace.h", "explain.h", "sweep.h", "fold.h", "control.h", "abi.h", "verifier.h"),
}
PART_OF = {name: part for part, names in PARTS.items() for name in names}
WAITS = "waits at"
MEASURED = ("DR", "NAT in", "NAT back", "TUN")


class Sampler:
    """The instruction pointer of this thread in the kernel, sampled while `during` runs something."""

    def __init__(self) -> None:
        kind = struct.pack(
            "=IIQQQQQ", SOFTWARE, ATTRIBUTES, CPU_CLOCK, FREQUENCY, SAMPLE_IP, 0, DISABLED | NOT_USER | BY_FREQUENCY
        )
        number = PERF_EVENT_OPEN.get(os.uname().machine, PERF_EVENT_OPEN_ELSEWHERE)
        syscall = ctypes.CDLL(None, use_errno=True).syscall
        self.fd = syscall(number, kind.ljust(ATTRIBUTES, b"\0"), 0, -1, -1, 8)  # this thread, closed on exec
        if self.fd < 0:
            raise PylvsError(f"bench: cannot sample this CPU: {os.strerror(ctypes.get_errno())}; run it as root")
        self._page = mmap.PAGESIZE
        self._ring = mmap.mmap(self.fd, self._page + RING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ring.close()
        os.close(self.fd)

    def during(self, work: Callable[[], object]) -> list[int]:
        """Addresses at which the kernel was while `work` ran."""
        fcntl.ioctl(self.fd, ENABLE_EVENT)
        work()
        fcntl.ioctl(self.fd, DISABLE_EVENT)
        head, tail = struct.unpack_from("=QQ", self._ring, HEAD)
        ring = self._ring[self._page :]
        found = []
        while tail < head:
            kind, _, size, address = struct.unpack_from("=IHHQ", ring, tail % RING)  # none of 16 bytes is cut in two
            if kind == SAMPLE:
                found.append(address)
            tail += size
        struct.pack_into("=Q", self._ring, HEAD + 8, head)
        return found


class Places:
    """A program's machine code, and where in C each address of it is from."""

    def __init__(self, program: Program) -> None:
        self.functions = program.functions()
        self.lines = program.lines(Layouts(program.btf()).text)
        self._starts = [line.address for line in self.lines]

    def line(self, address: int) -> Line | None:
        """The line of this address; None if it is not of this program."""
        if not any(start <= address < start + size for start, size in self.functions):
            return None
        return self.lines[bisect_right(self._starts, address) - 1]


def _file(line: Line) -> str:
    return line.file.rpartition("/")[2]


def part_of(file: str) -> str:
    """The part of a packet's path that a file of C, given by its path, belongs to.

    PylvsError for a file of ours that has no part: what moves must not become "all else" without a word.
    """
    _, directory, name = f"//{file}".rsplit("/", 2)
    if "/include/" in file:  # of libbpf and the kernel
        return OTHERS
    part = PART_OF.get(name) or PART_OF.get(directory)
    if part is None:
        raise PylvsError(f"bench: {name} is in no part of a packet's path; add it to PARTS in {__name__}")
    return part


def shares(lines: Sequence[Line]) -> dict[str, float]:
    """The share of each part, in per cent of the samples on these lines."""
    counts = Counter(part_of(line.file) for line in lines)
    return {part: 100 * count / len(lines) for part, count in counts.items()}


def _round(row: Row, sampler: Sampler, places: Places) -> list[Line]:
    """Lines of C at which the director was found, about `ENOUGH` of them."""
    assert row.stage
    found: list[Line] = []
    row.generator.plan(row.flows, row.count, len(row.packet))
    while len(found) < ENOUGH:
        row.stage.prime(*row.service)
        with row.stage.inside():
            if row.flows.replies:
                row.stage.renew_hop(row.packet)
            run = partial(row.generator.run, row.hook, row.target, row.packet, REPEAT, row.stage.ifindex)
            addresses = sampler.during(run)
        found += filter(None, map(places.line, addresses))
    return found


def _data(row: Row, rounds: Sequence[Sequence[Line]]) -> Iterator[dict[str, Any]]:
    base = {"name": row.name, "count": row.count, "unit": "%"}
    each = [shares(lines) for lines in rounds]
    for part in PARTS:
        yield {**base, "hook": part, "samples": [round(one.get(part, 0), 2) for one in each]}
    hottest, _ = Counter(line for lines in rounds for line in lines).most_common(1)[0]
    samples = [round(100 * list(lines).count(hottest) / len(lines), 2) for lines in rounds]
    place = f"{_file(hottest)}:{hottest.number} {hottest.text}"
    yield {**base, "hook": WAITS, "samples": samples, "line": place}


def measure(
    say: Callable[[str], None], rounds: int, budget: float = 0, object_path: Path = OBJECT
) -> list[dict[str, Any]]:
    """Run the whole suite: for each kind of packet the share of each part, in per cent."""
    cases = [case._replace(hooks=("xdp",), sizes=SOME) for case in CASES if case.name in MEASURED]
    with one_cpu(), ExitStack() as stack:
        generator, stages = Generator(ENTRIES), {}
        places: dict[Stage | None, Places] = {}
        for kind in dict.fromkeys(case.kind for case in cases):
            say(f"a million connections: {kind}")
            stages[kind] = build(stack, generator, kind, SOME[-1], ENTRIES, object_path)
            places[stages[kind]] = Places(stages[kind].instance.program("director_xdp"))
        sampler = stack.enter_context(Sampler())
        rows = list(established(generator, stages, cases))
        found: list[list[list[Line]]] = [[] for _ in rows]
        for number in range(1, rounds + 1):
            say(f"round {number} of {rounds}")
            for row, lines in zip(rows, found, strict=True):
                lines.append(_round(row, sampler, places[row.stage]))
        return [each for row, lines in zip(rows, found, strict=True) for each in _data(row, lines)]
