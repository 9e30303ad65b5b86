# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the connection table. The table is the data plane's: nothing here writes to it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import NamedTuple

from pylvs.addresses import unpack
from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.loaded import DataPlane
from pylvs.dataplane.mapped import MappedArray
from pylvs.model import Connection, ConnectionRow, Protocol
from pylvs.table.memory import Memory
from pylvs.table.records import Record, swap16

BLOCK = 4096  # bytes of the index of due times that are looked at in one go
EMPTY = bytes(BLOCK)

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


ROWS = 1024  # in a chunk of connection_rows
FOREVER = 1 << 23  # seconds: longer than any timeout, so what seems to have so long to go is over
INVALID_PORT = 0xFFFF  # a template whose destination is gone is listed so


class Entry(NamedTuple):
    """`struct connection` of bpf/abi.h: addresses as 16 bytes, ports in network order, times in ticks."""

    tag: int
    state: int
    flags: int
    protocol: int
    method: int
    client: bytes
    virtual: bytes
    cport: int
    vport: int
    destination: int
    control: int
    expires: int
    rport: int
    lport: int
    timeout: int


class Entries:
    """The connection table of one data plane as memory; only sets that have something due are looked at."""

    def __init__(self, plane: DataPlane, layouts: Layouts) -> None:
        self.record = Record(layouts["connection"])
        assert self.record.names == list(Entry._fields)
        flags = layouts.enum("connection_flag")
        self.template, self.invalid = flags["CONN_TEMPLATE"], flags["CONN_INVALID"]
        self._first_tag = layouts.enum("tag")["TAG_FIRST"]
        self.table = MappedArray(plane.map("connections"), writable=False)
        self.due = MappedArray(plane.map("due"), writable=False)

    def sets(self) -> Iterator[int]:
        """Numbers of the sets that are not empty."""
        memory, stride = self.due.memory, self.due.stride
        for start in range(0, len(memory), BLOCK):
            block = memory[start : start + BLOCK]
            if block == EMPTY[: len(block)]:
                continue
            words = block.cast("Q")
            yield from (start // stride + i for i, word in enumerate(words) if word)

    def live(self, now: int) -> Iterator[Entry]:
        """Every live entry; `now` is the data plane's tick."""
        for entry in self.taken():
            if self._is_due_later(entry, now) or self._is_held(entry):
                yield entry

    def taken(self) -> Iterator[Entry]:
        """Every entry that is in use, also those that are over and that the sweep has not ended yet."""
        memory, stride = self.table.memory, self.table.stride
        unpack_set = self.record.struct.iter_unpack
        for number in self.sets():
            for entry in map(Entry._make, unpack_set(memory[number * stride : (number + 1) * stride])):
                if entry.tag >= self._first_tag:
                    yield entry

    @staticmethod
    def _is_due_later(entry: Entry, now: int) -> bool:
        return 0 < (entry.expires - now) & 0xFFFFFFFF < 1 << 31

    def _is_held(self, entry: Entry) -> bool:
        """A template that is over but still controls connections: the sweep will give it another minute."""
        return bool(entry.flags & self.template and entry.control)

    def at(self, number: int) -> Entry:
        """The entry with this number, counted from 0 in the table's order."""
        return Entry._make(self.record.unpack_from(self.table.memory, number * self.record.size))

    def is_template(self, entry: Entry) -> bool:
        """Whether the entry stands for a persistent client."""
        return bool(entry.flags & self.template)

    def is_invalid(self, entry: Entry) -> bool:
        """Whether it is a template whose destination is gone."""
        return bool(entry.flags & self.invalid)

    def state(self, entry: Entry) -> str:
        """The state by the kernel's name."""
        names = TEMPLATE_STATES if self.is_template(entry) else STATES.get(entry.protocol, ("NONE",))
        return names[entry.state] if entry.state < len(names) else "ERR!"


@cache
def _swapped() -> list[int]:
    """Every port with its bytes swapped, by port: indexing costs less than a call, a million times."""
    ports = array("H", range(1 << 16))
    ports.byteswap()
    return ports.tolist()


class Connections:
    """The connection table as values of the model."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._entries = Entries(memory.plane, memory.layouts)
        self._second = memory.settings["second"]
        self._reals: dict[int, bytes] = {}  # addresses of destinations by slot
        self._swapped = _swapped()

    def _real(self, slot: int) -> bytes:
        address = self._reals.get(slot)
        if address is None:
            record = self._memory.destination
            address = self._memory.get(slot, record)[record.place["address"]]
            self._reals[slot] = address
        return address

    def connections(self) -> Iterator[Connection]:
        """Every entry, templates too."""
        now = self._memory.control.now()
        for entry in self._entries.live(now):
            yield self._connection(entry, now)

    def _connection(self, entry: Entry, now: int) -> Connection:
        expires = ((entry.expires - now) & 0xFFFFFFFF) / self._second
        invalid = self._entries.is_invalid(entry)
        return Connection(
            Protocol(entry.protocol),
            unpack(entry.client),
            swap16(entry.cport),
            unpack(entry.virtual),
            INVALID_PORT if invalid else swap16(entry.vport),
            unpack(self._real(entry.destination)),
            INVALID_PORT if invalid else swap16(entry.rport),
            self._entries.state(entry),
            expires if expires < FOREVER else 0.0,
            template=self._entries.is_template(entry),
            method=self._memory.codes.methods.value(entry.method),
        )

    def rows(self) -> Iterator[Sequence[ConnectionRow]]:
        """Every entry as a plain tuple, in chunks: a million of them in a few seconds."""
        now = self._memory.control.now()
        entries = self._entries.live(now)
        while chunk := list(islice(entries, ROWS)):
            yield [self._row(entry, now) for entry in chunk]

    def _row(self, entry: Entry, now: int) -> ConnectionRow:
        left = (entry.expires - now & 0xFFFFFFFF) // self._second
        vport = self._swapped[entry.vport]
        rport = self._swapped[entry.rport]
        if self._entries.is_invalid(entry):
            vport = rport = INVALID_PORT
        return (
            entry.protocol,
            self._entries.state(entry),
            left if left < FOREVER else 0,
            entry.client,
            self._swapped[entry.cport],
            entry.virtual,
            vport,
            self._real(entry.destination),
            rport,
        )

    def text(self) -> Iterator[bytes]:
        """Every entry as a numeric row of `-Lnc`, in ASCII: blocks of whole rows that the kernel writes."""
        from pylvs.table.listing import MAPS, connection_text

        maps = {name: self._memory.plane.map(name) for name in MAPS}
        return connection_text(maps, now=self._memory.control.now(), second=self._second)
