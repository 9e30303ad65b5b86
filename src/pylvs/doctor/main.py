# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs doctor`: what is wrong, the likeliest first, with the evidence and the command that fixes it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from pylvs.doctor.finding import Finding
from pylvs.doctor.report import Report, diagnose


def parser() -> argparse.ArgumentParser:
    """The grammar of `pylvs doctor`."""
    top = argparse.ArgumentParser(
        prog="pylvs doctor",
        description="Why does the VIP not answer? To be asked on the director, or on a real server.",
        epilog="Exit status: 0 healthy, 1 degraded, 2 broken.",
    )
    top.add_argument("--json", action="store_true", help="print JSON")
    top.add_argument(
        "--as", dest="role", choices=("director", "realserver"), help="what this machine is (default: as found)"
    )
    return top


def run(argv: Sequence[str]) -> int:
    """Examine this machine and print what is wrong; the exit status."""
    arguments = parser().parse_args(argv)
    report = diagnose(arguments.role)
    if arguments.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        show(report)
    return int(report.health)


def show(report: Report) -> None:
    """Print a report for a person."""
    for number, finding in enumerate(report.findings, 1):
        _show(number, finding)
    nothing = "" if report.findings else "; nothing is wrong"
    print(f"{report.health.name.lower()}: {report.checked}{nothing}")


def _show(number: int, finding: Finding) -> None:
    print(f"{number}. {finding.what}  [{finding.name}]")
    print(f"   on     {finding.machine}")
    for line in finding.evidence:
        print(f"   seen   {line}")
    print(f"   run    {finding.fix}\n")
