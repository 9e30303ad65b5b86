# SPDX-License-Identifier: GPL-2.0-or-later
"""A director of the attack's own, in a network namespace of its own: tests/packets/plane.py, made fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from pylvs.dataplane.kernel import ATTACH_XDP, Link
from pylvs.table.memory import Memory
from tests.attack.native import Done, Frame, Runner
from tests.attack.watch import Guard
from tests.packets import cast
from tests.packets import plane as planes

LOOPBACK = 1
HOPS_LAST = 500  # frames at XDP for which next hops stay fresh, on a slow machine too


class Arena:
    """A loaded, unattached director with `1 << bits` entries; use it as a context, from within which it is entered."""

    def __init__(self, bits: int = planes.TABLE_BITS) -> None:
        self.bits = bits

    def __enter__(self) -> Self:
        self.network = planes.Network()
        self._inside = self.network.inside()
        self._inside.__enter__()
        with _table_bits(self.bits):
            self.plane = planes.Plane()
        # Whenever an XDP program comes into use the kernel waits for all CPUs: it is in use, where no packet is.
        self._in_use = Link.create(self.plane.programs["xdp"], LOOPBACK, ATTACH_XDP)
        self.names = self.plane.outcome_names
        self.runner = Runner(self.plane.programs, self.plane.instance.map("outcomes"), self.names)
        return self

    def __exit__(self, *_: object) -> None:
        self._in_use.close()
        self.plane.close()
        self._inside.__exit__(None, None, None)
        self.network.close()

    @property
    def memory(self) -> Memory:
        """The table's shared memory."""
        return self.plane.director.memory

    def commands(self, lines: Sequence[str]) -> None:
        """Run `pylvsadm` with each line; all must succeed."""
        for line in lines:
            self.plane.adm(line)

    def frame(self, hook: str, data: bytes, interface: str = "eth0", mark: int = 0) -> Frame:
        """For `run`: a frame that comes in by an interface of the cast's director."""
        return Frame(hook, data, self.plane.index[interface], mark)

    def run(self, frames: Sequence[Frame], guard: Guard | None = None) -> list[Done]:
        """Run each frame, with next hops that XDP can use."""
        done: list[Done] = []
        for start in range(0, len(frames), HOPS_LAST):
            self.plane.know_hops()
            part = frames[start : start + HOPS_LAST]
            done += self.runner.run(part, guard.watches() if guard else ())
        return done

    def send(self, data: bytes, hook: str = "tc", interface: str = "eth0", mark: int = 0) -> Done:
        """Run one frame."""
        return self.runner.run([self.frame(hook, data, interface, mark)])[0]

    def outcome(self, done: Done) -> str:
        """The outcome's name."""
        return self.names[done.outcome] if done.outcome >= 0 else ""


@contextmanager
def _table_bits(bits: int) -> Iterator[None]:
    before, planes.TABLE_BITS = planes.TABLE_BITS, bits
    try:
        yield
    finally:
        planes.TABLE_BITS = before


def interface_of(host: cast.Host) -> str:
    """The director's interface on whose wire the host is."""
    return cast.INTERFACE_OF[host.mac]
