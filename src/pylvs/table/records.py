# SPDX-License-Identifier: GPL-2.0-or-later
"""The records: services and destinations, in chunks of shared memory, each known by its slot.

A chunk has the records themselves, each with its counters behind it, and their estimates; chunks are made as they are
needed and never moved, so that a change touches what it changes and nothing else. The caller holds the instance's lock.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import add, sub
from typing import Any, NamedTuple

from pylvs.dataplane.btf import Layout, Layouts
from pylvs.dataplane.kernel import F_MMAPABLE, Map, MapType, possible_cpus
from pylvs.dataplane.loaded import DataPlane
from pylvs.dataplane.mapped import MappedArray
from pylvs.errors import TableFull
from pylvs.table.settings import Settings


def swap16(number: int) -> int:
    """A port between host and network order."""
    return (number & 0xFF) << 8 | number >> 8


class Record:
    """Packs and unpacks one struct at a time; ports stay in network order."""

    def __init__(self, layout: Layout) -> None:
        fields, every = layout.shown, layout.fields.values()  # of a union's members the first is packed
        self.size = layout.size
        self.names = [field.name for field in fields]
        self.struct = struct.Struct("=" + "".join(_format(field) for field in fields))
        self.place = {name: place for place, name in enumerate(self.names)}
        self.offset = {field.name: field.offset for field in every}
        self.word = {name: offset // 4 for name, offset in self.offset.items() if offset % 4 == 0}
        self.coder = {field.name: struct.Struct("=" + _format(field)) for field in every}
        self.zero = [b"" if _format(field).endswith("s") else 0 for field in fields]

    def pack_into(self, buffer: Any, base: int, **values: Any) -> None:
        """Write the whole struct; what is not named becomes zero."""
        whole = list(self.zero)
        for name, value in values.items():
            whole[self.place[name]] = value
        self.struct.pack_into(buffer, base, *whole)

    def pack(self, **values: Any) -> bytes:
        """The whole struct; what is not named is zero."""
        packed = bytearray(self.size)
        self.pack_into(packed, 0, **values)
        return bytes(packed)

    def packer(self, names: Sequence[str]) -> struct.Struct:
        """The whole struct, of which these fields, in the order of their offsets, are given and the rest are zero."""
        end, parts = 0, []
        for name in names:
            coder = self.coder[name]
            parts.append(f"{self.offset[name] - end}x{coder.format[1:]}")
            end = self.offset[name] + coder.size
        return struct.Struct(f"={''.join(parts)}{self.size - end}x")

    def store(self, buffer: Any, base: int, name: str, value: Any) -> None:
        """Write one field, in one store."""
        self.coder[name].pack_into(buffer, base + self.offset[name], value)

    def unpack_from(self, buffer: Any, base: int) -> tuple[Any, ...]:
        return self.struct.unpack_from(buffer, base)


def _format(field: Any) -> str:
    """Numbers as they are in memory, everything else as bytes."""
    return f"{field.size}s" if field.count or not field.format else field.format


class Sums(NamedTuple):
    """Counters of one record, over all CPUs: connections, packets and bytes in and out."""

    connections: int
    in_packets: int
    out_packets: int
    in_bytes: int
    out_bytes: int


class Chunk(NamedTuple):
    records: MappedArray
    estimates: MappedArray


def record_bytes(layouts: Layouts) -> int:
    """Bytes of a record and of the lines behind it, one for each CPU."""
    sizes = layouts.enum("record_size")
    return sizes["RECORD_SIZE"] + sizes["CPU_LINE"] * possible_cpus()


class Records:
    """All chunks of one data plane."""

    def __init__(self, plane: DataPlane, layouts: Layouts, settings: Settings) -> None:
        self._plane, self.settings = plane, settings
        sizes = layouts.enum("record_size")
        self.chunk_size, self.chunks_max = sizes["CHUNK"], sizes["CHUNKS"]
        self.record_size = sizes["RECORD_SIZE"]
        self.cpu_line, self.record_bytes = sizes["CPU_LINE"], record_bytes(layouts)
        self.estimate = layouts["estimate"]
        offset = self.estimate.offset
        self._total, self._sampled = offset("total"), offset("sampled")
        self._average, self._base = offset("average"), offset("base")
        self._retired = layouts["retired"].offset("next")
        self._chunks: dict[int, Chunk] = {}

    @cached_property
    def _outer(self) -> tuple[Map, Map]:
        return self._plane.map("records"), self._plane.map("estimates")

    def chunk(self, number: int) -> Chunk:
        """An existing chunk, mapped once."""
        if number not in self._chunks:
            records, estimates = (outer.inner(number) for outer in self._outer)
            assert records is not None
            assert estimates is not None
            self._chunks[number] = Chunk(MappedArray(records), MappedArray(estimates))
        return self._chunks[number]

    def make_chunks(self, first: int, number: int = 1) -> None:
        """New chunks, all zero. Putting a map into an array of maps waits for the packets of the moment, so many go at
        once. The records come last: what finds a record finds its estimate too."""
        if first >= self.chunks_max:
            raise TableFull(f"the table has no room for more than {self.chunks_max * self.chunk_size} records")
        numbers = range(first, min(first + number, self.chunks_max))
        keys = b"".join(each.to_bytes(4, "little") for each in numbers)
        for outer, make in reversed(list(zip(self._outer, self._makers(), strict=True))):
            made = [make() for _ in numbers]
            outer.update_many(keys, b"".join(inner.fd.to_bytes(4, "little") for inner in made))

    def _makers(self) -> tuple[Callable[[], Map], ...]:
        """How to make an inner map of records, of estimates."""
        size, array = self.chunk_size, MapType.ARRAY
        return (
            lambda: Map.create(array, 4, self.record_bytes, size, F_MMAPABLE, "records_chunk"),
            lambda: Map.create(array, 4, self.estimate.size, size, F_MMAPABLE, "estimates_chunk"),
        )

    def at(self, slot: int) -> tuple[memoryview, int]:
        """Memory and byte offset of the record in `slot`."""
        chunk = self.chunk(slot // self.chunk_size)
        return chunk.records.memory, slot % self.chunk_size * chunk.records.stride

    def words_at(self, slot: int) -> tuple[memoryview, int]:
        """The same in words of 4 bytes: an index, not an offset."""
        number, place = divmod(slot, self.chunk_size)
        records = (self._chunks.get(number) or self.chunk(number)).records
        return records.words, place * records.stride // 4

    def allocate(self) -> int:
        """A slot that never was used; the record in it is zero."""
        slot: int = self.settings["next_record"]
        if slot % self.chunk_size == 0:
            number = slot // self.chunk_size
            if self._outer[0].inner(number) is None:
                self.make_chunks(number, number)  # as many as there are: a large table waits seldom
        self.settings["next_record"] = slot + 1
        return slot

    def retire(self, slot: int, tick: int, was_service: bool = False) -> None:
        """A record that is not used any more can be again when packets that are on their way now are through."""
        memory, base = self.at(slot)
        _RETIRED.pack_into(memory, base + self._retired, 0, tick, was_service)
        last = self.settings["last_retired"]
        if self.settings["first_retired"]:
            memory, base = self.at(last)
            memory[base + self._retired : base + self._retired + 4] = slot.to_bytes(4, "little")
        else:
            self.settings["first_retired"] = slot
        self.settings["last_retired"] = slot

    def retire_service(self, slot: int, tick: int) -> None:
        """The same for a service. Its total was that of its destinations; the record's own counters are zero, as its
        estimate is from now on."""
        self._clear_estimate(slot)
        self.retire(slot, tick, was_service=True)

    def forget_retired(self) -> None:
        """No record is retired: `retire_found` says which are."""
        self.settings["first_retired"] = 0

    def retire_found(self, slot: int, tick: int, busy: bool) -> None:
        """Retire a record of which nobody knows what it was. `busy`: a destination that still has connections."""
        if not any(self._cpu_lines(slot)):  # it may have been a service, whose estimate begins at zero
            self._clear_estimate(slot)
        self.retire(slot, tick, was_service=not busy)

    def oldest(self, before: int) -> tuple[int, bool]:
        """The slot that was retired first, if that was before this tick, else 0; and whether it was a service."""
        slot: int = self.settings["first_retired"]
        if slot:
            memory, base = self.at(slot)
            _, tick, was_service = _RETIRED.unpack_from(memory, base + self._retired)
            if (tick - before) & 0x80000000:
                return slot, bool(was_service)
        return 0, False

    def take_oldest(self) -> None:
        """No longer retired. What is in the record is left."""
        memory, base = self.at(self.settings["first_retired"])
        self.settings["first_retired"], *_ = _RETIRED.unpack_from(memory, base + self._retired)

    def clear(self, slot: int) -> None:
        """Make a record that was used before zero."""
        memory, base = self.at(slot)
        memory[base : base + self.record_size] = bytes(self.record_size)

    def counted(self, slot: int) -> Sums:
        """What was counted since the last zeroing, as of the last folding (bpf/fold.h)."""
        memory, start = self.estimate_at(slot)
        total = _FIVE.unpack_from(memory, start + self._total)
        base = _FIVE.unpack_from(memory, start + self._base)
        return Sums(*map(sub, total, base))

    def counted_by_cpu(self) -> list[Sums]:
        """What each CPU has counted since the data plane was loaded."""
        sums = [Sums(0, 0, 0, 0, 0)] * possible_cpus()
        for slot in range(self.settings["next_record"]):
            lines = self._cpu_lines(slot)
            if any(lines):
                by_cpu = (_FIVE.unpack_from(lines, at) for at in range(0, len(lines), self.cpu_line))
                sums = [Sums(*map(add, a, b)) for a, b in zip(sums, by_cpu, strict=True)]
        return sums

    def _cpu_lines(self, slot: int) -> memoryview:
        """What is behind the record: a line of counters for each CPU."""
        memory, base = self.at(slot)
        return memory[base + self.record_size : base + self.record_bytes]

    def estimate_at(self, slot: int) -> tuple[memoryview, int]:
        chunk = self.chunk(slot // self.chunk_size)
        return chunk.estimates.memory, slot % self.chunk_size * chunk.estimates.stride

    def rates(self, slot: int) -> Sums:
        """Connections, packets and bytes a second, rounded as the kernel does (ip_vs_read_estimator)."""
        memory, start = self.estimate_at(slot)
        values = _FIVE.unpack_from(memory, start + self._average)
        return Sums(*((v + 0x1FF) >> 10 for v in values[:3]), *((v + 0xF) >> 5 for v in values[3:]))

    def zero(self, slot: int) -> None:
        """Counters and rates of the record start again from zero; the totals, the data plane's, go on."""
        memory, start = self.estimate_at(slot)
        total = memory[start + self._total : start + self._total + _FIVE.size]
        memory[start + self._base : start + self._base + _FIVE.size] = total
        memory[start + self._sampled : start + self._sampled + _FIVE.size] = total
        memory[start + self._average : start + self._average + _FIVE.size] = bytes(_FIVE.size)

    def uncount(self, slot: int) -> None:
        """For a service: neither counters nor rates. A destination's counters go on instead, from where they are
        (`zero`), since its total is what they had come to."""
        self._clear_estimate(slot)
        self._cpu_lines(slot)[:] = bytes(self.record_bytes - self.record_size)

    def _clear_estimate(self, slot: int) -> None:
        memory, start = self.estimate_at(slot)
        memory[start : start + self.estimate.size] = bytes(self.estimate.size)


_FIVE = struct.Struct("=5Q")
_RETIRED = struct.Struct("=III")  # next, tick, was_service
