# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of `-Lnc` as the kernel writes them: bpf/listing.bpf.c iterates over the connection table.

A million rows cost what they cost to print, and no memory. It needs the kernel's own BTF, which the kernels
of distributions have; without it the caller has to format rows itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pylvs.dataplane.kernel import Descriptor, Map, Program, open_iterator

OBJECT = Path(__file__).parents[1] / "bpf" / "listing.bpf.o"
PROGRAM = "list_connections"
BLOCK = 1 << 16  # bytes asked for in one read; the kernel gives half of that


def connection_text(connections: Map, records: Map, now: int, second: int, path: Path = OBJECT) -> Iterator[bytes]:
    """Blocks of text; `now` in ticks, `second` ticks a second. DataPlaneError, at once, if it cannot be."""
    with _load(connections, records, now, second, path) as program:
        return _blocks(open_iterator(program, connections))


def _blocks(rows: Descriptor) -> Iterator[bytes]:
    with rows:
        while block := os.read(rows.fd, BLOCK):
            yield block


def _load(connections: Map, records: Map, now: int, second: int, path: Path) -> Program:
    from pylvs.dataplane.libbpf import ObjectFile

    with ObjectFile(path) as file:
        file.reuse("connections", connections)
        file.reuse("records", records)
        file.set_variables({"now": now, "second": second})
        file.load()
        return file.programs()[PROGRAM]
