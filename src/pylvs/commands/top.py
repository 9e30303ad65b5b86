# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs top`: services, destinations, connections, rates and outcomes, live.

Keys sort: c connections, r connections per second, p packets, b bytes, n name (again: reversed); q quits.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pylvs.errors import PylvsError
from pylvs.table.director import Director
from pylvs.table.snapshot import Line, Snapshot, Watch

UNITS = ("", "k", "M", "G", "T")


SORTS: dict[str, tuple[str, Callable[[Line], Any]]] = {
    "c": ("connections", lambda line: -line.connections),
    "r": ("cps", lambda line: -line.rate.connections),
    "p": ("pps", lambda line: -(line.rate.in_packets + line.rate.out_packets)),
    "b": ("bps", lambda line: -(line.rate.in_bytes + line.rate.out_bytes)),
    "n": ("name", lambda line: (line.service, line.destination)),
}


@dataclass
class View:
    """How it is shown: sorted by `key` of SORTS; `quit`: not any more."""

    key: str = "c"
    reverse: bool = False
    quit: bool = False

    def press(self, key: str) -> bool:
        """Act on a key; whether it means anything."""
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
        """In the order that was asked for; equals by name."""
        by_name = sorted(lines, key=SORTS["n"][1])
        return sorted(by_name, key=SORTS[self.key][1], reverse=self.reverse)

    def arranged(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with its services, and the destinations of each, in order."""
        members = dict(snapshot.services)
        services = tuple((service, tuple(self.sort(members[service]))) for service in self.sort(members))
        return replace(snapshot, services=services)


def scaled(number: float) -> str:
    """At most three digits and a unit of 1000: 999, 1.2k, 34M."""
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
    """A line as the text of its columns, those of HEADS."""
    rate = line.rate
    return (
        f"  {line.destination}" if line.destination else line.service,
        line.method or line.scheduler,
        str(line.weight),
        str(line.active),
        str(line.inactive),
        scaled(rate.connections),
        scaled(rate.in_packets),
        scaled(rate.out_packets),
        scaled(rate.in_bytes),
        scaled(rate.out_bytes),
    )


def rows(snapshot: Snapshot, view: View) -> Iterator[Line]:
    """Services in order, each followed by its destinations in order."""
    for service, destinations in view.arranged(snapshot).services:
        yield service
        yield from destinations


def summary(snapshot: Snapshot) -> str:
    """The first line: how many there are of each, and rates of the whole table."""
    services = [service for service, _ in snapshot.services]
    destinations = sum(len(members) for _, members in snapshot.services)
    active = sum(service.active for service in services)
    inactive = sum(service.inactive for service in services)
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


def picture(snapshot: Snapshot, view: View, height: int) -> Any:
    """A renderable of rich, of `height` lines; the last one says how many lines do not fit."""
    from rich.console import Group
    from rich.text import Text

    lines = list(rows(snapshot, view))
    room = max(1, height - 5)
    foot = f"sorted by {SORTS[view.key][0]}{', reversed' if view.reverse else ''}; keys: c r p b n, q"
    if len(lines) > room:
        foot = f"{len(lines) - room} more lines do not fit; {foot}"
    head = (Text(line, overflow="ellipsis", no_wrap=True) for line in (summary(snapshot), busy(snapshot)))
    return Group(*head, grid(lines[:room]), Text(foot, style="dim"))


def grid(lines: Iterable[Line]) -> Any:
    """Lines as a table of rich: services bold, quiesced destinations dim."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, expand=True, header_style="reverse", pad_edge=False)
    for column, head in enumerate(HEADS):
        table.add_column(head, justify="left" if column < 2 else "right", no_wrap=True, overflow="ellipsis")
    for line in lines:
        quiesced = line.destination and not line.weight
        style = "dim" if quiesced else "" if line.destination else "bold"
        table.add_row(*map(Text, cells(line)), style=style)
    return table


@contextmanager
def keys() -> Iterator[int]:
    """The descriptor of a terminal that gives each key as it is pressed; at the end it is as before."""
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
    """Show it on a terminal until q is pressed."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as screen:
        while not view.quit:
            snapshot = watch.look()
            until = time.monotonic() + delay
            screen.update(picture(snapshot, view, console.height), refresh=True)
            while not view.quit and time.monotonic() < until:
                if pressed(keyboard, view, until):
                    screen.update(picture(snapshot, view, console.height), refresh=True)


def pressed(keyboard: int, view: View, until: float) -> bool:
    """Wait for a key until then (monotonic) and act on it; whether it changes what is shown. No keyboard: quit."""
    left = max(0.0, until - time.monotonic())
    if not select.select([keyboard], [], [], left)[0]:
        return False
    typed = os.read(keyboard, 16).decode(errors="replace")
    if not typed:
        view.quit = True
    return view.press(typed[:1])


def parser() -> argparse.ArgumentParser:
    """The grammar of `pylvs top`."""
    top = argparse.ArgumentParser(
        prog="pylvs top", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("-d", "--delay", type=float, default=2.0, metavar="SECONDS", help="between two looks (default 2)")
    top.add_argument(
        "-s",
        "--sort",
        choices=[name for name, _ in SORTS.values()],
        default="connections",
        help="sort by this (default connections)",
    )
    top.add_argument("-c", "--count", type=int, default=0, metavar="N", help="end after N looks")
    top.add_argument("--once", action="store_true", help="one look, after counting outcomes for a second")
    top.add_argument("--json", action="store_true", help="as JSON, one object per line")
    return top


def run(argv: Sequence[str]) -> int:
    """Show it live on a terminal, else print it look by look."""
    options = parser().parse_args(argv)
    if not 0.1 <= options.delay <= 3600:
        raise PylvsError(f"invalid delay {options.delay}; accepted: 0.1 to 3600 seconds")
    view = View(next(key for key, (name, _) in SORTS.items() if name == options.sort))
    with Director() as director:
        watch = Watch(director)
        on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        if on_terminal and not (options.once or options.json or options.count):
            live(watch, view, options.delay)
        else:
            look_by_look(watch, view, options)
    return 0


def look_by_look(watch: Watch, view: View, options: argparse.Namespace) -> None:
    """Print each look, with the rates since the one before, which the first one needs too."""
    looks = 1 if options.once else options.count or sys.maxsize
    delay = min(1.0, options.delay) if options.once else options.delay
    watch.look()
    for number in range(looks):
        time.sleep(delay)
        snapshot = watch.look()
        if options.json:
            print(json.dumps(view.arranged(snapshot).as_json()), flush=True)
        else:
            print(("\n" if number else "") + text(snapshot, view), flush=True)
