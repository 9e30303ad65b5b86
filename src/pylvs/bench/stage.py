# SPDX-License-Identifier: GPL-2.0-or-later
"""A director in a network namespace of its own, without a wire: packets come from test runs and go nowhere."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from pylvs.bench.frames import ACK, SYN, SYN_ACK, frame
from pylvs.bench.generator import Flows, Generator
from pylvs.bench.keeper import mine
from pylvs.dataplane.instance import Instance
from pylvs.dataplane.kernel import Link, possible_cpus
from pylvs.dataplane.mapped import MappedArray
from pylvs.host import iproute, netns
from pylvs.model import ConfiguredService
from pylvs.table.director import Director
from pylvs.table.load import OBJECT, create
from pylvs.table.records import Record, Records
from pylvs.table.settings import Settings

GATEWAY = bytes.fromhex("0200000000fe")
CHUNK = 1 << 16  # flows that are set up at a time: far less than a handshake's timeout

# One interface; every client and every real server is behind one gateway.
NETWORK = f"""link set lo up
link add wire type veth peer name far
link set far up
link set wire up
addr add 192.0.2.1/24 dev wire
addr add 2001:db8:ff::1/64 dev wire nodad
neigh add 192.0.2.254 lladdr {GATEWAY.hex(":")} dev wire nud permanent
neigh add 2001:db8:ff::fe lladdr {GATEWAY.hex(":")} dev wire nud permanent
route add default via 192.0.2.254
route add 2001:db8::/64 via 2001:db8:ff::fe
"""


class Stage:
    """One director in a fresh network namespace; leave it by `close`, or as a context."""

    def __init__(
        self, name: str, entries: int, services: Sequence[ConfiguredService], object_path: Path = OBJECT
    ) -> None:
        self.name, self.entries = name, entries
        self._in_use: Link | None = None
        self._net = netns.unnamed()
        with self.inside():
            # The next command of pylvs, wherever it runs, removes the pins of a namespace in which there is no process.
            holder = [f"{mine()}holder"]  # a name by which it is found
            self._holder = subprocess.Popen(holder, executable="cat", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            iproute.batch(*NETWORK.splitlines())
            self.ifindex = socket.if_nametoindex("wire")
            self.instance = Instance.here()
            with self.instance.locked():
                create(self.instance, object_path, entries)
            self.plane = self.instance.current
            with Director() as director:
                director.replace(services)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the director and its namespace away."""
        with self.inside():
            self.instance.remove()
        if self._in_use:
            self._in_use.close()
        self._holder.communicate()
        os.close(self._net)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in the stage's namespace."""
        with netns.inside(self._net):
            yield

    def join(self, generator: Generator) -> None:
        """Let the generator run this director."""
        self.generator = generator
        with self.inside():
            self._in_use = generator.attach()
        self.target = generator.add(self.instance.program("director_xdp"), self.instance.program("director_tc"))

    @cached_property
    def records(self) -> Records:
        return Records(self.plane, self.plane.layouts, Settings(self.plane, self.plane.layouts))

    @cached_property
    def outcome_names(self) -> list[str]:
        numbers = self.instance.layouts.enum("outcome")
        return sorted((name for name in numbers if name != "OUTCOMES"), key=numbers.__getitem__)

    def outcomes(self) -> list[int]:
        """How many packets had each outcome so far, in the order of `outcome_names`."""
        counts = []
        for index in range(len(self.outcome_names)):
            raw = self.instance.map("outcomes").lookup(struct.pack("=I", index))
            assert raw is not None
            counts.append(sum(struct.unpack(f"={possible_cpus()}Q", raw)))
        return counts

    def now(self) -> int:
        """The data plane's clock, in ticks."""
        layout = self.instance.layouts["control_args"]
        control = self.instance.syscall_program("control", layout.size)
        with control:
            control()
            return int(layout["now"].unpack_from(control.context))

    @cached_property
    def slots(self) -> Mapping[tuple[int, int], list[int]]:
        """Slots of the destinations of the service with this IP protocol and port (host order)."""
        service, destination = (Record(self.instance.layouts[name]) for name in ("service", "destination"))
        found: dict[tuple[int, int], list[int]] = {}
        for key, value in self.instance.map("services").items():
            memory, base = self.records.at(*struct.unpack("=I", value))
            slot = struct.unpack_from("=I", memory, base + service.offset["first"])[0]
            port, protocol = struct.unpack_from("!HB", key, 16)
            chain = found.setdefault((protocol, port), [])
            while slot:
                chain.append(slot)
                memory, base = self.records.at(slot)
                slot = struct.unpack_from("=I", memory, base + destination.offset["next"])[0]
        return found

    def prime(self, protocol: int, port: int) -> None:
        """Every destination of a service has its next hop, as if the TC hook had just asked for it."""
        layout, now = self.instance.layouts["destination"], self.now()
        for slot in self.slots[protocol, port]:
            memory, base = self.records.at(slot)
            layout.pack_into(memory, base, checked=now, ifindex=self.ifindex, neighbour=GATEWAY, mtu=1500)

    def forget(self, protocol: int, port: int) -> None:
        """An empty connection table, and destinations of a service without connections."""
        for name in ("connections", "due"):
            with MappedArray(self.instance.map(name)) as array:
                pointer = ctypes.c_char.from_buffer(array.memory)
                ctypes.memset(ctypes.addressof(pointer), 0, array.memory.nbytes)
                del pointer
        layout = self.instance.layouts["destination"]
        for slot in self.slots[protocol, port]:
            memory, base = self.records.at(slot)
            layout.pack_into(memory, base, active=0, inactive=0, persistent=0)
        self.records.settings["table_pressed"] = 0

    def establish(self, flows: Flows, count: int, protocol: int, replies: Flows | None = None) -> None:
        """Set up `count` connections by their handshakes. `replies`: also the server's part of it, as NAT has it."""
        steps: list[tuple[Flows, int]] = [(flows, SYN)]
        if protocol == 6:
            steps += [(replies, SYN_ACK)] if replies else []
            steps += [(flows, ACK)]
        for start in range(0, count, CHUNK):
            for step, flags in steps:
                self._pass(step, frame(flows.family, protocol, flags), start, min(CHUNK, count - start), protocol)

    def _pass(self, flows: Flows, packet: bytes, start: int, count: int, protocol: int) -> None:
        self.prime(protocol, flows.server_port) if not flows.replies else self.forget_routes()
        self.generator.plan(flows, count, len(packet), start)
        with self.inside():
            if flows.replies:
                self.renew_hop(packet)
            self.generator.run("xdp", self.target, packet, count - flows.replies)

    def renew_hop(self, packet: bytes) -> None:
        """One reply by TC, which alone can renew the next hop that all clients share; it does so once a second."""
        self.generator.run("tc", self.target, packet, 1)

    def forget_routes(self) -> None:
        """Empty the cache of routes to clients: XDP can ask for them again, and only TC could renew them."""
        keys, values = self._no_routes
        self.instance.map("routes").update_many(keys, values)

    @cached_property
    def _no_routes(self) -> tuple[bytes, bytes]:
        info = self.instance.map("routes").info
        return struct.pack(f"={info.max_entries}I", *range(info.max_entries)), bytes(info.max_entries * info.value_size)


def number(address: str) -> int:
    """The last 32 bits of an address."""
    return int(ip_address(address)) & 0xFFFFFFFF
