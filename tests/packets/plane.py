# SPDX-License-Identifier: GPL-2.0-or-later
"""The data plane in a network namespace of its own, where BPF_PROG_TEST_RUN alone hands it frames.

Loading takes the verifier half a second, so one process loads once and empties every map between two tests
(`Plane.wipe`); test_harness.py proves that an emptied data plane is as good as a new one.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pylvs.dataplane.attach import Attacher
from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.instance import Instance
from pylvs.dataplane.kernel import F_MMAPABLE, OF_MAPS, Map, MapType, Program, skb_context, xdp_context
from pylvs.dataplane.mapped import MappedArray
from pylvs.host import netns
from pylvs.host.iproute import batch as _ip
from pylvs.ipvsadm.connections import list_connections
from pylvs.ipvsadm.run import Session
from pylvs.table.connections import Entries, Entry
from pylvs.table.director import Director
from pylvs.table.load import OBJECT, create
from pylvs.table.records import Record
from pylvs.table.settings import Settings
from tests.packets import cast

TABLE_BITS = 12  # 4,096 entries
HOOKS = ("tc", "xdp")
VERDICTS = {"tc": {-1: "PASS", 2: "DROP", 7: "SENT"}, "xdp": {2: "PASS", 1: "DROP", 3: "SENT", 4: "SENT"}}
# Maps that no test leaves a trace in: constants, memory to work in, and the clock, which must go on.
ROOMS = ("scratch",)
LEFT_ALONE = ("trace_ring", "rodata", "bss", "data", "kconfig", *ROOMS, "clocks")
RECORDS = "records_chunk"
WORD = struct.Struct("=I")
ENTRY = 64  # bytes of `struct connection`
ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY)
HOP = ("ifindex", "neighbour", "own", "mtu", "gateway", "local")
GSO_SEGS, GSO_SIZE = 164, 176  # offsets in struct __sk_buff (linux/bpf.h)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one frame at one hook: verdict and outcome by name, and the frame as it is then."""

    verdict: str
    outcome: str
    frame: bytes


class Unattached(Director):
    """The real table, on no interface."""

    def _attach(self) -> None:
        Attacher(self.instance).attach([])


class Network:
    """A network namespace with the director's side of `cast`; it goes when this process ends, however it ends."""

    def __init__(self) -> None:
        self.fd = netns.unnamed()
        with self.inside():
            # Somebody who lives there: else its data plane would count as left behind and be cleared away.
            self.dweller = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            self._build()

    def _build(self) -> None:
        _ip("link set lo up")
        for number, (name, side) in enumerate(cast.DIRECTOR.items()):
            _ip(
                f"link add {name} address {side.mac} mtu {cast.MTU[name]} type veth peer name p{number}",
                f"link set p{number} mtu {cast.MTU[name]} up",
                f"link set {name} up",
                f"addr add {side.ip}/24 dev {name}",
                f"addr add {side.ip6}/64 dev {name} nodad",
            )
            for host in cast.NEIGHBOURS[name]:
                _ip(*(f"neigh add {a} lladdr {host.mac} dev {name} nud permanent" for a in (host.ip, host.ip6)))
        for vip in cast.VIPS:
            _ip(f"addr add {vip}/{32 if '.' in vip else 128} dev eth0")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread in this namespace."""
        with netns.inside(self.fd):
            yield

    def close(self) -> None:
        self.dweller.communicate()
        os.close(self.fd)


class Plane:
    """The two programs and their table. To be used inside its network only."""

    def __init__(self) -> None:
        self.instance = Instance.here()
        with self.instance.locked():
            create(self.instance, Path(OBJECT), entries=1 << TABLE_BITS)
        Attacher(self.instance).attach([])
        self.programs: dict[str, Program] = {hook: self.instance.program(f"director_{hook}") for hook in HOOKS}
        self.outcome_names = list(self.instance.layouts.enum("outcome"))[:-1]  # the last one is their number
        self.index = {name: socket.if_nametoindex(name) for name in cast.DIRECTOR}
        self._fresh()
        self._new_settings = bytes(self.settings.memory)
        self._hops = self._learn_hops()
        self.wipe()

    def _fresh(self) -> None:
        self.director = Unattached()
        self.director.instance = self.instance
        self.settings = Settings(self.instance.current, self.instance.layouts)

    def close(self) -> None:
        self.instance.remove()

    # --- freshness

    def wipe(self) -> None:
        """As it was when it was new."""
        self.forget_connections()  # first: the sweep then finds no entry that speaks of a record
        # The records first: what was counted there is not folded into what is zero already.
        for map in sorted(self._maps(), key=lambda map: map.info.name != RECORDS):
            _zero(map) if map.info.type in ARRAYS else _empty(map)
        self.settings.memory[:] = self._new_settings
        self._fresh()

    def forget_connections(self) -> None:
        """Empty the table; the counts at the destinations stay."""
        for name in ("connections", "due"):
            _zero(self.instance.map(name))

    def _maps(self) -> list[Map]:
        """Every map that a test can leave a trace in; of records and their counters the first chunk."""
        names = self.instance.current.map_names()
        maps = [self.instance.map(name) for name in names if not name.endswith(LEFT_ALONE)]
        found = [map.inner(0) if map.info.type in OF_MAPS else map for map in maps]
        return [map for map in found if map is not None]

    def fingerprint(self) -> dict[str, str]:
        """A digest of all these maps by name, without the secrets that each data plane draws for itself."""
        secret = self.settings.fields["filter_key"]
        hidden = {".data.settings": range(secret.offset, secret.offset + secret.size)}
        return {map.info.name: _digest(map, hidden.get(map.info.name, range(0))) for map in self._maps()}

    # --- commands

    def adm(self, line: str, stdin: str = "") -> str:
        """What `pylvsadm LINE` prints; it must succeed."""
        status, output, errors = self.try_adm(line, stdin)
        assert status == 0, f"pylvsadm {line}: {errors}"
        return output

    def try_adm(self, line: str, stdin: str = "") -> tuple[int, str, str]:
        """Exit status, standard output and standard error of `pylvsadm LINE`."""
        out, err = io.StringIO(), io.StringIO()
        session = Session("pylvsadm", lambda: self.director, io.BytesIO(stdin.encode()), out, err)
        return session.run(shlex.split(cast.names(line))), out.getvalue(), err.getvalue()

    def listing(self) -> list[str]:
        """The lines of `pylvsadm -L -n` below its header."""
        return [" ".join(line.split()) for line in self.adm("-L -n").splitlines()[3:]]

    def rows(self) -> list[str]:
        """The rows of `pylvsadm -L -n -c`, formatted here: loading the program that writes them takes longer."""
        return "".join(list_connections(self.director.connection_rows(), numeric=True)).splitlines()

    def connections(self) -> list[str]:
        """The same without their expiry, IPv6 abbreviated, sorted."""
        rows = [short(line).split() for line in self.rows()]
        return sorted(" ".join([row[0], *row[2:]]) for row in rows)

    def entries(self) -> list[Entry]:
        """The live entries of the connection table, as they are."""
        return list(self._table().live(self.tick()))

    def _table(self) -> Entries:
        plane = self.instance.current
        return Entries(plane, plane.layouts)

    # --- time

    def age(self, seconds: float) -> None:
        """Let every entry of the table be so much older, and the sweep look at all of them soon."""
        ticks, now = round(seconds * self.settings["second"]), self.tick() or 1
        table, due = MappedArray(self.instance.map("connections")), MappedArray(self.instance.map("due"))
        at = self.instance.layouts["connection"].offset("expires")
        for number in self._table().sets():
            for start in range(number * table.stride + at, (number + 1) * table.stride, ENTRY):
                (expires,) = WORD.unpack_from(table.memory, start)
                WORD.pack_into(table.memory, start, (expires - ticks) & 0xFFFFFFFF)
            WORD.pack_into(due.memory, number * due.stride, now)
        table.close()
        due.close()

    def wait_for_the_sweep(self) -> None:
        """Until no entry is in the table that is over; the sweep comes by once a second."""
        deadline = time.monotonic() + 30
        while self._has_expired():
            assert time.monotonic() < deadline, "the sweep does not come by"
            time.sleep(0.02)

    def _has_expired(self) -> bool:
        now, table = self.tick(), self._table()
        return any(not 0 < (entry.expires - now) & 0xFFFFFFFF < 1 << 31 for entry in table.taken())

    # --- packets

    def run(self, hook: str, frame: bytes, *, interface: str = "eth0", mark: int = 0, gso_size: int = 0) -> Result:
        """Hand one frame to a hook, once."""
        before = self.outcomes()
        ctx = self._context(hook, frame, self.index[interface], mark, gso_size)
        done = self.programs[hook].test_run(frame, ctx)
        after = self.outcomes()
        moved = [name for name in after if after[name] != before[name]]
        assert len(moved) == 1, f"counted as {moved}, not as one outcome"
        assert after[moved[0]] == before[moved[0]] + 1
        return Result(VERDICTS[hook].get(done.retval, f"verdict {done.retval}"), moved[0], done.data)

    def _context(self, hook: str, frame: bytes, ifindex: int, mark: int, gso_size: int) -> bytes:
        if hook == "xdp":
            return xdp_context(len(frame), ifindex)
        context = bytearray(skb_context(ifindex, mark))
        if gso_size:
            context[GSO_SIZE : GSO_SIZE + 4] = gso_size.to_bytes(4, "little")
            context[GSO_SEGS : GSO_SEGS + 4] = (-(-len(frame) // gso_size)).to_bytes(4, "little")
        return bytes(context)

    def outcomes(self) -> dict[str, int]:
        """How often each outcome was counted, over all CPUs."""
        values = dict(self.instance.map("outcomes").items())
        return {
            name: sum(memoryview(values[number.to_bytes(4, "little")]).cast("Q"))
            for number, name in enumerate(self.outcome_names)
        }

    # --- next hops, which only the TC hook can look for

    def know_hops(self) -> None:
        """Write at every destination the next hop that the TC hook has found before, as fresh as can be."""
        now = self.tick() or 1
        for record, memory, base, values in self._destinations():
            hop = self._hops.get(values["address"])
            if hop:
                values |= hop | {"checked": now}
                record.struct.pack_into(memory, base, *(values[name] for name in record.names))

    def forget_hops(self) -> None:
        """Let the TC hook look for every destination's next hop again."""
        for record, memory, base, _ in self._destinations():
            record.store(memory, base, "checked", 0)

    def _learn_hops(self) -> dict[bytes, dict[str, Any]]:
        """What the TC hook writes at destinations with the addresses of the cast."""
        hosts = [host for hosts in cast.NEIGHBOURS.values() for host in hosts]
        for vip, l3, sources in (
            (cast.VIP, cast.IP, [host.ip for host in hosts]),
            (cast.VIP6, cast.IPv6, [host.ip6 for host in hosts]),
        ):
            service = f"[{vip}]:7" if ":" in vip else f"{vip}:7"
            self.adm(f"-A -u {service} -s rr")
            for address in sources:
                self.adm(f"-a -u {service} -r {address} -g")
            for port in range(len(sources)):
                packet = l3(src=sources[0], dst=vip) / cast.UDP(sport=port + 1, dport=7)
                self.run("tc", bytes(cast.sent_by(cast.CLIENT, packet)))
        return {values["address"]: {name: values[name] for name in HOP} for *_, values in self._destinations()}

    def hash_keys(self) -> tuple[int, ...]:
        """The secrets of bpf/hash.h."""
        field = Layouts.of_file(OBJECT).variable("hash_key", ".rodata")
        ((_, constants),) = self.instance.map("rodata").items()
        keys: tuple[int, ...] = field.unpack_from(constants)
        return keys

    def tick(self) -> int:
        """The data plane's clock."""
        return self.director.tick()

    def _destinations(self) -> Iterator[tuple[Record, memoryview, int, dict[str, Any]]]:
        """Every destination: its layout, its place in memory, and its fields by name."""
        table, record = self.director.memory, self.director.memory.destination
        for _, slot in list(table.service_slots()):
            for member in table.chain(slot):
                memory, base = table.records.at(member)
                yield (
                    record,
                    memory,
                    base,
                    dict(zip(record.names, record.unpack_from(memory, base), strict=True)),
                )


def short(line: str) -> str:
    """The line with its IPv6 addresses abbreviated."""
    return re.sub(r"\[([0-9a-f:]+)\]", lambda match: f"[{ip_address(match[1])}]", line)


def _empty(map: Map) -> None:
    for key in list(map.keys()):
        map.delete(key)


def _zero(map: Map) -> None:
    info = map.info
    if info.flags & F_MMAPABLE:
        with MappedArray(map) as array:
            array.memory[:] = bytes(len(array.memory))
        return
    keys = b"".join(i.to_bytes(4, "little") for i in range(info.max_entries))
    map.update_many(keys, bytes(map.value_bytes * info.max_entries))


def _digest(map: Map, hidden: range) -> str:
    """Of everything in the map but these bytes of its values."""
    digest = hashlib.sha256()
    for key, value in sorted(map.items()):
        digest.update(key + value[: hidden.start] + value[hidden.stop :])
    return digest.hexdigest()
