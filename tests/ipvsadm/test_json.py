# SPDX-License-Identifier: GPL-2.0-or-later
"""What `--json` prints is what `listing.schema.json` says: of any table in memory, and of the real one."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

import pylvs.ipvsadm
from pylvs.ipvsadm.run import Session
from pylvs.model import Connection, Counters, Destination, Protocol, SyncDaemon, VirtualService
from pylvs.table.connections import SCTP_STATES, TCP_STATES, TEMPLATE_STATES
from pylvs.table.load import OBJECT
from tests.ipvsadm.memory import MemoryTable
from tests.ipvsadm.strategies import IPV4, IPV6, PORTS, keys, tables

SCHEMA = json.loads((Path(pylvs.ipvsadm.__file__).parent / "listing.schema.json").read_text())
DOCS = Path(__file__).parents[2] / "docs" / "json.md"
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
LISTINGS = ("-L", "-S", "-L --nosort", "-L --stats", "-L -c", "-L --timeout", "-L --daemon")


def listed(table: MemoryTable, line: str) -> Any:
    """The output of `pylvsadm LINE --json`, which the schema must accept."""
    out, err = io.StringIO(), io.StringIO()
    assert Session("pylvsadm", lambda: table, io.BytesIO(), out, err).run([*line.split(), "--json"]) == 0, (
        err.getvalue()
    )
    data = json.loads(out.getvalue())
    VALIDATOR.validate(data)
    return data


NUMBERS = st.integers(0, 2**64 - 1)
CONNECTIONS = st.builds(
    Connection,
    st.sampled_from(Protocol),
    st.one_of(IPV4, IPV6), PORTS, st.one_of(IPV4, IPV6), PORTS, st.one_of(IPV4, IPV6), PORTS,
    st.sampled_from(sorted({"UDP", *TCP_STATES, *SCTP_STATES, *TEMPLATE_STATES})),
    st.floats(0, 2678400),
)  # fmt: skip


def test_the_schema_is_one() -> None:
    """Of the draft it names."""
    Draft202012Validator.check_schema(SCHEMA)


@given(tables(), st.builds(Counters, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS))
def test_any_table(configured: list[tuple[VirtualService, list[Destination]]], counted: Counters) -> None:
    """Services of addresses and marks, every method, every flag."""
    table = MemoryTable()
    table.replace(configured)
    table.counted = {service.key: counted for service, _ in configured}
    for line in ("-L", "-S", "-L --nosort"):
        assert len(listed(table, line)["services"]) == len(configured)


@given(st.lists(CONNECTIONS, max_size=5))
def test_any_connections(entries: list[Connection]) -> None:
    """Every protocol and state."""
    table = MemoryTable()
    table.entries = entries
    assert len(listed(table, "-L -c")["connections"]) == len(entries)


def test_timeouts_and_daemons() -> None:
    """As they are at first, and a daemon of each role."""
    table = MemoryTable()
    assert listed(table, "-L --daemon") == {"daemons": []}
    table.start_daemon(SyncDaemon("master", "lo", 7))
    table.start_daemon(SyncDaemon("backup", "lo", 255))
    assert [daemon["sync_id"] for daemon in listed(table, "-L --daemon")["daemons"]] == [7, 255]
    assert listed(table, "-L --timeout") == {"timeouts": {"tcp": 900, "tcp_fin": 120, "udp": 300}}


@given(keys())
def test_a_field_more_or_less_is_noticed(key: Any) -> None:
    """The schema is strict at every depth."""
    table = MemoryTable()
    table.add_service(VirtualService(key))
    (service,) = listed(table, "-L")["services"]
    for changed in (service | {"new": 1}, dict(list(service.items())[1:]), service | {"stats": {}}):
        with pytest.raises(ValidationError):
            VALIDATOR.validate({"services": [changed]})


def fields(schema: Any) -> Iterator[str]:
    """Every name of a property."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from fields(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from fields(inner)


def test_every_field_is_in_the_docs() -> None:
    """By name."""
    text = DOCS.read_text()
    assert [name for name in set(fields(SCHEMA)) if f"`{name}`" not in text and f'"{name}"' not in text] == []


def test_the_example_in_the_docs_is_valid() -> None:
    """Word for word."""
    text = DOCS.read_text()
    example = text[text.index('    {"services"') : text.index("    ]}\n") + len("    ]}\n")]
    VALIDATOR.validate(json.loads(example))


REAL = (
    "-A -t 10.0.0.100:80 -s sh -b sh-port,sh-fallback -p 300 -M 255.255.255.0",
    "-a -t 10.0.0.100:80 -r 10.1.0.21:8080 -m -w 3 -x 9 -y 4",
    "-a -t 10.0.0.100:80 -r 10.1.0.22 -i --tun-type gue --tun-port 6080 --tun-csum",
    "-A -u [fd00::1]:53 -o -s rr",
    "-a -u [fd00::1]:53 -r [fd00::2]:53 -g",
    "-A -f 7 -6 -s mh -b mh-port -p 60 -M 64 --pe sip",
    "-a -f 7 -6 -r fd00::3 --fullnat --local-address fd00::9",
    "--start-daemon master --mcast-interface lo --syncid 3",
)


@pytest.mark.skipif(os.geteuid() != 0 or not OBJECT.exists(), reason="loads BPF: needs root, and make bpf")
def test_the_real_table() -> None:
    """Made by commands, with a connection and a template of the schema's kinds."""
    from tests.packets import cast
    from tests.packets.plane import Network, Plane

    with closing(Network()) as network, network.inside(), closing(Plane()) as plane:
        for line in (*REAL, f"-A -t {cast.VIP}:81 -p", f"-a -t {cast.VIP}:81 -r {cast.REAL_1.ip} -g"):
            plane.adm(line)
        plane.know_hops()
        packet = cast.IP(src=cast.CLIENT.ip, dst=cast.VIP) / cast.TCP(sport=1024, dport=81, flags="S")
        assert plane.run("xdp", bytes(cast.sent_by(cast.CLIENT, packet))).verdict == "SENT"
        found = {line: json.loads(plane.adm(f"{line} --json")) for line in (*LISTINGS, f"-L -t {cast.VIP}:81")}
    for data in found.values():
        VALIDATOR.validate(data)
    assert len(found["-L"]["services"]) == 4
    assert sorted(row["template"] for row in found["-L -c"]["connections"]) == [False, True]
    assert found["-L --daemon"]["daemons"][0]["role"] == "master"
