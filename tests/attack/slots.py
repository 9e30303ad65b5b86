# SPDX-License-Identifier: GPL-2.0-or-later
"""Services and destinations come and go, so that their records are used again, while packets come late: fragments,
replies, errors and segments of what is no more. No packet changes a byte of another record, nor what is listed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

from pylvs.table import trash
from tests.attack import build
from tests.attack.arena import Arena, interface_of
from tests.attack.attack import Attack, Found, Run
from tests.attack.build import raw
from tests.attack.check import check_table
from tests.attack.commands import PORTS, Commander
from tests.attack.mutation import FLAGS, Talk, describe, talk_of
from tests.attack.native import Frame
from tests.attack.sums import SCTP, TCP, UDP
from tests.attack.watch import Guard
from tests.packets.cast import CLIENT, SECOND, VIP, VIP6, Host

PHASES, FEW_PHASES = 8, 4  # of a round: commands, then packets; while the short form waits a second for each
COMMANDS, PACKETS = 25, 150
AT_ONCE, PATIENT = -1, 1  # PATIENCE of pylvs.table.trash, in seconds
KINDS = ("-A", "-a", "-e", "-E", "-d", "-D", "-C")


class Story:
    """One round."""

    def __init__(self, arena: Arena, random: Random) -> None:
        self.arena, self.random = arena, random
        self.commander = Commander(random, KINDS)
        self.sent: list[Frame] = []  # all so far, any of which may come again
        self.late: list[Frame] = []  # fragments whose first was sent
        self.ident = 0
        self.talks: list[Talk] = []

    def commands(self) -> Iterator[str]:
        """Some of the table goes, most of it comes."""
        for _ in range(COMMANDS):
            line, stdin = self.commander.command()
            try:
                status, _, _ = self.arena.plane.try_adm(line, stdin)
                if not status:
                    self.commander.succeeded(line, stdin)
            except Exception as error:
                yield f"pylvsadm {line} ends in {type(error).__name__}: {error}"

    def packets(self) -> Iterator[str]:
        """New packets and old ones; what is wrong with what they did."""
        before = self.listing()
        guard = Guard(self.arena.memory)
        fresh = [self.fresh() for _ in range(PACKETS)]
        late = self.random.sample(self.sent, min(PACKETS // 3, len(self.sent)))
        self.random.shuffle(self.late)
        late += self.late[:PACKETS]
        hosts = [host for host, _, _ in fresh]
        frames = [frame for _, _, frame in fresh] + late
        for place, done in enumerate(self.arena.run(frames, guard)):
            if done.watch >= 0:
                yield f"a packet changed {guard.name(done.watch, done.offset)} (e.g. {describe(frames[place])})"
            if place < len(fresh) and self.arena.outcome(done).startswith("FORWARD"):
                talk = talk_of(hosts[place], fresh[place][1], done.data)
                self.talks += [talk] if talk else []
        self.sent += frames[: len(fresh)]
        yield from check_table(self.arena.memory)
        after = self.listing()
        if before != after:
            yield (
                f"packets changed what is listed: {after}"
                if after.startswith("fails")
                else "packets changed what is listed"
            )

    def listing(self) -> str:
        """All that is configured."""
        try:
            status, text, errors = self.arena.plane.try_adm("-S -n")
            self.arena.plane.try_adm("-L -n --stats")
            self.arena.plane.try_adm("-L -n -c")
        except Exception as error:
            return f"fails with {type(error).__name__}: {error}"
        return f"fails: {errors.strip()}" if status else text

    def fresh(self) -> tuple[Host, bytes, Frame]:
        """A packet of a client, often a fragment, or a real server's reply."""
        roll, client = self.random.random(), self.random.choice((CLIENT, SECOND))
        if self.talks and roll < 0.3:
            talk = self.random.choice(self.talks[-300:])
            who, data = (talk.server, talk.reply) if roll < 0.15 else (talk.client, talk.request)
            packet = data(self.random.choice(FLAGS))
            return client, packet, self.arena.frame("tc", build.ether(who, packet), interface_of(who))
        six = self.random.random() < 0.3
        src, dst = raw(client.ip6 if six else client.ip), raw(VIP6 if six else VIP)
        protocol = self.random.choice((TCP, UDP, UDP, UDP, SCTP))
        port = self.random.choice(PORTS)
        packet = build.packet(protocol, src, dst, self.random.randrange(20000, 20040), port, data=bytes(72))
        hook = self.random.choice(("tc", "tc", "xdp"))
        if protocol == UDP and self.random.random() < 0.8:
            packet, *rest = build.fragments(packet, 40, self.ident)
            self.ident += 1
            self.late += [self.arena.frame(hook, build.ether(client, piece)) for piece in rest]
        return client, packet, self.arena.frame(hook, build.ether(client, packet))


def reuse(run: Run, patience: int) -> Found:
    """`patience`: after how many seconds a record may be used again."""
    before, trash.PATIENCE = trash.PATIENCE, patience
    try:
        with Arena() as arena:
            for number, random in run.rounds():
                arena.plane.wipe()
                story = Story(arena, random)
                for _ in range(FEW_PHASES if run.short and patience > 0 else PHASES):
                    yield from ((number, text) for text in (*story.commands(), *story.packets()))
                    if patience > 0:
                        time.sleep(patience + 0.1)
    finally:
        trash.PATIENCE = before


ATTACKS = (
    Attack("slots", "records used again at once, and late packets", 30, lambda run: reuse(run, AT_ONCE), short=5),
    Attack(
        "slots-late", "records used again after the second that there is", 25, lambda run: reuse(run, PATIENT), short=1
    ),
)
