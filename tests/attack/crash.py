# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 after every step of every command that changes the table. The next command that takes the lock finds a
table that is right in every invariant, which lists what was there before or what is there after, and clients are
served."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from pylvs.commands.main import main as pylvs
from pylvs.ipvsadm.run import Session
from tests.attack import build, stepping
from tests.attack.arena import Arena
from tests.attack.attack import Attack, Found, Run
from tests.attack.build import ACK, SYN, raw
from tests.attack.check import check_table
from tests.attack.snapshot import Snapshot, shared_memory
from tests.attack.sums import TCP, UDP
from tests.packets import cast
from tests.packets.cast import CLIENT
from tests.packets.plane import Unattached

# Where each case begins: services of every kind with connections; and (GOING) some were deleted while they had any.
BEFORE = (
    "-A -t VIP:80 -s wrr", "-a -t VIP:80 -r REAL_1:80 -g", "-a -t VIP:80 -r REAL_2:80 -g -w 3",
    "-a -t VIP:80 -r REAL_3:80 -g",
    "-A -t VIP:81 -s rr -p 60", "-a -t VIP:81 -r BACK_1:8080 -m", "-a -t VIP:81 -r BACK_2:8080 -m",
    "-A -u VIP:82 -s sh", "-a -u VIP:82 -r BACK_1:82 -i", "-a -u VIP:82 -r BACK_2:82 -i",
    "-A -t VIP_6:83 -s mh", "-a -t VIP_6:83 -r BACK_1_6:83 -m", "-a -t VIP_6:83 -r BACK_2_6:83 -m",
    "-A -t VIP:84 -s lblc", "-a -t VIP:84 -r BACK_3:8080 --fullnat --local-address BACK",
    "-A -f 5 -s rr", "-a -f 5 -r REAL_3 -g",
    "-A -t 10.0.0.103:0 -s rr -p 30", "-a -t 10.0.0.103:0 -r BACK_2 -m",
    "-A -t VIP:90 -s rr", "-a -t VIP:90 -r REAL_1:90 -g", "-a -t VIP:90 -r REAL_2:90 -g",
)  # fmt: skip
GOING = ("-d -t VIP:80 -r REAL_3:80", "-D -t VIP:90")
FLOWS = ((TCP, "VIP", 80), (TCP, "VIP", 81), (UDP, "VIP", 82), (TCP, "VIP_6", 83), (TCP, "VIP", 84), (TCP, "VIP", 90))
TABLE_BITS = 8  # a small table is soon looked through
TOUCH = ("-A -t 10.0.0.99:99 -s rr", "-D -t 10.0.0.99:99")  # two commands that take the lock
OTHER_TABLE = """-A -t VIP:80 -s wlc
-a -t VIP:80 -r REAL_2:80 -g -w 1
-a -t VIP:80 -r BACK_1:8080 -m -w 1
-A -t VIP:81 -s mh -p 90
-a -t VIP:81 -r BACK_2:8080 -m -w 2
-A -t VIP:85 -s dh
-a -t VIP:85 -r REAL_1:85 -g -w 1
-A -t VIP_6:83 -s sh
-a -t VIP_6:83 -r BACK_2_6:83 -m -w 1
-A -f 6 -s rr
-a -f 6 -r REAL_1:0 -g -w 1
"""


@dataclass(frozen=True)
class Case:
    """A command of `pylvsadm` (or, `program`, of `pylvs`). `whole`: it changes the table at once or not at all; else
    some of its changes may be there."""

    words: str
    stdin: str = ""
    whole: bool = True
    program: str = "pylvsadm"

    def __str__(self) -> str:
        return f"{self.program} {self.words}"


CASES = (
    Case("-A -t VIP:70 -s rr"),
    Case("-A -t VIP:70 -s mh -p 60"),
    Case("-A -f 7 -s wrr"),
    Case("-A -t 10.0.0.104:0 -s rr -p 60"),
    Case("-A -t VIP:90 -s rr"),
    *(Case(f"-E -t VIP:80 -s {scheduler}") for scheduler in ("rr", "sh", "dh", "mh", "lblcr", "wlc")),
    Case("-E -t VIP:84 -s rr"),
    Case("-E -u VIP:82 -s mh -p 90"),
    Case("-E -t VIP:81 -s rr"),
    *(Case(f"-D {key}") for key in ("-t VIP:80", "-t VIP:81", "-u VIP:82", "-t VIP_6:83", "-t VIP:84", "-f 5")),
    Case("-D -t 10.0.0.103:0"),
    Case("-a -t VIP:80 -r REAL_3:80 -g"),  # comes back from the trash
    Case("-a -t VIP:80 -r BACK_3:8080 -m"),
    Case("-a -u VIP:82 -r BACK_3:82 -i --tun-type gue --tun-port 6080"),
    Case("-a -t VIP_6:83 -r BACK_3_6:83 -m"),
    Case("-a -t VIP:84 -r BACK_1:8080 --fullnat --local-address 10.1.0.77"),
    Case("-e -t VIP:80 -r REAL_1:80 -g -w 5"),
    Case("-e -t VIP:80 -r REAL_1:8080 -m -w 5 -x 9 -y 3".replace("REAL_1:8080", "REAL_1:80")),
    Case("-e -u VIP:82 -r BACK_1:82 -i -w 4 --tun-type gre"),
    Case("-e -t VIP_6:83 -r BACK_1_6:83 -m -w 0"),
    *(Case(f"-d {each}") for each in ("-t VIP:80 -r REAL_1:80", "-t VIP:80 -r REAL_2:80", "-t VIP:81 -r BACK_1:8080",
                                      "-u VIP:82 -r BACK_1:82", "-t VIP_6:83 -r BACK_1_6:83", "-f 5 -r REAL_3")),
    Case("-C", whole=False),
    Case("-R", OTHER_TABLE, whole=False),
    Case("-R --atomic", OTHER_TABLE),
    Case("--set 100 200 300"),
    Case("-Z"),
    Case("-Z -t VIP:80"),
    Case("set sloppy_tcp=1", program="pylvs"),
    Case("set expire_nodest_conn=1", program="pylvs"),
    Case("mark add --mark 9 --dst 10.0.0.104/32 --dport 80,90-99", program="pylvs"),
    Case("drain -t VIP:80 -r REAL_1:80 --timeout 0 --reset", program="pylvs"),
)  # fmt: skip


class Stage:
    """A table to begin from, and what is checked afterwards."""

    def __init__(self, arena: Arena) -> None:
        self.arena, self.plane = arena, arena.plane
        self.plane.wipe()
        arena.commands(BEFORE)
        self._connect()
        arena.commands(GOING)
        self.snapshot = Snapshot(self.plane)
        self.memory = shared_memory(self.plane)

    def _connect(self) -> None:
        for protocol, vip, port in FLOWS:
            for number in range(6):
                for flags in (SYN, ACK):
                    self._send(protocol, vip, port, 30000 + number, flags)

    def _send(self, protocol: int, vip: str, port: int, sport: int, flags: int) -> str:
        """One packet of the client's, and its outcome."""
        dst = raw(cast.names(vip).strip("[]"))
        src = raw(CLIENT.ip if len(dst) == 4 else CLIENT.ip6)
        done = self.arena.send(build.ether(CLIENT, build.packet(protocol, src, dst, sport, port, flags)))
        return self.arena.outcome(done)

    def begin(self) -> None:
        """As it was in the beginning."""
        self.snapshot.restore()
        self.plane._fresh()

    def adm(self, words: str, stdin: str = "") -> tuple[int, str, str]:
        """A command that is not killed, by a process of its own as it were; an exception is an error as well."""
        self.plane._fresh()
        try:
            return self.plane.try_adm(words, cast.names(stdin))
        except Exception as error:
            return -1, "", f"{type(error).__name__}: {error}"

    def listing(self) -> str:
        """What is configured, sorted; why there is no listing."""
        status, text, errors = self.adm("-S -n")
        return f"a listing fails: {errors}" if status else "\n".join(sorted(text.splitlines()))

    def served(self) -> dict[str, str]:
        """What becomes of a new client's first packet to each service, and of an old client's next one."""
        found = {}
        for protocol, vip, port in (*FLOWS, (TCP, "VIP", 85), (TCP, "10.0.0.103", 77)):
            found[f"new {vip}:{port}"] = self._send(protocol, vip, port, 40000, SYN)
            found[f"old {vip}:{port}"] = self._send(protocol, vip, port, 30001, ACK)
        return found


def action(case: Case) -> Callable[[], int]:
    """What the child does."""
    words, stdin = cast.names(case.words).split(), cast.names(case.stdin).encode()
    if case.program == "pylvs":
        return lambda: pylvs(words)
    return lambda: Session("pylvsadm", Unattached, io.BytesIO(stdin), io.StringIO(), io.StringIO()).run(words)


class Trial:
    """One case: how it goes when it is not killed, and what a kill leaves behind."""

    def __init__(self, stage: Stage, case: Case) -> None:
        self.stage, self.case = stage, case
        stage.begin()
        self.before = stage.listing()
        stage.begin()
        ended = stepping.run(action(case), stage.memory)
        self.steps, self.failed = ended.steps, ended.status or ended.text
        stage.adm(TOUCH[0])
        stage.adm(TOUCH[1])
        self.faults = check_table(stage.arena.memory)
        self.after = stage.listing()
        self.wanted = stage.served()

    def kill(self, step: int) -> str:
        """What is wrong after a kill there, in one line; nothing if all is well."""
        stage, case = self.stage, self.case
        stage.begin()
        ended = stepping.run(action(case), stage.memory, step)
        if not ended.killed:
            return ""  # it has fewer steps this time
        left, found = stage.listing(), []
        if not self._is_allowed(left):
            found.append(f"the listing is neither that before nor that after: {self._difference(left)}")
        found += self._touch()
        found += check_table(stage.arena.memory)
        again = [text for text in self._again() if text not in found]
        if again:
            found.append(f"and after it ran again: {'; '.join(again)}")
        return f"{case} killed after step {step} of {self.steps} ({ended.text}): {'; '.join(found)}" if found else ""

    def _touch(self) -> Iterator[str]:
        for words in TOUCH:
            status, _, errors = self.stage.adm(words)
            if status:
                yield f"pylvsadm {words} fails: {errors.strip()}"

    def _again(self) -> Iterator[str]:
        stage, case = self.stage, self.case
        if case.program == "pylvs":
            stepping.run(action(case), stage.memory)
        else:
            stage.adm(case.words, case.stdin)  # it may say that this was done already
        if (left := stage.listing()) != self.after:
            yield f"the listing is not that after it: {self._difference(left)}"
        yield from check_table(stage.arena.memory)
        served = stage.served()
        wrong = [f"{who} {served[who]}, not {self.wanted[who]}" for who in served if served[who] != self.wanted[who]]
        if wrong:
            yield f"clients are not served as they should: {'; '.join(wrong)}"

    def _is_allowed(self, listing: str) -> bool:
        if listing in (self.before, self.after):
            return True
        return not self.case.whole and set(listing.splitlines()) <= {
            *self.before.splitlines(),
            *self.after.splitlines(),
        }

    def _difference(self, listing: str) -> str:
        lines, nearest = set(listing.splitlines()), set(self.after.splitlines())
        return " | ".join(
            [*(f"+{line}" for line in sorted(lines - nearest)), *(f"-{line}" for line in sorted(nearest - lines))]
        )


def kill(run: Run) -> Found:
    """Each command, killed after each of its steps; in the short form after a few."""
    with Arena(TABLE_BITS) as arena:
        stage, points = Stage(arena), 0
        for number, case, random in run.cases(CASES):
            trial = Trial(stage, case)
            if trial.failed:
                yield number, f"{case} fails without a kill: {trial.failed}"
            yield from ((number, f"{case}, not killed: {fault}") for fault in trial.faults)
            for step in _steps(run, trial.steps, random):
                points += 1
                if text := trial.kill(step):
                    yield number, text
                if run.left <= 0 and run.only is None:
                    break
        run.say(f"{points} kills")


SHORT = 2  # kills of a command in the short form


def _steps(run: Run, steps: int, random: Random) -> Sequence[int]:
    everything = range(1, steps + 1)
    return sorted(random.sample(everything, min(SHORT, steps))) if run.short else everything


ATTACKS = (Attack("crash", "kill -9 after each step of each command", 300, kill, short=10),)
