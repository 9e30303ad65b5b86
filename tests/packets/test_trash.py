# SPDX-License-Identifier: GPL-2.0-or-later
"""Services and destinations come and go while their connections live: what is listed and counted afterwards is what it
would be if no record were ever used twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from random import Random

import pytest

from pylvs.errors import DestinationExists, NoSuchService, TableFull
from pylvs.model import Destination, ForwardingMethod, Protocol, ServiceKey, VirtualService
from pylvs.table import trash
from tests.packets.cast import CLIENT, REAL_1, REAL_2, VIP, sent_by
from tests.packets.plane import Plane
from tests.packets.rows import ip, tcp

SLOT_DELETED = 1
REALS = (REAL_1, REAL_2)
PORTS = (80, 81, 82)
STEPS = 300
WEIGHTS = {"packet": 8, "another": 15, "come": 4, "go": 2, "service goes": 2, "flush": 0.5, "swap": 1.5, "end": 0.2}


@dataclass
class Service:
    """What is expected of one: its connections and packets, and the packets of its destinations."""

    connections: int = 0
    packets: int = 0
    members: dict[str, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)  # of those that were deleted
    alive: set[str] = field(default_factory=set)  # who has connections


class Story:
    """A random sequence of commands and packets, and what should have come of it."""

    def __init__(self, plane: Plane, random: Random) -> None:
        self.plane, self.random = plane, random
        self.services: dict[int, Service] = {}
        self.connections = self.packets = 0
        self.last_client = 1024
        self.clients: list[tuple[int, int]] = []  # their port, and the service's, of those that have connections

    def step(self) -> None:
        port, real = self.random.choice(PORTS), self.random.choice(REALS).ip
        service = self.services.get(port)
        what = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if what == "packet":
            self.begin(port)
        elif what == "another":
            self.go_on()
        elif what == "flush":
            self.plane.adm("-C")
            self.services.clear()
        elif what == "swap":
            self.swap()
        elif what == "end":
            self.end()
        elif service is None:
            self.plane.adm(f"-A -t VIP:{port} -s rr")
            self.services[port] = Service()
        elif what == "come" and real not in service.members:
            self.plane.adm(f"-a -t VIP:{port} -r {real} -g")
            self.came(port, real)
        elif what == "go" and real in service.members:
            self.plane.adm(f"-d -t VIP:{port} -r {real}")
            service.before[real] = service.members.pop(real)
        elif what == "service goes":
            self.plane.adm(f"-D -t VIP:{port}")
            del self.services[port]

    def begin(self, port: int) -> None:
        """The first packet of a new connection."""
        service = self.services.get(port)
        self.last_client += 1
        real = self.send(self.last_client, port, "S")
        assert (real is not None) == bool(service and service.members)
        if service and real:
            self.clients.append((self.last_client, port))
            service.alive.add(real)
            service.connections += 1
            self.connections += 1

    def go_on(self) -> None:
        """One more packet of a connection, if it lives: its destination may be gone, and its service another one."""
        if self.clients:
            self.send(*self.random.choice(self.clients), "A")

    def send(self, client: int, port: int, flags: str) -> str | None:
        """One packet, counted where it must be; the real server that it went to."""
        packet = ip(CLIENT.ip, VIP) / tcp(client, port, flags)
        result = self.plane.run("tc", bytes(sent_by(CLIENT, packet)))
        if not result.outcome.startswith("FORWARD"):
            return None
        (real,) = (each.ip for each in REALS if bytes.fromhex(each.mac.replace(":", "")) == result.frame[:6])
        self.packets += 1
        service = self.services.get(port)
        for counts in (service.members, service.before) if service else ():
            if service and real in counts:
                counts[real] += 1
                service.packets += 1
        return real

    def came(self, port: int, real: str) -> None:
        """What it counted is its own again; but without connections it may have been forgotten in the meantime."""
        service = self.services[port]
        count = service.before.pop(real, 0)
        forgotten = real not in service.alive and self.seen()[port][2][real] == 0
        service.members[real] = 0 if forgotten else count

    def end(self) -> None:
        """Every connection ends."""
        table = self.plane.director.memory
        chains = [table.chain(slot) for _, slot in table.service_slots()]
        thrown = [int.from_bytes(raw[:4], "little") for _, raw in self.plane.instance.map("trash").items()]
        for slot in [*thrown, *(member for chain in chains for member in chain)]:
            table.control.end(SLOT_DELETED, slot)
        self.clients.clear()
        for service in self.services.values():
            service.alive.clear()

    def swap(self) -> None:
        """A whole other table, which is no deletion for who stays."""
        ports = self.random.sample(PORTS, self.random.randint(0, len(PORTS)))
        wanted = {port: self.random.sample(REALS, self.random.randint(0, len(REALS))) for port in ports}
        lines = [f"-A -t {VIP}:{port} -s rr\n" for port in wanted]
        lines += [f"-a -t {VIP}:{port} -r {real.ip} -g\n" for port, reals in wanted.items() for real in reals]
        self.plane.adm("-R --atomic", "".join(lines))
        self.services = {port: self.services.get(port) or Service() for port in wanted}
        for port, reals in wanted.items():
            service = self.services[port]
            gone = {real: count for real, count in service.members.items() if real not in {each.ip for each in reals}}
            service.members = {real: count for real, count in service.members.items() if real not in gone}
            for real in reals:
                if real.ip not in service.members:
                    self.came(port, real.ip)
            service.before |= gone

    def seen(self) -> dict[int, tuple[int, int, dict[str, int]]]:
        """By service: its connections and packets, and the packets of its destinations."""
        return {
            state.service.key.port: (
                state.counters.connections,
                state.counters.in_packets,
                {str(each.destination.address): each.counters.in_packets for each in state.destinations},
            )
            for state in self.plane.director.services()
        }

    def check(self) -> None:
        assert self.seen() == {
            port: (service.connections, service.packets, service.members) for port, service in self.services.items()
        }
        total, _ = self.plane.director.totals()
        assert (total.connections, total.in_packets) == (self.connections, self.packets)


@pytest.mark.parametrize("patience", [1, -1], ids=["soon", "at-once"])
@pytest.mark.parametrize("seed", range(8))
def test_records_are_used_again(plane: Plane, monkeypatch: pytest.MonkeyPatch, seed: int, patience: int) -> None:
    """With the patience that there is, and with none, so that every record is used again at once."""
    monkeypatch.setattr(trash, "PATIENCE", patience)
    story = Story(plane, Random(seed))
    for _ in range(STEPS):
        story.step()
        story.check()


KEY = ServiceKey(Protocol.TCP, ip_address(VIP), 80)


def crowd(number: int, network: str = "10.101.0.0") -> list[Destination]:
    return [Destination(ip_address(network) + i + 1, 80, ForwardingMethod.DR) for i in range(number)]


def addresses(plane: Plane) -> list[str]:
    """Of the service's destinations, the oldest first."""
    return [str(each.destination.address) for each in reversed(plane.director.service(KEY).destinations)]


def test_a_full_service_is_swapped_for_another_full_one(plane: Plane) -> None:
    """There is not room for both at once."""
    first, other = crowd(1024), crowd(1024, "10.102.0.0")
    plane.director.replace([(VirtualService(KEY, "rr"), first)])
    plane.director.replace([(VirtualService(KEY, "rr"), other)])
    assert addresses(plane) == [str(each.address) for each in other]


@pytest.mark.parametrize(
    ("members", "error"), [(crowd(2) + crowd(1), DestinationExists), (crowd(1025), TableFull)], ids=["twice", "many"]
)
def test_what_cannot_be_leaves_the_table(plane: Plane, members: list[Destination], error: type[Exception]) -> None:
    """All or nothing."""
    plane.director.replace([(VirtualService(KEY, "rr"), crowd(3, "10.103.0.0"))])
    with pytest.raises(error):
        plane.director.replace([(VirtualService(KEY, "wlc"), members)])
    assert addresses(plane) == ["10.103.0.1", "10.103.0.2", "10.103.0.3"]
    assert plane.director.service(KEY).service.scheduler == "rr"


def test_adding_many_is_adding_each(plane: Plane) -> None:
    """Each refusal stands where its destination stood, and wrr goes on as if they had come one by one."""
    wrong = Destination(ip_address("224.0.0.1"), 80)
    several = [crowd(1)[0], wrong, *crowd(2)]
    plane.director.add_service(VirtualService(KEY, "wrr"))
    errors = plane.director.add_destinations(KEY, several)
    assert [type(error).__name__ for error in errors] == ["NoneType", "Invalid", "DestinationExists", "NoneType"]
    assert addresses(plane) == ["10.101.0.1", "10.101.0.2"]
    missing = ServiceKey(Protocol.TCP, ip_address(VIP), 81)
    assert [type(error) for error in plane.director.add_destinations(missing, several)] == [NoSuchService] * 4


@pytest.mark.parametrize("swaps", [(), ("-A -t VIP:80 -s rr",)], ids=["with-it", "before-it"])
def test_a_connection_outlives_its_service(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, swaps: tuple[str, ...]
) -> None:
    """Its packets are in the totals, and not counted by the service that has the record now."""
    monkeypatch.setattr(trash, "PATIENCE", -1)
    plane.adm("-A -t VIP:80 -s rr")
    plane.adm("-a -t VIP:80 -r REAL_1 -g")
    story = Story(plane, Random(0))
    story.send(1025, 80, "S")
    for table in (*swaps, "-A -t VIP:81 -s rr"):
        plane.adm("-R --atomic", table.replace("VIP", VIP))
    plane.adm("-A -t VIP:82 -s rr")
    assert story.send(1025, 80, "A") == REAL_1.ip
    assert story.seen() == {81: (0, 0, {}), 82: (0, 0, {})}
    assert plane.director.totals()[0].in_packets == 2
