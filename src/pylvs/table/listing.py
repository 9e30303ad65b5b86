# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of `-Lnc` as the kernel writes them: bpf/listing.bpf.c walks the connection table.

A million rows cost what they cost to print, and no memory beyond one block of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.kernel import Map, SyscallProgram
from pylvs.dataplane.libbpf import ObjectFile
from pylvs.dataplane.mapped import MappedArray

OBJECT = Path(__file__).parents[1] / "bpf" / "listing.bpf.o"
PROGRAM = "list_connections"
MAPS = ("connections", "due", "records")  # of the director


def connection_text(maps: Mapping[str, Map], now: int, second: int) -> Iterator[bytes]:
    """Blocks of whole rows in ASCII; `maps` are MAPS, `now` is in ticks, `second` is ticks a second.

    Raises LoadError or NotPermitted before the first block.
    """
    with ObjectFile(OBJECT) as file:
        for name in MAPS:
            file.reuse(name, maps[name])
        file.set_variables({"now": now, "second": second})
        file.load()
        return _blocks(file.syscall_program(PROGRAM, 0), file.map(".bss"))


def _blocks(write_rows: SyscallProgram, variables: Map) -> Iterator[bytes]:
    start = Layouts.of_file(OBJECT).variable("text", ".bss").offset
    text = MappedArray(variables, writable=False).memory[start:]
    while length := write_rows():
        yield bytes(text[:length])
