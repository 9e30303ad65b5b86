# SPDX-License-Identifier: GPL-2.0-or-later
"""Floods of spoofed packets at one service, while legal clients open connections at all of them, and others have
theirs.

A client repeats its SYN or query as real ones do. At least 99 in 100 new connections succeed while the flood runs,
and no established one is broken.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.attack import build
from tests.attack.arena import Arena, interface_of
from tests.attack.attack import Attack, Found, Run
from tests.attack.build import ACK, PSH, SYN, raw
from tests.attack.mutation import BY_MAC, Flow, turned
from tests.attack.native import HOOKS, Done, Frames, library
from tests.attack.sums import ETHERNET, SCTP, TCP, UDP, Ip
from tests.packets.cast import CLIENT, VIP, VIP6, Host

BITS = 16  # 65,536 entries
RATE = 120_000  # packets a second; at least 100,000 are to be reached
LEAST_RATE = 100_000
FILL = 120_000  # packets of the flood before anything is measured
SECONDS = 4.0  # of the flood, at least
COMING = 1.0  # seconds in which new clients begin
REPEATS = (
    0.0,
    1.0,
    3.0,
)  # when a client sends its first packet, and when it does so again, seconds after its beginning
PATIENCE = 60.0  # seconds until the last client has sent all that, on a machine that is busy
AGAIN = 1.0  # seconds between two packets of an established connection
CLIENTS, ESTABLISHED = 100, 25  # of each service
SUCCEED = 0.99
NAMES = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP"}
OPTION = {TCP: "-t", UDP: "-u", SCTP: "--sctp-service"}
# Kinds of services, by port: options, and the destinations of either family.
KINDS: dict[int, tuple[str, str, tuple[str, ...]]] = {
    80: ("DR", "-s rr", ("REAL_1{}:80 -g", "REAL_2{}:80 -g")),
    81: ("NAT", "-s wlc", ("BACK_1{}:8080 -m", "BACK_2{}:8080 -m")),
    82: ("TUN", "-s rr", ("BACK_1{}:82 -i", "BACK_2{}:82 -i")),
    83: (
        "FULLNAT",
        "-s rr",
        ("BACK_1{}:8080 --fullnat --local-address LOCAL", "BACK_2{}:8080 --fullnat --local-address LOCAL"),
    ),
    84: ("persistent DR", "-s rr -p 300", ("REAL_1{}:84 -g", "REAL_2{}:84 -g")),
    85: ("persistent NAT", "-s rr -p 300", ("BACK_1{}:8080 -m", "BACK_2{}:8080 -m")),
    86: ("one-packet DR", "-s rr -o", ("REAL_1{}:86 -g", "REAL_2{}:86 -g")),
}
ONE_PACKET = 86
LOCAL = {4: "10.1.0.1", 6: "fd01::1"}


@dataclass(frozen=True)
class Flood:
    """Which service is flooded, and how: (TCP SYN, UDP, SCTP INIT)."""

    port: int
    protocol: int
    family: int

    def __str__(self) -> str:
        what = {TCP: "SYNs", UDP: "datagrams", SCTP: "INITs"}[self.protocol]
        return f"flood of {what} to a {KINDS[self.port][0]} service, IPv{self.family}"


FLOODS = [
    Flood(port, protocol, family)
    for family in (4, 6)
    for port in KINDS
    for protocol in (TCP, UDP, SCTP)
    if port != ONE_PACKET or protocol == UDP
]
SHORTER = 0.3  # times everything, in the short form
SHORT = (Flood(81, UDP, 4), Flood(84, TCP, 4))


def table(family: int) -> Iterator[str]:
    """All services of a family, for all three protocols."""
    suffix = "" if family == 4 else "_6"
    for protocol, option in OPTION.items():
        for port, (_, how, members) in KINDS.items():
            if port == ONE_PACKET and protocol != UDP:
                continue
            key = f"{option} VIP{suffix}:{port}"
            yield f"-A {key} {how}"
            for member in members:
                yield f"-a {key} -r {member.format(suffix).replace('LOCAL', LOCAL[family])}"


@dataclass
class Client:
    """One connection: what it has sent and seen. `far`: its flow at the real server, once known."""

    protocol: int
    near: Flow
    port: int
    begin: float
    repeats: Sequence[float] = REPEATS
    tries: int = 0
    server: Host | None = None
    far: Flow | None = None
    step: str = "opening"  # or waiting for the reply, established, broken
    due: float = 0.0
    exchanged: int = 0
    seen: set[str] = field(default_factory=set)

    @property
    def ended(self) -> bool:
        """It has its connection, or has given up."""
        return self.step != "opening" or self.tries >= len(self.repeats)

    @property
    def answers(self) -> bool:
        """Whether replies pass the director."""
        return self.far is not None and self.far != self.near

    def opening(self) -> bytes:
        """Its first packet."""
        return build.packet(self.protocol, *self.near, SYN)

    def going_on(self) -> bytes:
        """Another packet in its connection."""
        return build.packet(self.protocol, *self.near, ACK | PSH, b"data")

    def reply(self, flags: int) -> bytes:
        """The real server's."""
        assert self.far
        return build.packet(self.protocol, *turned(self.far), flags, b"reply" if flags != SYN | ACK else b"")

    @property
    def kind(self) -> str:
        """For a finding."""
        return f"{NAMES[self.protocol]} {KINDS[self.port][0]}"


class Crowd:
    """Legal clients, and what becomes of their packets."""

    def __init__(self, arena: Arena, family: int, scale: float) -> None:
        self.arena, self.family = arena, family
        self.repeats = [scale * after for after in REPEATS]
        self.vip = raw(VIP if family == 4 else VIP6)
        self.number = 0

    def client(self, protocol: int, port: int, begin: float) -> Client:
        """A new one, of some 100 hosts on the client's network."""
        self.number += 1
        host = 128 + self.number % 100
        address = raw(f"10.0.0.{host}" if self.family == 4 else f"fd00::c:{host:x}")
        return Client(
            protocol, (address, self.vip, 10000 + self.number // 100, port), port, begin, self.repeats, due=begin
        )

    def crowd(self, count: int, begin: float, spread: float) -> list[Client]:
        """So many of each kind of service, for TCP and UDP, who begin within `spread` seconds."""
        kinds = [(protocol, port) for protocol in (TCP, UDP) for port in KINDS if port != ONE_PACKET or protocol == UDP]
        return [
            self.client(protocol, port, begin + spread * each / count)
            for protocol, port in kinds
            for each in range(count)
        ]

    def step(self, clients: Sequence[Client], now: float) -> None:
        """Each client whose time has come sends its next packet; replies follow at once."""
        due = [client for client in clients if client.due <= now and client.step != "broken"]
        opening = [client for client in due if client.step == "opening"]
        going_on = [client for client in due if client.step == "established"]
        for client, done in self._sent(opening, [client.opening() for client in opening]):
            self._opened(client, done, now)
        self._reply([client for client in opening if client.step == "waiting"], SYN | ACK)
        again = [client for client in opening if client.step == "established"] + going_on
        for client, done in self._sent(again, [client.going_on() for client in again]):
            self._went_on(client, done, now)
        self._reply([client for client in again if client.step == "established" and client.answers], ACK)

    def _sent(self, clients: Sequence[Client], packets: Sequence[bytes]) -> list[tuple[Client, Done]]:
        frames = [self.arena.frame("tc", build.ether(CLIENT, packet)) for packet in packets]
        return list(zip(clients, self.arena.runner.run(frames) if frames else [], strict=True))

    def _opened(self, client: Client, done: Done, now: float) -> None:
        client.tries += 1
        outcome = self.arena.outcome(done)
        client.seen.add(outcome)
        client.due = client.begin + client.repeats[client.tries] if client.tries < len(client.repeats) else math.inf
        server = BY_MAC.get(done.data[:6].hex(":"))
        if not outcome.startswith("FORWARD") or server is None:
            return
        client.server = server
        after = Ip(done.data[ETHERNET:])
        client.far = _flow_of(after) if after.protocol == client.protocol else client.near
        client.step = "waiting" if client.answers else "established"

    def _went_on(self, client: Client, done: Done, now: float) -> None:
        outcome, server = self.arena.outcome(done), BY_MAC.get(done.data[:6].hex(":"))
        client.seen.add(outcome)
        client.due = now + AGAIN
        if not outcome.startswith("FORWARD") or (server != client.server and client.port != ONE_PACKET):
            client.step = "broken"
        client.exchanged += 1

    def _reply(self, clients: Sequence[Client], flags: int) -> None:
        frames = [
            self.arena.frame("tc", build.ether(client.server, client.reply(flags)), interface_of(client.server))
            for client in clients
            if client.server
        ]
        for client, done in zip(clients, self.arena.runner.run(frames) if frames else [], strict=True):
            after = Ip(done.data[ETHERNET:])
            right = self.arena.outcome(done).startswith("FORWARD") and _flow_of(after) == turned(client.near)
            if flags == SYN | ACK:
                client.step = "established" if right else "opening"  # it sends its SYN again
            elif not right:
                client.step = "broken"


def _flow_of(ip: Ip) -> Flow:
    src, dst = (ip.data[12:16], ip.data[16:20]) if ip.version == 4 else (ip.data[8:24], ip.data[24:40])
    return src, dst, int.from_bytes(ip.body[:2], "big"), int.from_bytes(ip.body[2:4], "big")


class Attackers:
    """A thread of its own, on a CPU of its own, that floods; use it as a context."""

    def __init__(self, arena: Arena, flood: Flood, random: Random, cpu: int) -> None:
        src, dst = raw(CLIENT.ip if flood.family == 4 else CLIENT.ip6), raw(VIP if flood.family == 4 else VIP6)
        data = build.packet(flood.protocol, src, dst, 1024, flood.port)
        self._held = Frames([arena.frame("tc", build.ether(CLIENT, data))])
        self._program = arena.runner.batch.program[HOOKS.index("tc")]
        self._cpu = cpu
        self._seed = random.randrange(1, 1 << 40)
        self._stop, self._sent = ctypes.c_uint32(0), ctypes.c_uint64(0)
        self.rate = 0.0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        stop, sent = ctypes.addressof(self._stop), ctypes.addressof(self._sent)
        library().flood(self._program, self._held.array, 1, FILL, 0.0, self._cpu, self._seed, stop, sent)
        self._sent.value = 0
        self.filled = True
        self.rate = library().flood(
            self._program, self._held.array, 1, 1 << 62, RATE, self._cpu, self._seed + 1, stop, sent
        )

    def __enter__(self) -> Attackers:
        self.filled = False
        self._thread.start()
        while self._thread.is_alive() and not self.filled:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.value = 1
        self._thread.join()


def play(arena: Arena, flood: Flood, random: Random, run: Run) -> Iterator[str]:
    """One flood: what is wrong."""
    arena.plane.wipe()
    arena.commands([*table(flood.family)])
    arena.plane.know_hops()
    scale = SHORTER if run.short else 1.0
    crowd = Crowd(arena, flood.family, scale)
    old = crowd.crowd(ESTABLISHED, 0.0, 0.0)
    crowd.step(old, 0.0)
    bad = [client.kind for client in old if client.step != "established"]
    if bad:
        yield f"{flood}: before it, {len(bad)} of {len(old)} connections cannot be made: {sorted(set(bad))}"
    cpus = sorted(os.sched_getaffinity(0))
    with arena.runner.alone_on(cpus[0]), Attackers(arena, flood, random, cpus[-1]) as attackers:
        begin = time.monotonic()
        new = crowd.crowd(CLIENTS, 0.0, COMING * scale)
        for client in old:
            client.due = 0.0
        while (now := time.monotonic() - begin) < SECONDS * scale or not all(client.ended for client in new):
            if now > PATIENCE:
                break
            crowd.step(new, now)
            crowd.step(old, now)
            time.sleep(0.02)
    run.say(f"{flood}: {attackers.rate:.0f} packets/s")
    if attackers.rate < 0:
        yield f"{flood}: the kernel refused a test run"
    yield from _verdict(flood, old, new)


def _verdict(flood: Flood, old: Sequence[Client], new: Sequence[Client]) -> Iterator[str]:
    few = [
        f"{good} of {len(ours)} {kind}"
        for kind, ours in _by_kind(new).items()
        if (good := sum(client.step == "established" for client in ours)) < SUCCEED * len(ours)
    ]
    if few:
        seen = set().union(*(client.seen for client in new if client.step != "established"))
        yield f"{flood}: of new connections succeed {', '.join(few)} (e.g. {', '.join(sorted(seen))})"
    broken = [
        f"{bad} of {len(ours)} {kind}"
        for kind, ours in _by_kind(old).items()
        if (bad := sum(client.step == "broken" for client in ours))
    ]
    if broken:
        yield f"{flood}: of established connections are broken {', '.join(broken)}"


def _by_kind(clients: Sequence[Client]) -> dict[str, list[Client]]:
    found: dict[str, list[Client]] = {}
    for client in clients:
        found.setdefault(client.kind, []).append(client)
    return found


def flood(run: Run) -> Found:
    """Each flood."""
    cases = SHORT if run.short else FLOODS
    with Arena(BITS) as arena:
        for number, case, random in run.cases(cases):
            yield from ((number, text) for text in play(arena, case, random, run))


ATTACKS = (Attack("floods", "floods at each kind of service, and legal clients at all of them", 180, flood, short=2),)
