# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command has the data plane do itself: bpf/control.h, run by BPF_PROG_TEST_RUN in the command's own thread."""

from __future__ import annotations

import struct

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.loaded import DataPlane
from pylvs.table.records import Record


class Control:
    """The `control` program of one data plane. Services and destinations are named by their slots."""

    def __init__(self, plane: DataPlane, layouts: Layouts) -> None:
        record = Record(layouts["control_args"])
        self._operations = {name.removeprefix("CONTROL_"): number for name, number in layouts.enum("control").items()}
        self._program = plane.syscall_program("control", record.size)
        self._arguments = struct.Struct("=III")
        self._arguments_at = record.offset["operation"]
        self._result = record.coder["result"]
        self._result_at = record.offset["result"]
        self._now = record.coder["now"]
        self._now_at = record.offset["now"]

    def _run(self, operation: str, service: int = 0, destination: int = 0) -> int:
        """Run one operation; its tick."""
        context = self._program.context
        self._arguments.pack_into(context, self._arguments_at, self._operations[operation], service, destination)
        self._program()
        return int(self._now.unpack_from(context, self._now_at)[0])

    def now(self) -> int:
        """The data plane's clock, in ticks."""
        return self._run("NOW")

    def link(self, service: int, first: int) -> None:
        """Put a chain of new destinations, from the slot `first` on, into the service's list."""
        self._run("LINK", service, first)

    def unlink(self, service: int, destination: int) -> None:
        """Take a destination out of its service's list."""
        self._run("UNLINK", service, destination)

    def changed(self, service: int, destination: int = 0) -> None:
        """Let the service's scheduler look at its destinations anew, after a change of one of them."""
        self._run("CHANGED", service, destination)

    def reschedule(self, service: int, scheduler: int) -> None:
        """Let the service have this scheduler (of `enum scheduler`) from now on."""
        self._run("RESCHEDULE", service, scheduler)

    def unschedule(self, service: int) -> None:
        """Free what schedulers keep for the service: it goes."""
        self._run("UNSCHEDULE", service)

    def setting_changed(self, service: int) -> None:
        """Let the service's scheduler look at the settings anew."""
        self._run("SETTING", service)

    def end(self, service: int, destination: int) -> int:
        """End every connection of a destination; how many there were."""
        self._run("END", service, destination)
        return int(self._result.unpack_from(self._program.context, self._result_at)[0])

    def fold(self, service: int = 0) -> int:
        """Add what CPUs have counted to the totals, of one service or (0) of all; the tick."""
        return self._run("FOLD", service)

    def sweep(self) -> None:
        """End what has expired, as the timer does every second."""
        self._run("SWEEP")
