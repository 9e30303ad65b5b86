# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs bench [packet] [--json] [--compare OLD.json]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pylvs.bench.stats import Figure
from pylvs.errors import PylvsError


def parser() -> argparse.ArgumentParser:
    """The grammar of `pylvs bench`."""
    top = argparse.ArgumentParser(prog="pylvs bench", description="Measurements, each as a ratio within the run.")
    top.add_argument("suites", nargs="*", metavar="packet", help="what to measure (default: all)")
    top.add_argument("--json", action="store_true", help="print the result as data")
    top.add_argument("--compare", metavar="OLD.json", type=Path, help="say what got slower than in this result")
    top.add_argument("--save", metavar="FILE.json", type=Path, help="write the result here")
    top.add_argument("--rounds", type=int, default=7, help="rounds of each measurement (default: 7)")
    top.add_argument("--object", type=Path, help=argparse.SUPPRESS)
    return top


def _packet(say: Say, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from pylvs.bench.packet import measure
    from pylvs.dataplane.open import OBJECT

    return measure(say, arguments.rounds, BUDGETS["packet"], arguments.object or OBJECT)


def _suite(name: str) -> Callable[[Say, argparse.Namespace], list[dict[str, Any]]]:
    def measure(say: Say, arguments: argparse.Namespace) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = import_module(f"pylvs.bench.{name}").measure(
            say, arguments.rounds, BUDGETS[name]
        )
        return rows

    return measure


Say = Callable[[str], None]
BUDGETS = {"packet": 280.0, "wire": 170.0, "table": 60.0, "control": 70.0}  # seconds: ten minutes in all
SUITES = {"packet": _packet} | {name: _suite(name) for name in ("wire", "table", "control")}


def run(argv: Sequence[str]) -> int:
    """Run `pylvs bench …`; 1 if something got slower than in the result to compare with."""
    arguments = parser().parse_args(argv)
    wanted = arguments.suites or list(SUITES)
    for name in wanted:
        if name not in SUITES:
            raise PylvsError(f"no benchmark '{name}'; type one of: {', '.join(SUITES)}")
    old = _load(arguments.compare) if arguments.compare else None
    result = _measure(wanted, arguments)
    if arguments.save:
        arguments.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1) if arguments.json else _text(result))
    return _compare(old, result) if old else 0


def _measure(wanted: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    from pylvs.bench.machine import machine

    begin = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {what}", file=sys.stderr, flush=True)

    return {"machine": machine(), "suites": {name: SUITES[name](say, arguments) for name in wanted}}


def _load(path: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PylvsError(f"{path}: {error}; give a file that was written by: pylvs bench --save FILE.json") from None
    return result


def _text(result: dict[str, Any]) -> str:
    from pylvs.bench.targets import by_key, verdicts

    lines = [f"{name}: {value}" for name, value in result["machine"].items()]
    for name, rows in result["suites"].items():
        lines += ["", f"{name}"]
        for row in rows:
            lines.append(
                f"  {row['name']:32} {row['hook']:4} {row['count']:>11,}  {Figure.of(row['samples'])!s} {row['unit']}"
            )
        lines += ["", "targets"]
        for verdict in verdicts(by_key(rows)):
            target = verdict.target
            word = "reached" if verdict.reached else "NOT reached"
            lines.append(f"  {target.path:40} ≤ {target.limit} × {target.reference:28} {verdict.figure!s:28} {word}")
    return "\n".join(lines)


def _compare(old: dict[str, Any], new: dict[str, Any]) -> int:
    from pylvs.bench.compare import slower

    worse = [line for suite, rows in new["suites"].items() for line in slower(old["suites"].get(suite, []), rows)]
    print("\n".join(worse) or "nothing got slower beyond the noise")
    return 1 if worse else 0
