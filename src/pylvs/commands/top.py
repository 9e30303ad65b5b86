# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs top`: services, destinations, connections, rates and outcomes, live.

Keys: c connections, r rate of connections, p packets, b bytes, n name (again: the other way round); q ends.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from pylvs.errors import PylvsError
from pylvs.model import Counters

UNITS = ("", "k", "M", "G", "T")


@dataclass(frozen=True, slots=True)
class Line:
    """A destination, or a service (`destination` is ''); counts, and rates a second."""

    service: str
    destination: str = ""
    method: str = ""
    scheduler: str = ""
    weight: int = 0
    active: int = 0
    inactive: int = 0
    rate: Counters = field(default_factory=Counters)

    @property
    def connections(self) -> int:
        return self.active + self.inactive


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one time; `outcomes` are packets a second by name, since the last one."""

    totals: Counters
    rate: Counters
    services: tuple[tuple[Line, tuple[Line, ...]], ...]
    outcomes: Mapping[str, float]


SORTS: dict[str, tuple[str, Callable[[Line], Any]]] = {
    "c": ("connections", lambda line: -line.connections),
    "r": ("cps", lambda line: -line.rate.connections),
    "p": ("pps", lambda line: -(line.rate.in_packets + line.rate.out_packets)),
    "b": ("bps", lambda line: -(line.rate.in_bytes + line.rate.out_bytes)),
    "n": ("name", lambda line: (line.service, line.destination)),
}


@dataclass
class View:
    """How it is shown."""

    key: str = "c"
    reverse: bool = False
    quit: bool = False

    def press(self, key: str) -> bool:
        """What a key does; whether it did anything."""
        if key in ("q", "\x1b", "\x03", "\x04"):
            self.quit = True
        elif key == self.key:
            self.reverse = not self.reverse
        elif key in SORTS:
            self.key, self.reverse = key, False
        else:
            return False
        return True

    def sort(self, lines: Iterable[Line]) -> list[Line]:
        """In the order that was asked for; of equals, by name."""
        by = SORTS[self.key][1]
        return sorted(sorted(lines, key=SORTS["n"][1]), key=by, reverse=self.reverse)


class Watch:
    """Takes snapshots of this network namespace's table."""

    def __init__(self, director: Any) -> None:
        self.director = director
        self._before: tuple[float, dict[str, int]] | None = None

    def look(self) -> Snapshot:
        """As it is now."""
        services = tuple(self._services())
        totals, rate = self.director.totals()
        return Snapshot(totals, rate, services, self._outcomes())

    def _services(self) -> Iterator[tuple[Line, tuple[Line, ...]]]:
        from pylvs.doctor.evidence import service_words, spelled

        for state in self.director.services():
            name = service_words(state)
            members = tuple(
                Line(
                    name, spelled(m.destination.address, m.destination.port), m.destination.method.value, "",
                    m.destination.weight, m.active, m.inactive, m.rate,
                )
                for m in state.destinations
            )  # fmt: skip
            active, inactive = sum(m.active for m in members), sum(m.inactive for m in members)
            weight = sum(m.weight for m in members)
            yield Line(name, "", "", state.service.scheduler, weight, active, inactive, state.rate), members

    def _outcomes(self) -> dict[str, float]:
        from pylvs.table.outcomes import counts

        if not self.director.instance.loaded:
            return {}
        now, counted = time.monotonic(), counts(self.director.instance)
        before, self._before = self._before, (now, counted)
        if before is None:
            return {name: 0.0 for name, count in counted.items() if count}
        took = max(now - before[0], 1e-3)
        return {name: (count - before[1].get(name, 0)) / took for name, count in counted.items() if count}


def scaled(number: float) -> str:
    """Four characters and a unit: 999, 1.2k, 34M."""
    for unit in UNITS:
        if number < 999.5 or unit == UNITS[-1]:
            return f"{number:.0f}{unit}" if not unit or number >= 9.95 else f"{number:.1f}{unit}"
        number /= 1000
    return ""


HEADS = (
    "service / destination",
    "how",
    "weight",
    "active",
    "inactive",
    "cps",
    "in pps",
    "out pps",
    "in Bps",
    "out Bps",
)


def cells(line: Line) -> tuple[str, ...]:
    """A line as text."""
    rate = line.rate
    return (
        f"  {line.destination}" if line.destination else line.service, line.method or line.scheduler, str(line.weight),
        str(line.active), str(line.inactive), *(scaled(n) for n in (
            rate.connections, rate.in_packets, rate.out_packets, rate.in_bytes, rate.out_bytes)),
    )  # fmt: skip


def rows(snapshot: Snapshot, view: View) -> Iterator[Line]:
    """Services in order, each with its destinations in order."""
    members = {id(service): there for service, there in snapshot.services}
    for service in view.sort(service for service, _ in snapshot.services):
        yield service
        yield from view.sort(members[id(service)])


def summary(snapshot: Snapshot) -> str:
    """The first line."""
    services = [service for service, _ in snapshot.services]
    destinations = sum(len(members) for _, members in snapshot.services)
    active, inactive = sum(s.active for s in services), sum(s.inactive for s in services)
    rate = snapshot.rate
    return (
        f"{time.strftime('%H:%M:%S')}  {len(services)} services, {destinations} destinations, "
        f"{active} active and {inactive} inactive connections; "
        f"{scaled(rate.connections)} conn/s, {scaled(rate.in_packets)} in, {scaled(rate.out_packets)} out packets/s"
    )


def busy(snapshot: Snapshot) -> str:
    """Outcomes, the most frequent first."""
    seen = sorted(snapshot.outcomes.items(), key=lambda item: -item[1])
    return "  ".join(f"{name} {scaled(rate)}/s" for name, rate in seen) or "no packet yet"


def text(snapshot: Snapshot, view: View) -> str:
    """As plain lines."""
    table = [HEADS, *(cells(line) for line in rows(snapshot, view))]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADS))]
    lines = [summary(snapshot), busy(snapshot), ""]
    for row in table:
        left = (f"{row[column]:<{widths[column]}}" for column in range(2))
        right = (f"{row[column]:>{widths[column]}}" for column in range(2, len(HEADS)))
        lines.append("  ".join((*left, *right)).rstrip())
    return "\n".join(lines)


def document(snapshot: Snapshot, view: View) -> dict[str, Any]:
    """As data."""
    members = {id(service): there for service, there in snapshot.services}
    return {
        "totals": asdict(snapshot.totals),
        "rate": asdict(snapshot.rate),
        "outcomes_per_second": dict(snapshot.outcomes),
        "services": [
            asdict(service) | {"destinations": [asdict(line) for line in view.sort(members[id(service)])]}
            for service in view.sort(service for service, _ in snapshot.services)
        ],
    }


def picture(snapshot: Snapshot, view: View, height: int) -> Any:
    """As rich shows it; what does not fit is said."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, expand=True, header_style="reverse", pad_edge=False)
    for place, head in enumerate(HEADS):
        table.add_column(head, justify="left" if place < 2 else "right", no_wrap=True, overflow="ellipsis")
    lines = list(rows(snapshot, view))
    room = max(1, height - 5)
    for line in lines[:room]:
        style = "bold" if not line.destination else "dim" if not line.weight else ""
        table.add_row(*(Text(cell) for cell in cells(line)), style=style)
    left = len(lines) - room
    foot = f"sorted by {SORTS[view.key][0]}{', reversed' if view.reverse else ''}; keys: c r p b n, q"
    if left > 0:
        foot = f"{left} lines more do not fit; {foot}"
    first = Text(summary(snapshot), overflow="ellipsis", no_wrap=True)
    return Group(first, Text(busy(snapshot), overflow="ellipsis", no_wrap=True), table,
                 Text(foot, style="dim"))  # fmt: skip


@contextmanager
def keys() -> Iterator[int]:
    """The terminal gives each key as it is pressed; as before at the end."""
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        yield number
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def live(watch: Watch, view: View, delay: float) -> None:
    """Until q is pressed."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as screen:
        while not view.quit:
            snapshot, until = watch.look(), time.monotonic() + delay
            screen.update(picture(snapshot, view, console.height), refresh=True)
            while not view.quit and (left := until - time.monotonic()) > 0:
                if select.select([keyboard], [], [], left)[0]:
                    typed = os.read(keyboard, 16).decode(errors="replace")
                    view.quit = view.quit or not typed
                    if view.press(typed[:1]):
                        screen.update(picture(snapshot, view, console.height), refresh=True)


def parser() -> argparse.ArgumentParser:
    """The grammar of `pylvs top`."""
    top = argparse.ArgumentParser(
        prog="pylvs top", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("-d", "--delay", type=float, default=2.0, metavar="SECONDS", help="between two looks (default 2)")
    top.add_argument(
        "-s", "--sort", choices=[name for name, _ in SORTS.values()], default="connections", help="by what"
    )
    top.add_argument("-c", "--count", type=int, default=0, metavar="N", help="end after N looks")
    top.add_argument("--once", action="store_true", help="one look, after one second in which outcomes are counted")
    top.add_argument("--json", action="store_true", help="as data, one object a line")
    return top


def run(argv: Sequence[str]) -> int:
    """Show it live on a terminal, else look by look."""
    options = parser().parse_args(argv)
    if not 0.1 <= options.delay <= 3600:
        raise PylvsError("a delay is from 0.1 to 3600 seconds")
    from pylvs.table.director import Director

    view = View(next(key for key, (name, _) in SORTS.items() if name == options.sort))
    with Director() as director:
        watch = Watch(director)
        plain = options.once or options.json or options.count or not (sys.stdin.isatty() and sys.stdout.isatty())
        if not plain:
            live(watch, view, options.delay)
            return 0
        watch.look()
        for place in range(1 if options.once else options.count or sys.maxsize):
            time.sleep(min(1.0, options.delay) if options.once else options.delay)
            say = json.dumps(document(watch.look(), view)) if options.json else text(watch.look(), view)
            print(say if options.json or not place else f"\n{say}", flush=True)
    return 0
