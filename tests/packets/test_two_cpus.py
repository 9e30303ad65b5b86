# SPDX-License-Identifier: GPL-2.0-or-later
"""Two CPUs at once: what is counted at destinations is what a recount of the table finds, and a flow has one entry.

Each CPU runs a process of its own, which hands frames to the data plane in random order. What is counted twice, or not
at all, stays so for ever, and is found when both are done.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from pylvs.dataplane.kernel import skb_context
from tests.packets import quick
from tests.packets.cast import BACK_1, CLIENT, NAT_VIP, REAL_1, REAL_2, TUN_VIP, VIP
from tests.packets.plane import Plane
from tests.packets.quick import ACK, FIN, RST, SYN

PACKETS = 30_000  # of each CPU
PORTS = range(20000, 20004)
FLAGS = (SYN, ACK, FIN | ACK, RST)
NOBODY_ELSE = (SYN, ACK)

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two CPUs are needed, here is one")


class Frame(NamedTuple):
    """A frame, and the interface by which it comes in."""

    bytes: bytes
    interface: str = "eth0"


def requests(vip: str, port: int = 80, flags: Sequence[int] = FLAGS, ports: Sequence[int] = PORTS) -> list[Frame]:
    """Of a few clients' ports, TCP segments with each of these flags."""
    return [Frame(quick.tcp_frame(CLIENT.ip, sport, vip, port, each)) for sport in ports for each in flags]


def replies(real: str, port: int) -> list[Frame]:
    """What a real server behind NAT replies to these clients."""
    flags = (SYN | ACK, ACK, FIN | ACK, RST)
    return [Frame(quick.tcp_frame(real, port, CLIENT.ip, to, each), "eth1") for to in PORTS for each in flags]


def datagrams(vip: str, port: int = 53, ports: Sequence[int] = PORTS) -> list[Frame]:
    return [Frame(quick.udp_frame(CLIENT.ip, sport, vip, port)) for sport in ports]


def associations(vip: str, port: int = 9) -> list[Frame]:
    """Of SCTP: INIT, COOKIE ECHO, DATA, SHUTDOWN, ABORT."""
    return [
        Frame(quick.sctp_frame(CLIENT.ip, sport, vip, port, chunk)) for sport in PORTS for chunk in (1, 10, 0, 7, 6)
    ]


def send(plane: Plane, hook: str, frames: Sequence[Frame], seed: int, packets: int) -> None:
    """Hand so many of the frames, in random order, to a hook."""
    run, pick = plane.programs[hook].test_run, random.Random(seed).choices
    ready = [(frame.bytes, skb_context(plane.index[frame.interface])) for frame in frames]
    for data, context in pick(ready, k=packets):
        run(data, context)


def on_cpu(cpu: int, work: Callable[[], None]) -> int:
    """The process that does the work on this CPU."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.sched_setaffinity(0, [cpu])
        work()
        status = 0
    finally:
        os._exit(status)


@contextmanager
def both(plane: Plane, one: Sequence[Frame], other: Sequence[Frame], packets: int = PACKETS) -> Iterator[None]:
    """Two CPUs send; what the block does, it does meanwhile."""
    cpus = itertools.islice(sorted(os.sched_getaffinity(0)), 2)
    jobs = [
        on_cpu(cpu, lambda frames=frames, cpu=cpu: send(plane, "tc", frames, cpu, packets))  # type: ignore[misc]
        for cpu, frames in zip(cpus, (one, other), strict=True)
    ]
    try:
        yield
    finally:
        statuses = [os.waitpid(job, 0)[1] for job in jobs]
    assert statuses == [0, 0]


def recount(plane: Plane) -> dict[int, Counter[str]]:
    """Active, inactive and persistent ones by destination, as the entries are."""
    flags = plane.instance.layouts.enum("connection_flag")
    found: dict[int, Counter[str]] = {}
    for entry in plane._table().taken():
        kind = "persistent" if entry.flags & flags["CONN_TEMPLATE"] else "active"
        if kind == "active" and entry.flags & flags["CONN_INACTIVE"]:
            kind = "inactive"
        found.setdefault(entry.destination, Counter())[kind] += 1
    return found


def counted(plane: Plane, slots: Sequence[int]) -> dict[int, Counter[str]]:
    """The same by the destinations' own counts, where they are not zero."""
    record = plane.director.memory.destination
    found = {}
    for slot in slots:
        values = dict(zip(record.names, record.unpack_from(*plane.director.memory.records.at(slot)), strict=True))
        counts = Counter({kind: values[kind] for kind in ("active", "inactive", "persistent") if values[kind]})
        if counts:
            found[slot] = counts
    return found


def members(plane: Plane) -> list[int]:
    """Slots of all destinations."""
    return [member for slot in services(plane) for member in plane.director.memory.chain(slot)]


def services(plane: Plane) -> list[int]:
    """Slots of all services."""
    return [slot for _, slot in plane.director.memory.service_slots()]


def settled(plane: Plane) -> Callable[[], None]:
    """Checks that the counts are those of the table; made before the destinations are deleted."""
    before = members(plane)

    def check() -> None:
        found = recount(plane)
        assert counted(plane, sorted({*before, *members(plane), *found})) == found

    return check


def one_entry_a_flow(plane: Plane) -> None:
    """No two live entries for the same client and service; a template whose destination was deleted is never found."""
    invalid = plane.instance.layouts.enum("connection_flag")["CONN_INVALID"]
    found = [entry for entry in plane.entries() if not entry.flags & invalid]
    flows = Counter((e.client, e.cport, e.virtual, e.vport, e.protocol) for e in found)
    assert set(flows.values()) <= {1}


def nobody_is_left(plane: Plane, check: Callable[[], None]) -> None:
    """When everything has expired, every count is zero."""
    for _ in range(2):  # a template outlives its connections by a minute
        plane.age(100_000)
        plane.wait_for_the_sweep()
    assert not recount(plane)
    check()


def serve(plane: Plane, vip: str, reals: str, options: str = "", protocol: str = "t", port: int = 80) -> None:
    plane.adm(f"-A -{protocol} {vip}:{port} -s wlc {options}")
    for real in reals.split(","):
        plane.adm(f"-a -{protocol} {vip}:{port} -r {real}")


CASES = {
    "nat": (NAT_VIP, f"{BACK_1.ip}:8080 -m", "", requests(NAT_VIP), replies(BACK_1.ip, 8080)),
    "nat, persistent": (NAT_VIP, f"{BACK_1.ip}:80 -m", "-p 60", requests(NAT_VIP), replies(BACK_1.ip, 80)),
    "dr": (VIP, f"{REAL_1.ip} -g,{REAL_2.ip} -g", "", requests(VIP), requests(VIP)),
    "dr, persistent": (VIP, f"{REAL_1.ip} -g,{REAL_2.ip} -g", "-p 60", requests(VIP), requests(VIP)),
    "tun": (TUN_VIP, f"{BACK_1.ip} -i", "", requests(TUN_VIP), requests(TUN_VIP)),
    "thresholds": (VIP, f"{REAL_1.ip} -g -x 2 -y 1,{REAL_2.ip} -g -x 2", "", requests(VIP), requests(VIP)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_counts_are_those_of_the_table(plane: Plane, case: str) -> None:
    vip, reals, options, one, other = CASES[case]
    serve(plane, vip, reals, options)
    check = settled(plane)
    with both(plane, one, other):
        pass
    check()
    one_entry_a_flow(plane)
    nobody_is_left(plane, check)


@pytest.mark.parametrize(
    ("protocol", "port", "frames"), [("u", 53, datagrams(VIP)), ("-sctp-service", 9, associations(VIP))]
)
def test_other_protocols(plane: Plane, protocol: str, port: int, frames: list[Frame]) -> None:
    serve(plane, VIP, f"{REAL_1.ip} -g,{REAL_2.ip} -g", protocol=protocol, port=port)
    check = settled(plane)
    with both(plane, frames, frames):
        pass
    check()
    one_entry_a_flow(plane)
    nobody_is_left(plane, check)


def test_a_syn_on_two_cpus_opens_one_connection(plane: Plane) -> None:
    """Of one client of a persistent service, whose connection and template are ended again and again."""
    serve(plane, VIP, f"{REAL_1.ip} -g,{REAL_2.ip} -g", "-p 60")
    check = settled(plane)
    end, (service,) = plane.director.memory.control.end, services(plane)
    syn = requests(VIP, flags=(SYN,), ports=PORTS[:1])
    with both(plane, syn, syn):
        for _ in range(1000):
            one_entry_a_flow(plane)
            for slot in (*members(plane), *members(plane)):  # the template once its connection has ended
                end(service, slot)
    one_entry_a_flow(plane)
    check()


def test_expiry_sweep_and_commands_meanwhile(plane: Plane) -> None:
    """The sweep ends what is over, `-e` and `-E` change the service, `-d` takes destinations out and `-a` back."""
    serve(plane, VIP, f"{REAL_1.ip} -g,{REAL_2.ip} -g", "-p 60")
    check = settled(plane)
    with both(plane, requests(VIP), requests(VIP)):
        for turn in range(10):
            plane.age(50)
            plane.adm(f"-E -t {VIP}:80 -s {('rr', 'wlc', 'sh')[turn % 3]}")
            plane.adm(f"-e -t {VIP}:80 -r {REAL_1.ip} -g -w {1 + turn}")
            plane.adm(f"-d -t {VIP}:80 -r {REAL_2.ip}")
            time.sleep(0.05)
            plane.adm(f"-a -t {VIP}:80 -r {REAL_2.ip} -g")
    check()
    one_entry_a_flow(plane)
    nobody_is_left(plane, check)


def test_eviction_and_end(plane: Plane) -> None:
    """SYNs of more flows than the table has room for evict each other, while a destination's connections are ended."""
    serve(plane, VIP, f"{REAL_1.ip} -g,{REAL_2.ip} -g")
    check = settled(plane)
    flood = requests(VIP, flags=NOBODY_ELSE, ports=range(1024, 9216))
    control = plane.director.memory.control
    (service,) = services(plane)
    first = members(plane)[0]
    with both(plane, flood, flood):
        for _ in range(10):
            control.end(service, first)
            time.sleep(0.05)
    check()
    one_entry_a_flow(plane)
    nobody_is_left(plane, check)
