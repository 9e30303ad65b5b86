# SPDX-License-Identifier: GPL-2.0-or-later
"""Mutated tunnels at the decapsulator of a real server: each counted once; passed on as it came, dropped, or
unwrapped to a whole packet for a VIP that was joined, without a fault that was not in it before."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from random import Random

from pylvs.host import netns, sysctl
from pylvs.host.iproute import batch
from pylvs.realserver.decapsulator import Decapsulator
from tests.attack import build
from tests.attack.attack import Attack, Found, Run
from tests.attack.build import raw
from tests.attack.mutation import LEAST_AT_TC, Editor
from tests.attack.native import HOOKS, NOTHING, REFUSED, SEVERAL, Done, Frame, Runner
from tests.attack.sums import ETHERNET, GRE, IPIP, SIX, TCP, UDP, checksum, layers

DIRECTOR, REAL, VIP = "192.168.248.134", "192.168.248.135", "192.168.247.100"
DIRECTOR6, REAL6, VIP6 = "fd00:248::134", "fd00:248::135", "fd00:247::100"
CLIENTS = ("192.168.247.1", "fd00:247::1")
MACS = bytes.fromhex("020000000002020000000001")
PACKETS = 2000
VERDICTS = {"tc": {-1: "PASS", 2: "DROP"}, "xdp": {2: "PASS", 1: "DROP"}}


class Host:
    """A real server that has joined both VIPs, in a network namespace of its own; a context."""

    def __enter__(self) -> Host:
        self._fresh = netns.fresh()
        self._fresh.__enter__()
        batch(
            "link set lo up",
            "link add peer0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02",
            "link set peer0 up",
            "link set eth0 up",
            f"addr add {REAL}/24 dev eth0",
            f"addr add {REAL6}/64 dev eth0 nodad",
        )
        # the wire's other end says nothing by itself, which would be counted too
        sysctl.write("net.ipv6.conf.peer0.disable_ipv6", "1")
        self.far = Decapsulator.here()
        for vip in (VIP, VIP6):
            self.far.join(ip_address(vip), "eth0")
        names = self.far.instance.layouts.enum("far_outcome")
        self.names = sorted((name for name in names if name != "FAR_OUTCOMES"), key=names.__getitem__)
        self.programs = {hook: self.far.instance.program(f"far_end_{hook}") for hook in HOOKS}
        self.runner = Runner(self.programs, self.far.instance.map("far_outcomes"), self.names)
        self.index = socket.if_nametoindex("eth0")
        return self

    def __exit__(self, *_: object) -> None:
        for program in self.programs.values():
            program.close()
        self.far.unload()
        self._fresh.__exit__(None, None, None)


class Author:
    """Makes good tunnels of every kind."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def frame(self) -> bytes:
        """One of them, or one fragment of it."""
        choice = self.random.choice
        four = choice((True, False))
        inner_four = choice((True, False))
        src, dst = (raw(CLIENTS[0]), raw(VIP)) if inner_four else (raw(CLIENTS[1]), raw(VIP6))
        if self.random.random() < 0.1:
            dst = raw("192.168.247.101" if inner_four else "fd00:247::101")
        protocol = choice((TCP, UDP, 132))
        inner = build.packet(protocol, src, dst, self.random.randrange(1024, 1100), 80, data=bytes(choice((0, 9, 300))))
        kind, body = self._tunnel(inner, inner_four)
        outer = (raw(DIRECTOR), raw(REAL)) if four else (raw(DIRECTOR6), raw(REAL6))
        if kind == UDP:
            body = build.udp(*outer, 50000, 6080, body, summed=not four or choice((True, False)))
        packet = build.ip(*outer, kind, body)
        if self.random.random() < 0.2:
            packet = choice(build.fragments(packet, 8 * self.random.randint(4, 20), self.random.randrange(10)))
        return MACS + (b"\x08\x00" if four else b"\x86\xdd") + packet

    def _tunnel(self, inner: bytes, inner_four: bool) -> tuple[int, bytes]:
        roll = self.random.random()
        if roll < 0.3:
            return (IPIP if inner_four else SIX), inner
        if roll < 0.65:
            head = self.random.choice(
                (bytes((0, 4 if inner_four else 41, 0, 0)), b"" if inner_four else bytes((0, 41, 0, 0)))
            )
            return UDP, head + inner
        kind = b"\x08\x00" if inner_four else b"\x86\xdd"
        if roll < 0.85:
            return GRE, bytes(2) + kind + inner
        whole = b"\x80\x00" + kind + bytes(4) + inner
        return GRE, whole[:4] + checksum(whole).to_bytes(2, "big") + whole[6:]


def wrong(host: Host, frame: Frame, done: Done) -> Iterator[str]:
    """What is wrong with what became of one frame."""
    if done.outcome == REFUSED:
        return
    if done.outcome in (NOTHING, SEVERAL):
        yield f"counted as {'no outcome' if done.outcome == NOTHING else 'several outcomes'}"
        return
    outcome = host.names[done.outcome]
    verdict = VERDICTS[frame.hook].get(done.verdict, f"verdict {done.verdict}")
    if verdict != ("DROP" if outcome.startswith("FAR_DROP") else "PASS"):
        yield f"{outcome} with the verdict {verdict}"
    if outcome.startswith("FAR_PASS") and done.data != frame.data:
        yield f"{outcome}: passed on, and changed"
    elif outcome.startswith(("FAR_IPIP", "FAR_GUE", "FAR_GRE")):
        yield from _wrong_inside(frame, done, outcome)


def _wrong_inside(frame: Frame, done: Done, outcome: str) -> Iterator[str]:
    before, after = list(layers(frame.data[ETHERNET:])), list(layers(done.data[ETHERNET:]))
    inside = frozenset.union(*before[1:]) if len(before) > 1 else before[0]
    new = after[0] - inside
    if new:
        yield f"{outcome}: what is unwrapped has a wrong {', '.join(sorted(new))}"
    data = done.data[ETHERNET:]
    to = data[16:20] if data[:1] < b"\x60" else data[24:40]
    if to not in (raw(VIP), raw(VIP6)):
        yield f"{outcome}: unwrapped for {to.hex()}, which was not joined"


def decapsulate(run: Run) -> Found:
    """Rounds of mutated tunnels."""
    packets = 0
    with Host() as host:
        for number, random in run.rounds():
            author, editor = Author(random), Editor(random)
            for hook in HOOKS:
                frames = [Frame(hook, editor.edit(author.frame())[:1900], host.index) for _ in range(PACKETS)]
                frames = [f for f in frames if hook == "xdp" or len(f.data) >= LEAST_AT_TC.get(f.data[12:14], ETHERNET)]
                for frame, done in zip(frames, host.runner.run(frames), strict=True):
                    shown = f"{hook}, {len(frame.data)} bytes {frame.data[:120].hex()}"
                    yield from ((number, f"{text} (e.g. {shown})") for text in wrong(host, frame, done))
                packets += len(frames)
    run.say(f"{packets} packets")


ATTACKS = (Attack("decapsulation", "mutated tunnels at the decapsulator", 20, decapsulate, short=3),)
