# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 while a data plane is loaded, attached, detached or unloaded. The next commands make a director that works,
on the interfaces where it belongs; and what was to go is gone."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pylvs.commands.main import main as pylvs
from pylvs.dataplane.attach import Attacher
from pylvs.dataplane.instance import Instance
from pylvs.dataplane.kernel import skb_context
from pylvs.dataplane.loaded import names_in
from pylvs.errors import PylvsError
from pylvs.host.interfaces import interfaces
from pylvs.ipvsadm.run import Session
from pylvs.table.director import Director
from pylvs.table.load import SIZE
from tests.attack import build, stepping
from tests.attack.attack import Attack, Found, Run
from tests.attack.build import SYN, raw
from tests.attack.check import check_table
from tests.attack.crash import Case
from tests.attack.sums import TCP
from tests.packets import cast
from tests.packets.cast import CLIENT, VIP
from tests.packets.plane import Network

SERVICE = "-A -t VIP:80 -s rr"
MEMBER = "-a -t VIP:80 -r REAL_1:80 -g"
SENT = 7
SHORT = 1  # kills of a case in the short form, and as many again of its last quarter, when it attaches
LATE = 0.75


@dataclass(frozen=True)
class Loading:
    """`before`: commands of `pylvsadm` and `pylvs` on a machine without a data plane; `after`: those that come next."""

    case: Case
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = (SERVICE, MEMBER)


LOADED = (SERVICE, MEMBER)
CASES = (
    Loading(Case(SERVICE)),
    Loading(Case("-R", f"{SERVICE}\n{MEMBER}\n")),
    Loading(Case("-R --atomic", f"{SERVICE}\n{MEMBER}\n")),
    Loading(Case("attach", program="pylvs"), (*LOADED, "pylvs detach")),
    Loading(Case("attach --mode xdp", program="pylvs"), LOADED),
    Loading(Case("attach --mode tc", program="pylvs"), (*LOADED, "pylvs attach --mode xdp")),
    Loading(Case("detach eth0", program="pylvs"), LOADED),
    Loading(Case("detach --unload", program="pylvs"), LOADED, ()),
)


def command(words: str, stdin: str = "") -> Callable[[], int]:
    """A command in the names of the cast, as a person would run it: of `pylvsadm`, or of `pylvs` if it says so."""
    argv, text = cast.names(words).split(), cast.names(stdin).encode()
    if argv[0] == "pylvs":
        return lambda: pylvs(argv[1:])
    return lambda: Session("pylvsadm", Director, io.BytesIO(text), io.StringIO(), io.StringIO()).run(argv)


def words_of(case: Case) -> str:
    """As `command` takes them."""
    return f"pylvs {case.words}" if case.program == "pylvs" else case.words


def completed(words: str, stdin: str = "") -> str:
    """Run it, to its end, in a child: what went wrong."""
    return stepping.run(command(words, stdin), ()).text


class State:
    """What a person sees of a director."""

    def __init__(self) -> None:
        self.instance = Instance.here()

    def clear(self) -> None:
        """Nothing is loaded, and nothing is left."""
        Attacher(self.instance).remove()

    def attached(self) -> dict[str, tuple[str, ...]]:
        """Hooks by interface."""
        hooks = Attacher(Instance.here()).hooks()
        return {each.name: hooks[each.index] for each in interfaces() if each.index in hooks}

    def listing(self) -> str:
        """The table."""
        out, err = io.StringIO(), io.StringIO()
        Session("pylvsadm", Director, io.BytesIO(), out, err).run(["-S", "-n"])
        return "\n".join(sorted(out.getvalue().splitlines())) + err.getvalue()

    def served(self) -> bool:
        """Whether a client's first packet is sent to a real server."""
        data = build.packet(TCP, raw(CLIENT.ip), raw(VIP), 40000, 80, SYN)
        eth0 = next(each.index for each in interfaces() if each.name == "eth0")
        try:
            with Instance.here().program("director_tc") as program:
                return program.test_run(build.ether(CLIENT, data), skb_context(eth0)).retval == SENT
        except PylvsError:
            return False

    def seen(self) -> dict[str, object]:
        """All of it, and the names of what is pinned."""
        directory = self.instance.directory
        return {
            "attached": self.attached(),
            "listing": self.listing(),
            "served": self.served(),
            "pins": [name for name in names_in(directory) if name in ("live", "half")],
        }


class Trial:
    """One case."""

    def __init__(self, loading: Loading) -> None:
        self.loading, self.state = loading, State()
        self.words, self.stdin = words_of(loading.case), loading.case.stdin
        ended = self._run(stepping.NEVER)
        self.steps, self.failed = ended.steps, ended.text
        self.wanted = self._next()

    def _run(self, kill_at: int) -> stepping.Ended:
        self.state.clear()
        for words in self.loading.before:
            completed(words)
        return stepping.run(command(self.words, self.stdin), (), kill_at)

    def _next(self) -> dict[str, object]:
        for words in self.loading.after:
            completed(words)
        return self.state.seen()

    def kill(self, step: int) -> str:
        """What is wrong after a kill there, in one line."""
        ended = self._run(step)
        if not ended.killed:
            return ""
        if self.words.startswith("pylvs "):
            completed(self.words)
        found = self._next()
        wrong = [
            f"{what} is {found[what]!r}, not {self.wanted[what]!r}"
            for what in found
            if found[what] != self.wanted[what]
        ]
        if Instance.here().loaded:
            wrong += check_table(Director().memory)
        where = f"{self.loading.case} killed after step {step} of {self.steps} ({ended.text})"
        return f"{where}, then {' and '.join(self.loading.after) or 'again'}: {'; '.join(wrong)}" if wrong else ""


@contextmanager
def small_network() -> Iterator[None]:
    """The cast's network, in which a data plane of few entries is loaded."""
    network, before = Network(), os.environ.get(SIZE)
    os.environ[SIZE] = "256"
    try:
        with network.inside():
            try:
                yield
            finally:
                State().clear()
    finally:
        if before is None:
            del os.environ[SIZE]
        else:
            os.environ[SIZE] = before
        network.close()


def load(run: Run) -> Found:
    """Each case, killed after as many of its steps as there is time for."""
    with small_network():
        points = 0
        for number, loading, random in run.cases(CASES):
            trial = Trial(loading)
            if trial.failed:
                yield number, f"{loading.case} fails without a kill: {trial.failed}"
            steps = random.sample(range(1, trial.steps + 1), trial.steps)
            share = run.left / (len(CASES) - run.rounds_done) if run.only is None else 1e9
            end = run.left - share
            late = [step for step in steps if step > trial.steps * LATE]
            for step in (*steps[:SHORT], *late[:SHORT]) if run.short else steps:
                points += 1
                if text := trial.kill(step):
                    yield number, text
                if run.left <= end:
                    break
        run.say(f"{points} kills")


ATTACKS = (Attack("loading", "kill -9 while a data plane is loaded, attached, taken away", 50, load, short=1),)
