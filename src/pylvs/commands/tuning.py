# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs set` and `pylvs get`: the knobs of `net.ipv4.vs.*`, by the kernel's names, and our own."""

from __future__ import annotations

import argparse
import json

from pylvs.table.director import Director
from pylvs.table.knobs import BY_NAME, KNOBS, OWN_KNOBS
from pylvs.table.tuning import assign, knob_named, value_of


def run(argv: list[str]) -> int:
    """`pylvs set NAME=VALUE…`, `pylvs get [NAME…]`."""
    parser = argparse.ArgumentParser(prog=f"pylvs {argv[0]}", description=__doc__)
    if argv[0] == "set":
        parser.add_argument("assignment", nargs="+", metavar="NAME=VALUE")
        return change(parser.parse_args(argv[1:]).assignment)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("name", nargs="*")
    options = parser.parse_args(argv[1:])
    return show(options.name, options.json)


def change(assignments: list[str]) -> int:
    """Set each knob in turn; the first one that is refused ends it."""
    with Director() as director:
        for assignment in assignments:
            assign(director, assignment)
    return 0


def show(names: list[str], as_json: bool) -> int:
    """Print the knobs of these names, or all of them."""
    knobs = [knob_named(name) for name in names] or [*KNOBS, *OWN_KNOBS]
    with Director() as director:
        values = {knob.name: value_of(director, knob) for knob in knobs}
    if as_json:
        print(json.dumps(values, indent=2))
        return 0
    for name, value in values.items():
        print(f"{BY_NAME[name].prefix}{name} = {value}")
    return 0
