# SPDX-License-Identifier: GPL-2.0-or-later
"""Test runs of many flows: the generator program, what it runs by tail call, and the reference maps."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import NamedTuple

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.kernel import ATTACH_XDP, Link, Program, xdp_context
from pylvs.dataplane.libbpf import ObjectFile
from pylvs.dataplane.mapped import MappedArray

OBJECT = Path(__file__).with_name("generator.bpf.o")
REFERENCES = {
    "TARGET_EMPTY": "empty_xdp",
    "TARGET_SWAP": "swap_xdp",
    "TARGET_GROW": "grow_xdp",
    "TARGET_HASH_HIT": "hash_hit",
    "TARGET_LRU_HIT": "lru_hit",
    "TARGET_HASH_INSERT": "hash_insert",
    "TARGET_LRU_INSERT": "lru_insert",
    "TARGET_LINE": "line_hit",
}
REFERENCES_TC = {"TARGET_EMPTY": "empty_tc", "TARGET_SWAP": "swap_tc"}
SEED = 0x1234567
ALL = 0xFFFFFFFF
LOOPBACK = 1  # ifindex


class Flows(NamedTuple):
    """Which packets are made: the ends of the flows (addresses as 32-bit numbers, ports), and their direction."""

    client: int
    server: int
    server_port: int
    family: int = 4
    replies: bool = False
    client_port: int = 1024
    address: tuple[int, int] = (0, ALL)  # shift and mask of the flow's number
    port: tuple[int, int] = (0, 0)


class Generator:
    """The generator program, loaded, with hash maps of `entries` for reference."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        with ObjectFile(OBJECT) as file:
            for name in ("hash", "lru"):
                file.set_max_entries(name, entries)
            file.set_max_entries("lines", entries // 8)
            file.load()
            self.programs = {"xdp": file.program("generate_xdp"), "tc": file.program("generate_tc")}
            self._arrays = {"xdp": file.map("xdp_targets"), "tc": file.map("tc_targets")}
            self._memory = MappedArray(file.map(".bss")).memory
            self._fill(file)
        layouts = Layouts.of_file(OBJECT)
        self._plan = layouts["plan"]
        self._targets = layouts.enum("target")
        self._free = self._targets["TARGET_DIRECTOR"]

    def _fill(self, file: ObjectFile) -> None:
        targets = Layouts.of_file(OBJECT).enum("target")
        for hook, names in (("xdp", REFERENCES), ("tc", REFERENCES_TC)):
            for target, name in names.items():
                self._put(hook, targets[target], file.program(name))

    def _put(self, hook: str, target: int, program: Program) -> None:
        with program:
            self._arrays[hook].update(struct.pack("=I", target), struct.pack("=I", program.fd))

    def reference(self, name: str) -> int:
        """Number of a reference program, such as 'swap'."""
        return self._targets[f"TARGET_{name.upper()}"]

    def add(self, xdp: Program, tc: Program) -> int:
        """Number of a director's programs, as a target of both hooks. The descriptors are closed."""
        number, self._free = self._free, self._free + 1
        self._put("xdp", number, xdp)
        self._put("tc", number, tc)
        return number

    def attach(self) -> Link:
        """Be in use at lo of this network namespace, where no packet is, as long as the link is open.

        Whenever an XDP program comes into use or goes out of it, the kernel waits for all CPUs: else each test run
        would wait twice, and find its caches cold.
        """
        return Link.create(self.programs["xdp"], LOOPBACK, ATTACH_XDP)

    def plan(self, flows: Flows, count: int, length: int, start: int | None = None) -> None:
        """The next runs draw from `count` flows at random, or go on one by one from number `start`."""
        self._plan.pack_into(
            self._memory,
            0,
            state=SEED,
            flows=count,
            next=start or 0,
            sequential=start is not None,
            family=flows.family,
            replies=flows.replies,
            length=length,
            client=flows.client,
            address_shift=flows.address[0],
            address_mask=flows.address[1],
            port_shift=flows.port[0],
            port_mask=flows.port[1],
            server=flows.server,
            client_port=flows.client_port,
            server_port=flows.server_port,
            misses=0,
            lines=self.entries // 8,
        )

    def seed(self, number: int) -> None:
        """Start the random numbers anew."""
        self._plan.pack_into(self._memory, 0, state=SEED + number)

    def run(self, hook: str, target: int, frame: bytes, repeat: int, ingress: int = 0) -> float:
        """CPU time in ns for each of `repeat` packets, generator and target together.

        `ingress`: XDP's packets come in by this interface; else, and at TC, by lo.
        """
        self._plan.pack_into(self._memory, 0, target=target)
        program = self.programs[hook]
        context = xdp_context(len(frame), ingress) if ingress and hook == "xdp" else b""
        begin = time.thread_time_ns()
        program.test_run(frame, context, repeat)
        return (time.thread_time_ns() - begin) / repeat

    @property
    def misses(self) -> int:
        """Lookups of the references that found nothing since `plan`."""
        return int(self._plan["misses"].unpack_from(self._memory))

    def fill(self, kind: str, flows: Flows, count: int, frame: bytes) -> None:
        """Put `count` flows into the reference map 'hash' or 'lru'."""
        self.plan(flows, count, len(frame), start=0)
        self.run("xdp", self.reference(f"{kind}_insert"), frame, count)
