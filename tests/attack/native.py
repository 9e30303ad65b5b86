# SPDX-License-Identifier: GPL-2.0-or-later
"""native.c as Python has it: compiled once a process, called by ctypes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pylvs.dataplane.kernel import Map, Program, possible_cpus

SOURCE = Path(__file__).with_name("native.c")
ROOM = 4096  # bytes of a frame that comes back
HOOKS = ("tc", "xdp")  # in the order of native.c's numbers
NOTHING, SEVERAL, REFUSED = -1, -2, -3


class Packet(ctypes.Structure):
    """`struct packet` of native.c."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("result", ctypes.c_void_p),
        ("length", ctypes.c_uint32),
        ("room", ctypes.c_uint32),
        ("hook", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
        ("mark", ctypes.c_uint32),
        ("left", ctypes.c_uint32),
        ("verdict", ctypes.c_int),
        ("outcome", ctypes.c_int),
        ("watch", ctypes.c_int),
        ("offset", ctypes.c_uint32),
    ]


class Watch(ctypes.Structure):
    """`struct watch` of native.c."""

    _fields_ = [
        ("now", ctypes.c_void_p),
        ("before", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("words", ctypes.c_uint64),
    ]


class Batch(ctypes.Structure):
    """`struct batch` of native.c."""

    _fields_ = [
        ("program", ctypes.c_int * 2),
        ("outcomes", ctypes.c_int),
        ("outcomes_count", ctypes.c_uint32),
        ("cpus", ctypes.c_uint32),
        ("watches", ctypes.c_uint32),
        ("watch", ctypes.POINTER(Watch)),
        ("cpu", ctypes.c_int),
    ]


def compiled(source: Path, *flags: str) -> ctypes.CDLL:
    """The C file as a library of this process; CalledProcessError says what clang said."""
    with tempfile.TemporaryDirectory(prefix="pylvs-attack-") as directory:
        library = f"{directory}/{source.stem}.so"
        command = ["clang", "-O2", "-shared", "-fPIC", *flags, "-o", library, str(source)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return ctypes.CDLL(library)


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """native.c, compiled."""
    found = compiled(SOURCE, "-Wall", "-Werror")
    found.race.restype = ctypes.c_long
    found.race.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int, ctypes.c_uint64, ctypes.c_void_p,
    ]  # fmt: skip
    found.flood.restype = ctypes.c_double
    found.flood.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_double, ctypes.c_int,
        ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    found.crc32c.restype = ctypes.c_uint32
    found.crc32c.argtypes = [ctypes.c_char_p, ctypes.c_uint32]
    return found


def crc32c(data: bytes) -> bytes:
    """SCTP's checksum (RFC 9260, appendix A) as it is on the wire."""
    return int(library().crc32c(data, len(data))).to_bytes(4, "little")


class Frame(NamedTuple):
    """What goes in: a frame at a hook, by an interface (its index), with a firewall mark."""

    hook: str
    data: bytes
    ifindex: int
    mark: int = 0


class Done(NamedTuple):
    """What became of one frame: verdict and outcome as numbers (REFUSED: the kernel did not run it), and the frame as
    it is then. `watch` and `offset`: the memory that it changed where it may not; -1: none."""

    verdict: int
    outcome: int
    data: bytes
    watch: int
    offset: int


class Frames:
    """Frames as native.c takes them, with room for what comes back. Keep the object as long as it is used."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.count = len(frames)
        self._given = ctypes.create_string_buffer(b"".join(frame.data for frame in frames) + b"\0")
        self._back = ctypes.create_string_buffer(ROOM * max(1, self.count))
        self.array = (Packet * max(1, self.count))()
        self._fill(frames)

    def _fill(self, frames: Sequence[Frame]) -> None:
        at, back = ctypes.addressof(self._given), ctypes.addressof(self._back)
        for number, (packet, frame) in enumerate(zip(self.array, frames, strict=False)):
            packet.data, packet.length = at, len(frame.data)
            packet.result, packet.room = back + number * ROOM, ROOM
            packet.hook, packet.ifindex, packet.mark = HOOKS.index(frame.hook), frame.ifindex, frame.mark
            at += len(frame.data)

    def done(self) -> list[Done]:
        """What became of each."""
        return [
            Done(
                each.verdict, each.outcome, ctypes.string_at(each.result, min(each.left, ROOM)), each.watch, each.offset
            )
            for each in self.array[: self.count]
        ]


class Runner:
    """Runs frames through the two programs of a data plane, and watches memory meanwhile."""

    def __init__(self, programs: dict[str, Program], outcomes: Map, outcome_names: Sequence[str]) -> None:
        self._keep = programs, outcomes
        self.batch = Batch(outcomes=outcomes.fd, outcomes_count=len(outcome_names), cpus=possible_cpus(), cpu=-1)
        for number, hook in enumerate(HOOKS):
            self.batch.program[number] = programs[hook].fd

    @contextmanager
    def alone_on(self, cpu: int) -> Iterator[None]:
        """The calling thread stays on this CPU, and only what is counted there counts."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {cpu})
        self.batch.cpu = cpu
        try:
            yield
        finally:
            self.batch.cpu = -1
            os.sched_setaffinity(0, before)

    def run(self, frames: Sequence[Frame], watches: Sequence[Watch] = ()) -> list[Done]:
        """Run each frame once, in this order."""
        array = (Watch * max(1, len(watches)))(*watches)
        self.batch.watches, self.batch.watch = len(watches), array
        held = Frames(frames)
        if library().run_batch(ctypes.byref(self.batch), held.array, held.count):
            raise OSError("the outcomes cannot be read")
        return held.done()
