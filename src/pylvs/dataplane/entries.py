# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the connection table. The table is the data plane's: nothing here writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.instance import Instance
from pylvs.dataplane.mapped import MappedArray
from pylvs.dataplane.records import Record

BLOCK = 4096  # bytes of the index of due times that are looked at in one go
EMPTY = bytes(BLOCK)
FIRST_TAG = 2

TCP_STATES = (
    "NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT",
    "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK",
)  # fmt: skip
SCTP_STATES = (
    "NONE", "INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED",
    "ESTABLISHED", "S-SENT", "S-RECEIVED", "S-ACK-SENT", "REJECTED", "CLOSED",
)  # fmt: skip
TEMPLATE_STATES = ("NONE", "ASSURED")
STATES = {6: TCP_STATES, 17: ("UDP",), 132: SCTP_STATES}


class Entry(NamedTuple):
    """`struct connection` of bpf/abi.h: addresses as 16 bytes, ports in network order, times in ticks."""

    tag: int
    expires: int
    client: bytes
    virtual: bytes
    cport: int
    vport: int
    destination: int
    control: int
    rport: int
    state: int
    protocol: int
    flags: int
    method: int
    lport: int
    timeout: int


class Entries:
    """The table of one instance as memory; only sets that have something due are looked at."""

    def __init__(self, instance: Instance, layouts: Layouts) -> None:
        self.record = Record(layouts["connection"])
        assert self.record.names == list(Entry._fields)
        flags = layouts.enum("connection_flag")
        self.template, self.invalid = flags["CONN_TEMPLATE"], flags["CONN_INVALID"]
        self.ways = layouts.enum("bucket_size")["WAYS"]
        self.table = MappedArray(instance.map("connections"), writable=False)
        self.due = MappedArray(instance.map("due"), writable=False)

    def sets(self) -> Iterator[int]:
        """Numbers of the sets that are not empty."""
        memory, stride = self.due.memory, self.due.stride
        for start in range(0, len(memory), BLOCK):
            block = memory[start : start + BLOCK]
            if block == EMPTY[: len(block)]:
                continue
            words = block.cast("Q")
            yield from (start // stride + i for i, word in enumerate(words) if word)

    def raw(self, now: int) -> Iterator[tuple[Any, ...]]:
        """Every live entry, as the fields of `Entry`; `now` is the data plane's tick."""
        memory, stride = self.table.memory, self.table.stride
        unpack = self.record.struct.iter_unpack
        for number in self.sets():
            for entry in unpack(memory[number * stride : (number + 1) * stride]):
                if entry[0] >= FIRST_TAG and (0 < (entry[1] - now) & 0xFFFFFFFF < 1 << 31 or self._is_held(entry)):
                    yield entry

    def _is_held(self, entry: tuple[Any, ...]) -> bool:
        """A template that is over but still controls connections: the sweep will give it another minute."""
        return bool(entry[11] & self.template and entry[7])

    def state(self, entry: tuple[Any, ...]) -> str:
        """The state by the kernel's name."""
        state, protocol, flags = entry[9], entry[10], entry[11]
        names = TEMPLATE_STATES if flags & self.template else STATES.get(protocol, ("NONE",))
        return names[state] if state < len(names) else "ERR!"
