# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of `-Lnc` that the kernel writes are those that Python writes, for every kind of connection."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, NamedTuple

import pytest

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.kernel import F_MMAPABLE, Map, MapType
from pylvs.dataplane.libbpf import ObjectFile
from pylvs.dataplane.mapped import MappedArray
from pylvs.ipvsadm.connections import list_connections, packed
from pylvs.model import ConnectionRow
from pylvs.table import listing
from pylvs.table.connections import SCTP_STATES, STATES, TCP_STATES, TEMPLATE_STATES
from pylvs.table.listing import connection_text
from pylvs.table.load import OBJECT
from pylvs.table.records import Record, swap16

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loads BPF, so it needs root")

NOW, SECOND, WAYS = 0xFFFF_FF00, 100, 8  # the tick is about to wrap
CLIENTS = (
    "10.0.0.1", "255.255.255.255", "fd00::1", "2001:db8:1:2:3:4:5:6", "::1", "::", "1::", "::1.2.3.4", "::1:0:0",
    "2001:0:0:1:0:0:0:1", "2001:db8:0:1:1:1:1:1", "1:0:0:2:2:0:0:3", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "::2:3:4:5:6:7:8", "a:b:c:d:e:f::", "::ffff:0:1.2.3.4", "64:ff9b::a00:1",
)  # fmt: skip
TEMPLATE, INVALID = 1, 8


class Case(NamedTuple):
    """A row as it should be listed, and what the table holds for it beyond that."""

    row: ConnectionRow
    flags: int = 0


def cases() -> Iterator[Case]:
    """States, families, widths, and expiries of more than 100 minutes."""
    vip, real = packed(ip_address("192.0.2.1")), packed(ip_address("10.1.0.21"))
    for protocol, names in ((6, TCP_STATES), (17, ("UDP",)), (132, SCTP_STATES)):
        for number, name in enumerate(names):
            client = packed(ip_address(CLIENTS[number % len(CLIENTS)]))
            yield Case((protocol, name, 59 * number, client, 1024 + number, vip, 80, real, 8080))
    for text in CLIENTS:
        yield Case((17, "UDP", 300, packed(ip_address(text)), 53, packed(ip_address(text)), 0, real, 53))
    for left in (5999, 6000, 59999, 60000, 2678400):
        yield Case((6, "ESTABLISHED", left, packed(ip_address(CLIENTS[3])), 65535, vip, 80, real, 1))
    for name in TEMPLATE_STATES:
        yield Case((6, name, 60, vip, 0, vip, 80, real, 80), TEMPLATE)
    yield Case((6, "ASSURED", 60, vip, 0, vip, 65535, real, 65535), TEMPLATE | INVALID)
    yield Case((0, "ASSURED", 60, vip, 0, packed(ip_address("0.0.0.7")), 0, real, 0), TEMPLATE)


def chunk_of(layouts: Layouts) -> Map:
    """Records as the director makes them, with the counters of one CPU behind each."""
    sizes = layouts.enum("record_size")
    value_bytes = sizes["RECORD_SIZE"] + sizes["CPU_LINE"]
    return Map.create(MapType.ARRAY, 4, value_bytes, sizes["CHUNK"], F_MMAPABLE, "records")


def array_of(chunk: Map) -> Map:
    """The map `records` with this one in it."""
    with ObjectFile(listing.OBJECT) as file:
        file.load()
        records = file.maps()["records"]
    records.set_inner(0, chunk)
    return records


def state_number(row: ConnectionRow, flags: int) -> int:
    names = TEMPLATE_STATES if flags & TEMPLATE else STATES[row[0]]
    return names.index(row[1])


def fields(case: Case, slot: int) -> dict[str, Any]:
    """`struct connection` for a case."""
    protocol, _, left, client, cport, virtual, vport, _, rport = case.row
    return {
        "tag": 7,
        "expires": (NOW + max(left * SECOND, 1)) & 0xFFFFFFFF,
        "client": client,
        "virtual": virtual,
        "cport": swap16(cport),
        "vport": swap16(vport),
        "rport": swap16(rport),
        "destination": slot,
        "state": state_number(case.row, case.flags),
        "protocol": protocol,
        "flags": case.flags,
    }


@pytest.fixture
def layouts() -> Layouts:
    return Layouts.of_file(OBJECT)


class PlainTable:
    """A connection table of so many sets, and one chunk of records, without a data plane."""

    def __init__(self, layouts: Layouts, sets: int) -> None:
        self.entry, self.destination = Record(layouts["connection"]), Record(layouts["destination"])
        table = Map.create(MapType.ARRAY, 4, self.entry.size * WAYS, sets, F_MMAPABLE, "connections")
        due = Map.create(MapType.ARRAY, 4, 8, sets, F_MMAPABLE, "due")
        chunk = chunk_of(layouts)
        self.maps = {"connections": table, "due": due, "records": array_of(chunk)}
        self.table, self.due, self.records = MappedArray(table), MappedArray(due), MappedArray(chunk)

    def enter(self, number: int, **values: Any) -> None:
        """Write the entry of this number (set * WAYS + way)."""
        self.entry.pack_into(self.table.memory, number * self.entry.size, **values)
        self.due.words[number // WAYS * 2] = 1

    def enter_case(self, number: int, case: Case, slot: int) -> None:
        """The same for a case, with its real server in this slot."""
        self.enter(number, **fields(case, slot))
        self.destination.pack_into(self.records.memory, slot * self.records.stride, address=case.row[7])

    def blocks(self) -> list[str]:
        """What the kernel writes of the table."""
        return [block.decode() for block in connection_text(self.maps, NOW, SECOND)]

    def text(self) -> str:
        """The blocks together."""
        return "".join(self.blocks())


def formatted(chosen: list[Case]) -> str:
    """The rows as Python writes them."""
    return "".join(list_connections([[case.row for case in chosen]], numeric=True))


def test_every_kind_of_row(layouts: Layouts) -> None:
    """Byte for byte; the last set is empty."""
    chosen = list(cases())
    table = PlainTable(layouts, len(chosen) // WAYS + 2)
    for number, case in enumerate(chosen):
        table.enter_case(number, case, number + 1)
    assert table.text() == formatted(chosen)


def test_rows_beyond_one_block(layouts: Layouts) -> None:
    """A listing that takes several runs has every row once, in whole lines, gaps in the table or not."""
    chosen = [case for case in cases() for _ in range(1000)]
    table = PlainTable(layouts, len(chosen) * 2 // WAYS)
    for number, case in enumerate(chosen):
        table.enter_case(number // WAYS * 2 * WAYS + number % WAYS, case, number // 1000 + 1)
    blocks = table.blocks()
    assert "".join(blocks) == formatted(chosen)
    assert len(blocks) > 2
    assert all(block.endswith("\n") for block in blocks)


def test_an_empty_table(layouts: Layouts) -> None:
    """What nothing is due of is not looked at."""
    table = PlainTable(layouts, 1 << 17)
    table.enter_case(0, next(cases()), 1)
    table.due.words[0] = 0
    assert table.blocks() == []


def test_what_is_over_is_not_listed(layouts: Layouts) -> None:
    """Expired entries, free ones and those being changed are skipped; a held template is at 0 seconds."""
    row = next(cases()).row
    over = fields(Case(row), 1) | {"expires": (NOW - 1) & 0xFFFFFFFF}
    held = over | {"flags": TEMPLATE, "control": 3, "state": 1}
    table = PlainTable(layouts, 1)
    for way, values in enumerate((over, fields(Case(row), 1) | {"tag": 1}, held)):
        table.enter(way, **values)
    assert [line.split()[:3] for line in table.text().splitlines()] == [["TCP", "00:00", "ASSURED"]]
