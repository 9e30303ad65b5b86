# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs bench [packet|parts|wire|table|control] [--json] [--compare OLD.json]`, `pylvs bench report`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from pylvs.bench.result import Result, load, merged, save
from pylvs.errors import PylvsError

Say = Callable[[str], None]
BUDGETS = {"packet": 150.0, "parts": 25.0, "wire": 230.0, "table": 90.0, "control": 75.0}  # seconds, < 600
ROUNDS = 7


def parser() -> argparse.ArgumentParser:
    """The grammar of `pylvs bench`."""
    top = argparse.ArgumentParser(
        prog="pylvs bench",
        description="Measurements, each as a ratio within the run, in namespaces of their own; less than ten minutes.",
    )
    top.add_argument(
        "suites",
        nargs="*",
        metavar="packet|parts|wire|table|control|report",
        help="what to measure (default: all); report: write the report anew",
    )
    top.add_argument("--json", action="store_true", help="print the result as JSON")
    top.add_argument("--compare", metavar="OLD.json", type=Path, help="list what got slower than in this result")
    top.add_argument("--save", metavar="FILE.json", type=Path, help="write the result here")
    top.add_argument(
        "--write",
        metavar="FOLDER",
        type=Path,
        help="put the result into FOLDER/benchmarks/data.json and write its report",
    )
    top.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of each measurement (default: {ROUNDS})")
    top.add_argument("--object", type=Path, help=argparse.SUPPRESS)
    return top


def run(argv: Sequence[str]) -> int:
    """Run `pylvs bench …`; 1 if something got slower than in the result to compare with."""
    arguments = parser().parse_args(argv)
    if arguments.suites == ["report"]:
        return _report(arguments.write or Path("docs"))
    wanted = arguments.suites or list(BUDGETS)
    for name in wanted:
        if name not in BUDGETS:
            raise PylvsError(f"no benchmark '{name}'; accepted: {', '.join(BUDGETS)}")
    if arguments.rounds < 1:
        raise PylvsError(f"--rounds {arguments.rounds}: give at least 1")
    old = load(arguments.compare) if arguments.compare else None
    return _finish(_measure(wanted, arguments), old, arguments)


def _finish(result: Result, old: Result | None, arguments: argparse.Namespace) -> int:
    from pylvs.bench.report import text

    if arguments.save:
        save(arguments.save, result)
    print(json.dumps(result, indent=1, ensure_ascii=False) if arguments.json else text(result))
    return _compare(old, result) if old else 0


def _measure(wanted: Sequence[str], arguments: argparse.Namespace) -> Result:
    """Suite by suite; what is finished is kept, so that one which fails can be run again by itself."""
    from pylvs.bench.keeper import keeping

    result: Result = {"suites": {}}
    begin = time.monotonic()
    with _ending(), keeping():
        for number, name in enumerate(wanted, 1):

            def say(what: str, place: str = f"{name} ({number} of {len(wanted)})") -> None:
                print(f"{time.monotonic() - begin:5.0f} s  {place}: {what}", file=sys.stderr, flush=True)

            result["suites"][name] = _suite(name, say, arguments)
            if arguments.write:
                _keep(arguments.write, result)
    return result


def _suite(name: str, say: Say, arguments: argparse.Namespace) -> dict[str, Any]:
    from pylvs.bench.environment import environment

    begin, at = time.monotonic(), time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    options = {"object_path": arguments.object} if arguments.object and name in ("packet", "parts") else {}
    rows = import_module(f"pylvs.bench.{name}").measure(say, arguments.rounds, BUDGETS[name], **options)
    return {"at": at, "seconds": round(time.monotonic() - begin), "machine": environment(), "rows": rows}


@contextmanager
def _ending() -> Iterator[None]:
    """A polite kill ends the run as Ctrl-C does: everything that was made is taken away."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _keep(directory: Path, result: Result) -> None:
    """Put the new suites beside those that are there, and write the report."""
    data = directory / "benchmarks" / "data.json"
    data.parent.mkdir(parents=True, exist_ok=True)
    save(data, merged(load(data) if data.exists() else None, result, list(BUDGETS)))
    _report(directory)


def _report(directory: Path) -> int:
    from pylvs.bench.report import write

    write(directory)
    print(f"wrote {directory}/benchmarks.md and its plots", file=sys.stderr)
    return 0


def _compare(old: Result, new: Result) -> int:
    from pylvs.bench.regressions import compared, slower

    worse, number = slower(old, new), compared(old, new)
    print("\n".join(worse) or f"nothing of {number} figures got slower beyond the noise", file=sys.stderr)
    return 1 if worse else 0
