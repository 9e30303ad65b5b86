# SPDX-License-Identifier: GPL-2.0-or-later
"""Tracing on, and the packets that it shows. It goes off by itself a few seconds after nobody reads any more."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

from pylvs.addresses import unpack
from pylvs.dataplane.kernel import possible_cpus
from pylvs.dataplane.mapped import MappedArray
from pylvs.errors import PylvsError
from pylvs.host.packets import parse
from pylvs.table.director import Director
from pylvs.table.records import Record, swap16
from pylvs.trace.packet import PROTOCOLS, TracedPacket, endpoint, ends, mac, rewritten, state_name, tcp_flags
from pylvs.trace.ring import Ring
from pylvs.trace.wanted import Wanted, fields

AHEAD = 3  # seconds for which each renewal keeps tracing on
RENEW = 1.0  # seconds between renewals
HOOKS = ("xdp", "tc")  # by the number in a record
LEAVING = ("FORWARD_", "REFUSE_")  # outcomes of packets that go out


class Busy(PylvsError):
    """Another process traces this data plane."""


class Tracing:
    """Tracing of this network namespace's data plane, on in a `with` block."""

    def __init__(self, director: Director, wanted: Wanted, rate: int) -> None:
        self.director, self.instance = director, director.instance
        layouts = director.layouts
        self._outcomes = {number: name for name, number in layouts.enum("outcome").items()}
        self._flags = layouts.enum("trace_flag")
        self._filter = Record(layouts["trace_filter"])
        self._record = Record(layouts["trace_record"])
        self._fields = fields(wanted, rate, layouts.enum("outcome"))
        self._tracer = layouts["tracer"]
        self._ring = Ring(self.instance.map("trace_ring"))
        self._boot = time.time_ns() - time.monotonic_ns()  # ns since 1970
        self._renewed = 0.0
        self._before = (0, 0)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Trace in the `with` block, as the only one that traces this data plane; Busy."""
        with self._alone():
            try:
                self._start()
                yield
            finally:
                self.director.settings["trace"] = 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A lock on the directory of the data plane's maps, which the kernel takes back from a process that dies."""
        directory = os.open(os.path.dirname(self.instance.pin_path("maps", "trace")), os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Busy("another pylvs trace runs in this network namespace; end it first") from None
        finally:
            os.close(directory)

    def _start(self) -> None:
        """Put the filter in place and switch tracing on; what an earlier tracer left is forgotten."""
        self._ring.forget()
        self._before = self._missed()
        with MappedArray(self.instance.map("trace")) as place:
            self._filter.pack_into(place.memory, 0, **self._fields)
        self._renewed = 0.0
        self.renew()

    def renew(self) -> None:
        """Let tracing go on for AHEAD seconds from now: the setting is the tick at which it ends, 0 is off."""
        if time.monotonic() - self._renewed >= RENEW:
            self._renewed = time.monotonic()
            end = self.director.tick() + AHEAD * self.director.settings["second"]
            self.director.settings["trace"] = end & 0xFFFFFFFF or 1

    def packets(self, until: float) -> Iterator[TracedPacket | None]:
        """Packets as they come, until the time (monotonic) is up; None whenever there are no more for now."""
        while True:
            self.renew()
            for raw in self._ring.records():
                yield self._packet(raw)
            yield None
            left = until - time.monotonic()
            if left <= 0:
                return
            self._ring.wait(min(RENEW / 2, left))

    def rest(self) -> Iterator[TracedPacket]:
        """The packets that are still in the ring."""
        for raw in self._ring.records():
            yield self._packet(raw)

    def _missed(self) -> tuple[int, int]:
        """Both counts of `missed`, since the data plane was loaded."""
        raw = self.instance.map("tracers").lookup(bytes(4)) or b""
        size = len(raw) // possible_cpus()
        starts = range(0, len(raw), size)
        over = sum(self._tracer["left_out"].unpack_from(raw, start) for start in starts)
        lost = sum(self._tracer["lost"].unpack_from(raw, start) for start in starts)
        return over, lost

    @property
    def missed(self) -> tuple[int, int]:
        """Packets over the rate, and packets for which the ring had no room, since the start."""
        over, lost = self._missed()
        over_before, lost_before = self._before
        return over - over_before, lost - lost_before

    def _packet(self, raw: memoryview) -> TracedPacket:
        """The packet of a `struct trace_record`."""
        values = dict(zip(self._record.names, self._record.unpack_from(raw, 0), strict=True))
        before = values["before"][: values["length"]]
        outcome = self._outcomes.get(values["outcome"], "?")
        seen = parse(before)
        source, target = ends(seen)
        packet = TracedPacket(
            time=values["time"] + self._boot,
            interface=interface(values["ifindex"]),
            hook=HOOKS[values["hook"]],
            protocol=PROTOCOLS.get(seen.protocol, f"protocol {seen.protocol}") if seen else "",
            client=_endpoint(values, "client", "cport"),
            virtual=_endpoint(values, "virtual", "vport"),
            source=source,
            target=target,
            flags=tcp_flags(seen),
            length=values["length"],
            outcome=outcome,
            before=before,
            after=values["after"][: values["left"]] if outcome.startswith(LEAVING) else b"",
            left=values["left"],
        )
        packet = self._with_connection(packet, values)
        return self._with_departure(packet, values) if packet.after else packet

    def _with_connection(self, packet: TracedPacket, values: dict[str, Any]) -> TracedPacket:
        """The packet with its service, destination and connection."""
        is_new, is_known = self._has(values, "NEW"), self._has(values, "KNOWN")
        service = self.director.service_at(values["service"]) if values["service"] else None
        has_state = values["destination"] and (is_known or values["state"])
        return replace(
            packet,
            connection="new" if is_new else "known" if is_known else "",
            reply=self._has(values, "REPLY"),
            persistent=self._has(values, "PERSISTENT"),
            service=service.key.option if service else "",
            scheduler=service.scheduler if service else "",
            destination=_endpoint(values, "real", "rport") if values["destination"] else "",
            state=state_name(values["protocol"], values["state"]) if has_state else "",
        )

    def _has(self, values: dict[str, Any], flag: str) -> bool:
        """Whether a record has a flag of `enum trace_flag`."""
        return bool(values["flags"] & self._flags[f"TRACE_{flag}"])

    def _with_departure(self, packet: TracedPacket, values: dict[str, Any]) -> TracedPacket:
        """The packet with how it leaves."""
        method = self.director.memory.codes.methods.get(values["method"])
        word = method.name if method and values["destination"] else ""
        hop = unpack(values["hop"])
        return replace(
            packet,
            method=word,
            rewritten=rewritten(packet.before, packet.after, word),
            out=interface(values["out"]),
            next_hop=str(hop) if any(values["hop"]) and int(hop) else "",
            mac=mac(packet.after) if packet.after[:6] != packet.before[:6] else "",
        )


def _endpoint(values: dict[str, Any], address: str, port: str) -> str:
    return endpoint(unpack(values[address]), swap16(values[port])) if values["family"] else ""


@lru_cache
def interface(number: int) -> str:
    """The name of the interface with this number; '' for 0."""
    try:
        return socket.if_indextoname(number) if number else ""
    except OSError:
        return f"if{number}"
