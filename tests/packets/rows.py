# SPDX-License-Identifier: GPL-2.0-or-later
"""A test is a row: a sentence, a table, frames in, and what comes out: verdict, outcome and the whole frame.

The same rows go through both hooks. At XDP a frame that the hook passes goes on to TC, as on a machine, and the row
says with `xdp` what XDP itself made of it where that is not the end of the matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from scapy.packet import Raw

from tests.packets import cast
from tests.packets.cast import INTERFACE_OF, IP, TCP, UDP, Ether, IPv6, Packet
from tests.packets.plane import HOOKS, Plane, Result

TO_TC = "PASS_TO_TC"


@dataclass(frozen=True)
class Step:
    """One frame in, and what becomes of it. `arrives` None: it is dropped, or passed as it came.

    `free` names what is not to be foretold in `arrives`: "id" of the outer IPv4 header, "sport" of a tunnel's UDP.
    """

    sends: Packet
    outcome: str
    arrives: Packet | None = None
    xdp: str = ""
    free: Sequence[str] = ()
    mark: int = 0
    gso_size: int = 0


@dataclass(frozen=True)
class Row:
    """`listing` and `connections` are what `pylvsadm -L -n` and `-L -n -c` say at the end (None: not looked at),
    `totals` the counters: connections, packets in and out, bytes in and out."""

    sentence: str
    table: Sequence[str]
    steps: Sequence[Step]
    listing: Sequence[str] | None = None
    connections: Sequence[str] | None = None
    totals: tuple[int, int, int, int, int] | None = None
    knobs: dict[str, int] = field(default_factory=dict)
    hooks: Sequence[str] = HOOKS


def each(rows: Sequence[Row]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run the test for each row and each hook; its name is the sentence."""
    cases = [pytest.param(row, hook, id=f"{row.sentence} [{hook}]") for row in rows for hook in row.hooks]
    return pytest.mark.parametrize(("row", "hook"), cases)


def play(plane: Plane, row: Row, hook: str) -> None:
    """Play the row; AssertionError says what was expected and what came."""
    for name, value in row.knobs.items():
        plane.settings[name] = value
    for line in row.table:
        plane.adm(line)
    expected = dict.fromkeys(plane.outcome_names, 0)
    for step in row.steps:
        for outcome in play_step(plane, step, hook):
            expected[outcome] += 1
    assert plane.outcomes() == expected
    _check_after(plane, row)


def play_step(plane: Plane, step: Step, hook: str) -> list[str]:
    """Play one frame; the outcomes it should have been counted as."""
    frame = bytes(step.sends)
    interface = INTERFACE_OF.get(step.sends[Ether].src, "eth0")
    counted = []
    if hook == "xdp":
        plane.know_hops()
        met = plane.run("xdp", frame, interface=interface)
        outcome = step.xdp or step.outcome
        counted.append(outcome)
        if outcome != TO_TC:
            check(step, outcome, frame, met)
        else:
            assert (met.verdict, met.outcome) == ("PASS", TO_TC)
        if met.verdict != "PASS":
            return counted
        assert met.frame == frame or step.arrives is not None, "XDP passed the frame on, but changed it"
        if outcome == "PASS_LOCAL":
            return counted  # it is the host's now, rewritten
    done = plane.run("tc", frame, interface=interface, mark=step.mark, gso_size=step.gso_size)
    check(step, step.outcome, frame, done)
    return [*counted, step.outcome]


def check(step: Step, outcome: str, frame: bytes, result: Result) -> None:
    """The result is this outcome's, to the byte."""
    assert result.outcome == outcome
    kind = outcome.partition("_")[0]
    assert result.verdict == {"PASS": "PASS", "DROP": "DROP"}.get(kind, "SENT")
    if kind == "DROP":
        return
    wanted = frame if step.arrives is None else _expected(step, result.frame)
    assert result.frame == wanted, _difference(wanted, result.frame)


def _expected(step: Step, frame: bytes) -> bytes:
    """The frame that should come; what is free in it is taken from the one that came, and its checksums follow."""
    packet: Packet = step.arrives
    if not step.free:
        return bytes(packet)
    found, packet = Ether(frame), packet.copy()
    if "id" in step.free:
        assert IP in found
        assert found[IP].id
        packet[IP].id = found[IP].id
    if "sport" in step.free:
        assert UDP in found
        assert 32768 <= found[UDP].sport < 60999  # net.ipv4.ip_local_port_range
        packet[UDP].sport = found[UDP].sport
    return bytes(packet)


def _difference(wanted: bytes, found: bytes) -> str:
    """Both frames as text; the lines that differ are marked."""
    texts = [Ether(frame).show(dump=True).splitlines() for frame in (wanted, found)]
    length = max(map(len, texts))
    pairs = zip(*(text + [""] * (length - len(text)) for text in texts), strict=True)
    marked = [f"{'!' if a != b else ' '} {a:<50} {b}" for a, b in pairs]
    return "\n".join([f"expected {len(wanted)} bytes, got {len(found)}", *marked])


def _check_after(plane: Plane, row: Row) -> None:
    if row.listing is not None:
        assert plane.listing() == [cast.names(line) for line in row.listing]
    if row.connections is not None:
        assert plane.connections() == sorted(cast.names(line) for line in row.connections)
    if row.totals is not None:
        counters, _ = plane.director.totals()
        found = (
            counters.connections,
            counters.in_packets,
            counters.out_packets,
            counters.in_bytes,
            counters.out_bytes,
        )
        assert found == row.totals


def payload(length: int) -> Packet:
    """So many bytes, none of them like its neighbours."""
    return Raw(bytes(i * 7 % 251 for i in range(length)))


def ip(src: str, dst: str, **fields: Any) -> Packet:
    """An IPv4 header as a host with nothing special in mind makes it; IPv6 where the addresses are."""
    if ":" in src:
        return IPv6(src=src, dst=dst, **{"hlim": 64} | fields)
    return IP(src=src, dst=dst, **{"ttl": 64, "id": 7, "flags": "DF"} | fields)


def tcp(sport: int, dport: int, flags: str = "A", data: int = 0) -> Packet:
    return TCP(sport=sport, dport=dport, flags=flags, seq=1000, ack=2000 if "A" in flags else 0) / payload(data)


def udp(sport: int, dport: int, data: int = 5, **fields: Any) -> Packet:
    return UDP(sport=sport, dport=dport, **fields) / payload(data)


def aged(packet: Packet, hops: int = 1) -> Packet:
    """The same with fewer hops to live, its checksum anew."""
    older = packet.copy()
    if IP in older and older.name == "IP":
        older.ttl -= hops
        older.chksum = None
    else:
        older.hlim -= hops
    return older
