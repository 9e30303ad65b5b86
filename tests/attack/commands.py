# SPDX-License-Identifier: GPL-2.0-or-later
"""Random commands of `pylvsadm` about few services, so that they meet each other; and several processes that run
them."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random

from tests.attack import build
from tests.attack.arena import Arena
from tests.attack.attack import Attack, Found, Run
from tests.attack.build import raw
from tests.attack.check import check_table
from tests.packets.cast import CLIENT, VIP
from tests.packets.plane import Unattached

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "sh", "dh", "mh", "sed", "lblc", "lblcr", "fo", "twos")
PORTS = (80, 81, 82, 83)
MEMBERS = (
    "REAL_1:{port} -g", "REAL_2:{port} -g", "REAL_3:{port} -g", "BACK_1:8080 -m", "BACK_2:8080 -m", "BACK_3:{port} -i",
    "BACK_1:{port} --fullnat --local-address BACK", "BACK_2:{port} -i --tun-type gue --tun-port 6080",
)  # fmt: skip
KINDS = {
    "-A": 5,
    "-a": 12,
    "-e": 3,
    "-E": 3,
    "-d": 5,
    "-D": 3,
    "-Z": 1,
    "--set": 1,
    "-C": 0.3,
    "--atomic": 1,
    "-R": 0.5,
}


class Commander:
    """Draws commands, `kinds` of KINDS only; most of them about what there is as far as it was told."""

    def __init__(self, random: Random, kinds: Sequence[str] = tuple(KINDS)) -> None:
        self.random = random
        self.kinds = kinds
        self.services: dict[str, dict[str, str]] = {}  # servers and their methods, by key

    def command(self) -> tuple[str, str]:
        """The words after `pylvsadm`, and what it reads."""
        kind = self.random.choices(self.kinds, [KINDS[each] for each in self.kinds])[0]
        if kind == "-R":
            return "-R", "".join(f"{line}\n" for line in self.table())
        if kind == "--atomic":
            return "-R --atomic", "".join(f"{line}\n" for line in self.table())
        if kind == "--set":
            return f"--set {self.random.randint(100, 999)} 0 0", ""
        return kind if kind == "-C" else self._about(kind), ""

    def succeeded(self, line: str, stdin: str) -> None:
        """The command did what it says."""
        kind, *words = line.split(" ")
        if kind in ("-C", "-R") and (kind == "-C" or "--atomic" in words):
            self.services.clear()
        for each in stdin.splitlines():
            self.succeeded(each, "")
        key = " ".join(words[:2])
        if kind == "-A":
            self.services[key] = {}
        elif kind == "-D":
            self.services.pop(key, None)
        elif kind == "-a":
            self.services.setdefault(key, {})[words[3]] = " ".join(words[4:])
        elif kind == "-d":
            self.services.get(key, {}).pop(words[3], None)

    def key(self) -> str:
        """A service: few, of all three protocols and both families, and two firewall marks."""
        if self.random.random() < 0.15:
            return f"-f {self.random.randint(1, 2)}"
        option, vip = self.random.choice((("-t", "VIP"), ("-u", "VIP"), ("-t", "VIP_6"), ("--sctp-service", "VIP")))
        return f"{option} {vip}:{self.random.choice(PORTS)}"

    def _about(self, kind: str) -> str:
        key = self.key()
        if kind == "-A":
            return f"{kind} {key} {self.options(key)}"
        if self.services and self.random.random() < 0.9:
            key = self.random.choice(list(self.services))
        if kind == "-E":
            return f"{kind} {key} {self.options(key)}"
        if kind in ("-D", "-Z"):
            return f"{kind} {key}"
        present = self.services.get(key)
        if present and kind != "-a":
            server, how = self.random.choice(list(present.items()))
        else:
            server, how = self.member(key).split(" ", 1)
        if kind == "-d":
            return f"-d {key} -r {server}"
        how = how.partition(" -w ")[0]
        return f"{kind} {key} -r {server} {how} -w {self.random.choice((0, 1, 1, 2, 50))} {self.thresholds()}".strip()

    def options(self, key: str) -> str:
        """Scheduler, persistence, one-packet scheduling."""
        persistent = self.random.choice(("", "-p 60"))
        one_packet = "-o" if key.startswith("-u") and self.random.random() < 0.6 else ""
        return f"-s {self.random.choice(SCHEDULERS)} {persistent} {one_packet}".strip()

    def thresholds(self) -> str:
        """Mostly none."""
        return self.random.choice(("", "", "", "-x 3 -y 1", "-x 5"))

    def member(self, key: str) -> str:
        """A real server of the service's family, and its method."""
        text = self.random.choice(MEMBERS).format(port=key.rpartition(":")[2] if ":" in key else 80)
        if "VIP_6" not in key:
            return text
        name, _, rest = text.partition(":")
        return f"{name}_6:{rest}".replace("--local-address BACK", "--local-address fd01::1")

    def table(self) -> Iterator[str]:
        """A whole small table."""
        for key in {self.key() for _ in range(self.random.randint(0, 5))}:
            yield f"-A {key} {self.options(key)}"
            for server, how in {
                m.split(" ", 1)[0]: m.split(" ", 1)[1] for m in (self.member(key) for _ in "abc")
            }.items():
                yield f"-a {key} -r {server} {how}"


# --- several processes


ALONE = tuple(kind for kind in KINDS if kind not in ("-C", "--atomic", "-R"))
PROCESSES = 3
COMMANDS, FEW_COMMANDS = 150, 40  # of each process in one round


def together(run: Run) -> Found:
    """Several processes change one table at once, and packets pass. Afterwards every invariant holds, a listing
    works, and what was added and deleted one by one is what there is."""
    with Arena() as arena:
        for number, random in run.rounds():
            arena.plane.wipe()
            kinds = ALONE if number % 2 else tuple(KINDS)
            randoms = [Random(random.random()) for _ in range(PROCESSES)]
            results = _fork(arena, randoms, kinds, FEW_COMMANDS if run.short else COMMANDS)
            yield from ((number, text) for text in _after(arena, results, kinds is ALONE))


def _after(arena: Arena, results: Sequence[str], exact: bool) -> Iterator[str]:
    arena.plane._fresh()
    yield from (f"a command ended in an exception: {text[1:]}" for text in results if text.startswith("!"))
    yield from check_table(arena.memory)
    status, listing, errors = arena.plane.try_adm("-S -n")
    if status:
        yield f"pylvsadm -S -n fails: {errors.strip()}"
    if exact:
        done = Counter(text for text in results if not text.startswith("!"))
        wanted = sum(done[text] for text in done if text.startswith("-A")) - sum(
            done[text] for text in done if text.startswith("-D")
        )
        found = sum(line.startswith("-A") for line in listing.splitlines())
        if found != wanted:
            yield f"{wanted} services were added and not deleted, and {found} are listed"


def _fork(arena: Arena, randoms: Sequence[Random], kinds: Sequence[str], count: int) -> list[str]:
    """The commands that succeeded, as 'kind key', and '!' with what was raised, of all processes."""
    children = [
        _child(lambda write, random=random: _commands(arena, random, kinds, count, write)) for random in randoms
    ]
    noise = Random(randoms[0].random())
    while any(os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None for pid, _ in children):
        _packets(arena, noise)
    found = []
    for pid, read in children:
        with os.fdopen(read) as pipe:
            found += pipe.read().splitlines()
        os.waitpid(pid, 0)
    return found


def _child(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """A forked process that does this; its number, and where to read what it writes (64 KiB at most)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    try:
        work(lambda text: void(os.write(write, f"{text}\n".encode())))
    except BaseException:
        os.write(write, f"!{traceback.format_exc(limit=-1).splitlines()[-1]}\n".encode())
    finally:
        sys.stdout.flush()
        os._exit(0)


def void(_: object) -> None:
    """For a callback that answers nothing."""


def _commands(arena: Arena, random: Random, kinds: Sequence[str], count: int, write: Callable[[str], None]) -> None:
    commander = Commander(random, kinds)
    for _ in range(count):
        arena.plane.director = Unattached()  # each command is a process of its own
        line, stdin = commander.command()
        try:
            status, _, errors = arena.plane.try_adm(line, stdin)
        except Exception as error:
            write(f"!{line}: {type(error).__name__}: {error}")
            continue
        if "Traceback" in errors:
            write(f"!{line}: {errors.strip().splitlines()[-1]}")
        if not status:
            commander.succeeded(line, stdin)
        if not status and line[:2] in ("-A", "-D"):
            write(line[:2])


def _packets(arena: Arena, random: Random) -> None:
    frames = []
    for _ in range(50):
        src = b"\x0b\x00\x00" + bytes((random.randrange(256),))
        data = build.packet(
            random.choice((6, 17, 132)), src, raw(VIP), random.randrange(2000, 2020), random.choice(PORTS)
        )
        frames.append(arena.frame("tc", build.ether(CLIENT, data)))
    arena.runner.run(frames)
    time.sleep(0.001)


ATTACKS = (Attack("commands", "commands of several processes at once", 20, together, short=2),)
