# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets that were good ones, changed field by field, and what each hook makes of them.

Of each: one outcome, the verdict that goes with it, no byte of the table changed but what packets may change, what is
passed on is unchanged, and what leaves has no wrong checksum or length that was not in what came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.attack import build, tables
from tests.attack.arena import Arena, interface_of
from tests.attack.attack import Attack, Found, Run
from tests.attack.build import ACK, FIN, PSH, RST, SYN, URG, raw
from tests.attack.check import check_table
from tests.attack.native import HOOKS, NOTHING, REFUSED, SEVERAL, Done, Frame
from tests.attack.sums import ETHERNET, FRAGMENT, SCTP, TCP, UDP, Ip, checksum, new_faults
from tests.attack.watch import Guard
from tests.packets.cast import CLIENT, FRONT, NEIGHBOURS, SECOND, VIP, VIP6, Host
from tests.packets.plane import VERDICTS

PACKETS = 3000  # of one round at each hook
OPENING = 400  # first packets, of which connections come
FLOOD = 12_000  # packets that fill the table of 4,096
ROUND_KINDS = ("empty", "full")
INTERESTING = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 32, 44, 58, 60, 63, 64, 69, 70, 79, 96, 127, 128, 132, 254, 255)
LEAST_AT_TC = {b"\x08\x00": ETHERNET + 20, b"\x86\xdd": ETHERNET + 40}
LONGEST = 1900
SHOWN = 120  # bytes of a frame in a finding
VERDICT_OF = {"PASS": "PASS", "DROP": "DROP", "FORWARD": "SENT", "REFUSE": "SENT"}
CLIENTS = (CLIENT, CLIENT, CLIENT, SECOND)
SPORTS = range(20000, 20024)
FLAGS = (
    SYN,
    SYN,
    SYN,
    ACK,
    ACK,
    ACK | PSH,
    FIN | ACK,
    RST,
    RST | ACK,
    SYN | ACK,
    SYN | FIN,
    SYN | RST,
    0,
    255,
    URG | ACK,
)
TCP_OPTIONS = (
    b"",
    b"",
    b"\x02\x04\x05\xb4",
    b"\x01\x01\x08\x0a" + bytes(8),
    b"\x02\x04\xff",
    b"\x02\x00",
    b"\x01" * 40,
)
IP_OPTIONS = (
    b"\x01" * 4,
    b"\x83\x07\x04\x0a\x00\x00\x15",
    b"\x44\x28\x05\x00" + bytes(36),
    b"\x07\x00",
    b"\x94\x04\x00\x00",
)
TAGS = (b"\x81\x00\x00\x05", b"\x88\xa8\x00\x05\x81\x00\x00\x06", b"\x81\x00\x0f\xff")
ERRORS = {
    True: ((3, 3), (3, 1), (3, 4), (3, 4), (11, 0), (4, 0), (12, 0), (5, 1)),
    False: ((1, 4), (2, 0), (2, 0), (3, 0), (4, 1), (137, 0)),
}
BY_MAC = {host.mac: host for hosts in NEIGHBOURS.values() for host in hosts}
FROM = (b"\x7f\x00\x00\x01", b"\x00\x00\x00\x00", b"\xe0\x00\x00\x01", b"\xff\xff\xff\xff", raw(VIP), raw(FRONT.ip))
FROM6 = (bytes(16), bytes(15) + b"\x01", b"\xff\x02" + bytes(14), raw(VIP6), bytes(10) + b"\xff\xff\x0a\x00\x00\x0a")

Sent = tuple[Host, bytes]  # who sends which frame
Flow = tuple[bytes, bytes, int, int]  # from, to, and the ports


@dataclass(frozen=True)
class Talk:
    """A connection that was opened: who its client is, and its flow on both sides of the director."""

    client: Host
    server: Host
    protocol: int
    near: Flow  # from the client to the service
    far: Flow  # from the director to the real server; the same by DR and TUN

    def request(self, flags: int, data: bytes = b"") -> bytes:
        """Another packet of the client's."""
        return build.packet(self.protocol, *self.near, flags, data)

    def reply(self, flags: int, data: bytes = b"") -> bytes:
        """A packet of the real server's."""
        return build.packet(self.protocol, *turned(self.far), flags, data)

    def answer(self, flags: int, data: bytes = b"") -> bytes:
        """The same as the client sees it."""
        return build.packet(self.protocol, *turned(self.near), flags, data)

    def forwarded(self, flags: int, data: bytes = b"") -> bytes:
        """A request as the real server sees it."""
        return build.packet(self.protocol, *self.far, flags, data)


def turned(flow: Flow) -> Flow:
    """The flow in the other direction."""
    src, dst, sport, dport = flow
    return dst, src, dport, sport


def talk_of(client: Host, data: bytes, left: bytes) -> Talk | None:
    """What became of a client's first packet: `left` is the frame that went to a real server."""
    before, after = Ip(data), Ip(left[ETHERNET:])
    server = BY_MAC.get(left[:6].hex(":"))
    if server is None or before.protocol not in (TCP, UDP, SCTP):
        return None
    near = _flow_of(before)
    return Talk(client, server, before.protocol, near, _flow_of(after) if after.protocol == before.protocol else near)


def _flow_of(ip: Ip) -> Flow:
    src, dst = (ip.data[12:16], ip.data[16:20]) if ip.version == 4 else (ip.data[8:24], ip.data[24:40])
    return src, dst, int.from_bytes(ip.body[:2], "big"), int.from_bytes(ip.body[2:4], "big")


class Author:
    """Makes good packets of every kind there is, at random: many of connections that there are."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.talks: list[Talk] = []
        self.kinds: Sequence[tuple[Callable[[], Sent], int]] = (
            (self.request, 10), (self.known, 10), (self.reply, 10), (self.error, 8), (self.fragment, 4),
            (self.extended, 3), (self.optioned, 2), (self.tagged, 1), (self.stranger, 2), (self.large, 1),
            (self.noise, 1),
        )  # fmt: skip

    def frame(self) -> Sent:
        """Any of them."""
        kinds, weights = zip(*self.kinds, strict=True)
        return self.random.choices(kinds, weights)[0]()

    def _ends(self) -> tuple[Host, bytes, bytes]:
        """A client, its address and a virtual address."""
        client, six = self.random.choice(CLIENTS), self.random.random() < 0.4
        vip = self.random.choice(tables.VIPS_6 if six else tables.VIPS_4)
        return client, raw(client.ip6 if six else client.ip), raw(vip)

    def _body(self, src: bytes, dst: bytes, data: bytes = b"") -> tuple[int, bytes]:
        """A transport protocol, and a packet of it to a service."""
        choice, sport = self.random.choice, self.random.choice(SPORTS)
        protocol, port = choice((TCP, TCP, UDP, UDP, SCTP)), choice((*tables.PORTS, 80, 80, 100, 7))
        data = data or bytes(choice((0, 0, 1, 5, 30)))
        if protocol == TCP:
            return TCP, build.tcp(src, dst, sport, port, choice(FLAGS), data, choice(TCP_OPTIONS))
        if protocol == UDP:
            return UDP, build.udp(src, dst, sport, port, data, summed=len(src) == 16 or choice((True, True, False)))
        return SCTP, build.sctp(sport, port, self.random.choice((1, 1, 0, 2, 3, 6, 7, 10, 11, 14, 200)))

    def request(self) -> Sent:
        """Of a client to a service."""
        client, src, dst = self._ends()
        protocol, body = self._body(src, dst)
        ttl = self.random.choice((64, 64, 64, 2, 1, 0))
        return client, build.ether(client, build.ip(src, dst, protocol, body, ttl))

    def known(self) -> Sent:
        """Of a client, in a connection that there is."""
        talk = self.random.choice(self.talks)
        return talk.client, build.ether(
            talk.client, talk.request(self.random.choice(FLAGS), bytes(self.random.choice((0, 9))))
        )

    def reply(self) -> Sent:
        """Of a real server."""
        talk = self.random.choice(self.talks)
        return talk.server, build.ether(
            talk.server, talk.reply(self.random.choice(FLAGS), bytes(self.random.choice((0, 9))))
        )

    def error(self) -> Sent:
        """An ICMP error that quotes a packet, to any byte of it: of a client, of a real server, or of a router on the
        way."""
        talk, data = self.random.choice(self.talks), bytes(self.random.choice((0, 8, 40)))
        if self.random.random() < 0.5:  # to the real server, which hears that its reply did not arrive
            sender, to, quoted = talk.client, talk.near[1], talk.answer(ACK, data)
        else:  # to the client, about its request
            sender, to, quoted = talk.server, talk.far[0], talk.forwarded(ACK, data)
        four = len(to) == 4
        if self.random.random() < 0.3:
            quoted = self._longer(quoted)
        near = (
            raw(sender.ip if four else sender.ip6)
            if self.random.random() < 0.7
            else raw("10.9.9.9" if four else "fd09::9")
        )
        size = self.random.choice((len(quoted), len(quoted), 28, 48, self.random.randrange(len(quoted) + 1)))
        type, code = self.random.choice(ERRORS[four])
        return sender, build.ether(sender, build.error(near, to, type, code, 1400, quoted[:size]))

    def _longer(self, packet: bytes) -> bytes:
        """The same packet with options, or extension headers, in front of what it carries."""
        src, dst = (packet[12:16], packet[16:20]) if packet[0] >> 4 == 4 else (packet[8:24], packet[24:40])
        if len(src) == 4:
            return build.ipv4(src, dst, packet[9], packet[20:], options=self.random.choice(IP_OPTIONS))
        kind = self.random.choice((0, 43, 60, FRAGMENT))
        if kind == FRAGMENT:
            return build.ipv6(src, dst, kind, build.fragment_header(packet[6], 9, 0, True) + packet[40:])
        return build.ipv6(src, dst, kind, build.extension(packet[6], self.random.choice((0, 1))) + packet[40:])

    def fragment(self) -> Sent:
        """One fragment of a datagram, of which others may come later or have come before."""
        client, src, dst = self._ends()
        protocol, body = self._body(src, dst, bytes(range(200)))
        pieces = build.fragments(
            build.ip(src, dst, protocol, body), 8 * self.random.randint(1, 12), self.random.randrange(12)
        )
        return client, build.ether(client, self.random.choice((pieces[0], self.random.choice(pieces))))

    def extended(self) -> Sent:
        """IPv6 with extension headers before what it carries."""
        client = self.random.choice(CLIENTS)
        src, dst = raw(client.ip6), raw(self.random.choice(tables.VIPS_6))
        protocol, body = self._body(src, dst)
        following, rest = protocol, body
        for _ in range(self.random.randint(1, 8)):
            kind = self.random.choice((0, 43, 60, 60, FRAGMENT, 51))
            if kind == FRAGMENT:
                rest = (
                    build.fragment_header(following, self.random.randrange(8), self.random.choice((0, 0, 8)), True)
                    + rest
                )
            else:
                rest = build.extension(following, self.random.choice((0, 0, 1, 3))) + rest
            following = kind
        return client, build.ether(client, build.ipv6(src, dst, following, rest))

    def optioned(self) -> Sent:
        """IPv4 with options."""
        client = self.random.choice(CLIENTS)
        src, dst = raw(client.ip), raw(self.random.choice(tables.VIPS_4))
        protocol, body = self._body(src, dst)
        return client, build.ether(client, build.ipv4(src, dst, protocol, body, options=self.random.choice(IP_OPTIONS)))

    def tagged(self) -> Sent:
        """With VLAN tags."""
        client, src, dst = self._ends()
        protocol, body = self._body(src, dst)
        return client, build.ether(client, build.ip(src, dst, protocol, body), self.random.choice(TAGS))

    def stranger(self) -> Sent:
        """From an address that nobody has, or nobody may have."""
        client, src, dst = self._ends()
        if self.random.random() < 0.5:
            src = self.random.choice(FROM if len(src) == 4 else FROM6)
        else:
            src = (b"\x0b" if len(src) == 4 else b"\x20") + self.random.randbytes(len(src) - 1)
        protocol, body = self._body(src, dst)
        return client, build.ether(client, build.ip(src, dst, protocol, body))

    def large(self) -> Sent:
        """Larger than some paths take, with and without leave to fragment it."""
        client, src, dst = self._ends()
        protocol, body = self._body(src, dst, bytes(self.random.choice((1400, 1440, 1460, 1472, 1800))))
        flags = self.random.choice((0, 0x4000))
        whole = (
            build.ipv4(src, dst, protocol, body, fragment=flags)
            if len(src) == 4
            else build.ipv6(src, dst, protocol, body)
        )
        return client, build.ether(client, whole)

    def noise(self) -> Sent:
        """No packet at all."""
        kind = self.random.choice((b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x00\x10"))
        frame = build.ether(CLIENT, b"\x45")[:12] + kind + self.random.randbytes(self.random.randrange(20, 120))
        return CLIENT, frame


class Editor:
    """Changes good frames: fields, lengths, bits; and sets sums right again, or not."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def edit(self, frame: bytes) -> bytes:
        """As often as not the frame as it is."""
        roll = self.random.random()
        if roll < 0.35:
            return frame
        if roll < 0.55:
            return self.cut(frame)
        changed = bytearray(frame)
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            self.change(changed)
        if self.random.random() < 0.6:
            set_ip_sum(changed)
        return self.cut(bytes(changed)) if roll > 0.9 else bytes(changed)

    def change(self, frame: bytearray) -> None:
        """One byte, mostly of a header, becomes a number that matters, another number, or one bit of it turns."""
        at = self.random.randrange(12, min(len(frame), self.random.choice((34, 58, 80, 120))))
        roll = self.random.random()
        if roll < 0.5:
            frame[at] = self.random.choice(INTERESTING)
        elif roll < 0.75:
            frame[at] ^= 1 << self.random.randrange(8)
        else:
            frame[at] = self.random.randrange(256)

    def cut(self, frame: bytes) -> bytes:
        """Shorter, at any byte, or longer; its IP header knows of it, or not."""
        size = self.random.randrange(ETHERNET, len(frame) + 1)
        shorter = bytearray(frame[:size])
        if self.random.random() < 0.2:
            return frame + self.random.randbytes(self.random.randrange(1, 40))
        if self.random.random() < 0.6:
            set_length(shorter)
            set_ip_sum(shorter)
        return bytes(shorter)


def set_length(frame: bytearray) -> None:
    """What IP's header says of the length becomes true."""
    if frame[12:14] == b"\x08\x00" and len(frame) >= 34:
        frame[16:18] = (len(frame) - ETHERNET).to_bytes(2, "big")
    elif frame[12:14] == b"\x86\xdd" and len(frame) >= 54:
        frame[18:20] = (len(frame) - 54).to_bytes(2, "big")


def set_ip_sum(frame: bytearray) -> None:
    """IPv4's header has a right checksum."""
    size = (frame[14] & 15) * 4 if len(frame) > 14 else 0
    if frame[12:14] == b"\x08\x00" and 20 <= size <= len(frame) - ETHERNET:
        frame[24:26] = bytes(2)
        frame[24:26] = checksum(bytes(frame[14 : 14 + size])).to_bytes(2, "big")


def wrong(arena: Arena, frame: Frame, done: Done, guard: Guard | None) -> Iterator[str]:
    """What is wrong with what became of one frame."""
    if done.outcome == REFUSED:
        return
    outcome = arena.outcome(done)
    if done.outcome in (NOTHING, SEVERAL):
        yield "counted as no outcome" if done.outcome == NOTHING else "counted as several outcomes"
    if done.watch >= 0 and guard:
        yield f"changed what no packet may change: {guard.name(done.watch, done.offset)}"
    kind = outcome.partition("_")[0]
    verdict = VERDICTS[frame.hook].get(done.verdict, f"verdict {done.verdict}")
    if outcome and verdict != VERDICT_OF[kind]:
        yield f"{outcome} with the verdict {verdict}"
    if kind == "PASS" and outcome != "PASS_LOCAL":
        if done.data != frame.data:
            yield f"{outcome}: passed on, and changed"
    elif kind in ("FORWARD", "REFUSE") or outcome == "PASS_LOCAL":
        yield from _wrong_sums(frame, done, outcome)


def _wrong_sums(frame: Frame, done: Done, outcome: str) -> Iterator[str]:
    if outcome == "FORWARD_CUT":
        return  # what is left is the last fragment
    for fault in sorted(new_faults(frame.data[ETHERNET:], done.data[ETHERNET:], outcome.startswith("REFUSE"))):
        yield f"{outcome}: what leaves has a wrong {fault}"


def describe(frame: Frame) -> str:
    """Enough of the frame to send it again."""
    return f"{frame.hook}, {len(frame.data)} bytes {frame.data[:SHOWN].hex()}"


class Round:
    """One round: the table, empty or full, a few hundred good packets, and what was made of them."""

    def __init__(self, arena: Arena, number: int, random: Random) -> None:
        self.arena, self.random = arena, random
        self.author, self.editor = Author(random), Editor(random)
        self.full = ROUND_KINDS[number % len(ROUND_KINDS)] == "full"

    def prepare(self) -> None:
        """Every service, the ICMP limit off, and the connection table full if it is to be."""
        self.arena.plane.wipe()
        tables.everything(self.arena.plane)
        self.arena.plane.settings["icmp_rate"] = 0
        self._open()
        if self.full:
            self.arena.run([self._flooding() for _ in range(FLOOD)])

    def _open(self) -> None:
        """Connections of every kind, with whom the author goes on."""
        opening = []
        while len(opening) < OPENING:
            client, src, dst = self.author._ends()
            protocol, port = (
                self.random.choice((TCP, TCP, UDP, UDP, SCTP)),
                self.random.choice((*tables.PORTS, 80, 100)),
            )
            opening.append((client, build.packet(protocol, src, dst, self.random.choice(SPORTS), port)))
        frames = [self.arena.frame("tc", build.ether(client, data)) for client, data in opening]
        for (client, data), done in zip(opening, self.arena.run(frames), strict=True):
            talk = talk_of(client, data, done.data) if self.arena.outcome(done).startswith("FORWARD") else None
            self.author.talks += [talk] if talk else []

    def _flooding(self) -> Frame:
        src = b"\x0b" + self.random.randbytes(3)
        protocol, port = self.random.choice(((TCP, 80), (UDP, 80), (SCTP, 80), (UDP, 87), (TCP, 82)))
        data = build.packet(protocol, src, raw(VIP), self.random.randrange(1024, 65536), port)
        return self.arena.frame("tc", build.ether(CLIENT, data))

    def frames(self, hook: str, count: int) -> list[Frame]:
        """So many frames for one hook that the kernel will run there."""
        found: list[Frame] = []
        while len(found) < count:
            host, frame = self.author.frame()
            frame = self.editor.edit(frame)[:LONGEST]
            if len(frame) >= (LEAST_AT_TC.get(frame[12:14], ETHERNET) if hook == "tc" else ETHERNET):
                mark = tables.MARK if hook == "tc" and self.random.random() < 0.05 else 0
                found.append(self.arena.frame(hook, frame, interface_of(host), mark))
        return found

    def play(self, count: int) -> Iterator[str]:
        """What is wrong, a line each."""
        for hook in HOOKS:
            frames = self.frames(hook, count)
            yield from self._played(frames)
        yield from check_table(self.arena.memory)
        for line in ("-L -n", "-S -n", "-L -n -c"):
            status, _, errors = self.arena.plane.try_adm(line)
            if status:
                yield f"pylvsadm {line} fails: {errors.strip()}"

    def _played(self, frames: Sequence[Frame]) -> Iterator[str]:
        guard = Guard(self.arena.memory)
        for frame, done in zip(frames, self.arena.run(frames, guard), strict=True):
            for text in wrong(self.arena, frame, done, guard):
                yield f"{text} (e.g. {describe(frame)})"


def mutate(run: Run) -> Found:
    """Rounds of mutated packets."""
    packets = 0
    with Arena() as arena:
        for number, random in run.rounds():
            round = Round(arena, number, random)
            round.prepare()
            yield from ((number, text) for text in round.play(PACKETS))
            packets += PACKETS * len(HOOKS)
    run.say(f"{packets} packets")


def truncate(run: Run) -> Found:
    """A good packet of each kind, cut after each of its bytes, with a length that knows of it and one that does not."""
    with Arena() as arena:
        for number, random in run.rounds():
            round = Round(arena, number, random)
            round.prepare()
            _, good = round.author.frame()
            for hook in HOOKS:
                yield from ((number, text) for text in round._played(list(_cuts(arena, hook, good))))
            yield from ((number, text) for text in check_table(arena.memory))


def _cuts(arena: Arena, hook: str, good: bytes) -> Iterator[Frame]:
    for size in range(ETHERNET, len(good) + 1):
        for told in (False, True):
            frame = bytearray(good[:size])
            if told:
                set_length(frame)
                set_ip_sum(frame)
            if size >= (LEAST_AT_TC.get(good[12:14], ETHERNET) if hook == "tc" else ETHERNET):
                yield arena.frame(hook, bytes(frame))


ATTACKS = (
    Attack("mutation", "mutated packets at both hooks, table empty and full", 60, mutate, short=2),
    Attack("truncation", "packets cut after every byte", 15, truncate, short=2),
)
