# SPDX-License-Identifier: GPL-2.0-or-later
"""Switching the data plane's tracing on and reading what it says. It goes off by itself when nobody reads any more."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from pylvs.addresses import unpack
from pylvs.dataplane.kernel import possible_cpus
from pylvs.dataplane.mapped import MappedArray
from pylvs.errors import PylvsError
from pylvs.host.packets import parse
from pylvs.model import ForwardingMethod
from pylvs.table.director import Director
from pylvs.table.records import Record, swap16
from pylvs.trace.ring import Ring
from pylvs.trace.sight import PROTOCOLS, Sight, endpoint, ends, mac, rewritten, state_name, tcp_flags
from pylvs.trace.wanted import Wanted, fields

AHEAD = 3  # seconds that tracing goes on without us
RENEW = 1.0  # seconds
HOOKS = ("xdp", "tc")
WORDS = {ForwardingMethod.DR: "DR", ForwardingMethod.NAT: "NAT", ForwardingMethod.TUN: "TUN"}
NEW, KNOWN, REPLY, PERSISTENT = 1, 2, 4, 8
MISSED = struct.Struct("=QQ")  # at 8 of `struct tracer`
FORWARDED = ("FORWARD_", "REFUSE_")


class Busy(PylvsError):
    """Somebody traces here already."""


class Tracing:
    """Tracing of this network namespace's data plane, on in a `with` block."""

    def __init__(self, director: Director, wanted: Wanted, rate: int) -> None:
        self.director, self.instance = director, director.instance
        layouts = director.layouts
        self.names = {number: name for name, number in layouts.enum("outcome").items()}
        self._filter = Record(layouts["trace_filter"])
        self._record = Record(layouts["trace_record"])
        self._fields = fields(wanted, rate, layouts.enum("outcome"))
        self._ring = Ring(self.instance.map("trace_ring"))
        self._boot = time.time_ns() - time.monotonic_ns()
        self._renewed = 0.0
        self._before = (0, 0)

    @contextmanager
    def on(self) -> Iterator[None]:
        """The only tracer of this data plane; Busy."""
        folder = os.open(os.path.dirname(self.instance.pin_path("maps", "trace")), os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy("another pylvs trace runs in this network namespace; end it first") from None
            self._start()
            yield
        finally:
            self.director.settings["trace"] = 0
            os.close(folder)

    def _start(self) -> None:
        self._ring.forget()
        self._before = self._missed()
        with MappedArray(self.instance.map("trace")) as place:
            self._filter.pack_into(place.memory, 0, **self._fields)
        self._renew()

    def _renew(self) -> None:
        if time.monotonic() - self._renewed >= RENEW:
            self._renewed = time.monotonic()
            ahead = self.director.tick() + AHEAD * self.director.settings["second"]
            self.director.settings["trace"] = ahead & 0xFFFFFFFF or 1

    def sights(self, until: float) -> Iterator[Sight | None]:
        """What is seen, until the time (monotonic) is up; None when all that is there was given."""
        while True:
            self._renew()
            for raw in self._ring.records():
                yield self._sight(raw)
            yield None
            left = until - time.monotonic()
            if left <= 0:
                return
            self._ring.wait(min(RENEW / 2, left))

    def last(self) -> Iterator[Sight]:
        """What is still in the ring."""
        for raw in self._ring.records():
            yield self._sight(raw)

    def _missed(self) -> tuple[int, int]:
        raw = self.instance.map("tracers").lookup(bytes(4)) or b""
        size = len(raw) // possible_cpus()
        each = [MISSED.unpack_from(raw, cpu * size + 8) for cpu in range(possible_cpus())]
        return sum(left for left, _ in each), sum(lost for _, lost in each)

    @property
    def missed(self) -> tuple[int, int]:
        """Records over the rate, and records for which the ring had no room, since the start."""
        over, lost = self._missed()
        return over - self._before[0], lost - self._before[1]

    def _sight(self, raw: memoryview) -> Sight:
        values = dict(zip(self._record.names, self._record.unpack_from(raw, 0), strict=True))
        before = values["before"][: values["length"]]
        outcome = self.names.get(values["outcome"], "?")
        after = values["after"][: values["left"]] if outcome.startswith(FORWARDED) else b""
        seen = parse(before)
        source, target = ends(seen)
        return Sight(
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
            after=after,
            left=values["left"],
            **self._connection(values),
            **(self._departure(values, before, after) if after else {}),
        )

    def _connection(self, values: dict[str, Any]) -> dict[str, Any]:
        """Whose the packet is."""
        flags, said = values["flags"], dict[str, Any]()
        if values["service"]:
            service = self.director.service_at(values["service"])
            said |= {"service": service.key.option, "scheduler": service.scheduler}
        if values["destination"]:
            said["destination"] = _endpoint(values, "real", "rport")
            if flags & KNOWN or values["state"]:
                said["state"] = state_name(values["protocol"], values["state"])
        known = "new" if flags & NEW else "known" if flags & KNOWN else ""
        return said | {"connection": known, "reply": bool(flags & REPLY), "persistent": bool(flags & PERSISTENT)}

    def _departure(self, values: dict[str, Any], before: bytes, after: bytes) -> dict[str, Any]:
        """How it leaves."""
        method = self.director.memory.codes.methods.get(values["method"])
        word = WORDS.get(method, "FULLNAT") if method and values["destination"] else ""
        hop = unpack(values["hop"])
        return {
            "method": word,
            "rewritten": rewritten(before, after, word),
            "out": interface(values["out"]),
            "next_hop": "" if not int(hop) or not any(values["hop"]) else str(hop),
            "mac": mac(after) if after[:6] != before[:6] else "",
        }


def _endpoint(values: dict[str, Any], address: str, port: str) -> str:
    return endpoint(unpack(values[address]), swap16(values[port])) if values["family"] else ""


@lru_cache
def interface(number: int) -> str:
    """Its name, '' for none."""
    try:
        return socket.if_indextoname(number) if number else ""
    except OSError:
        return f"if{number}"
