# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs mark`: firewall marks without netfilter, whose own marks come too late for XDP and TC.

pylvs mark add --mark 1 --proto tcp --dst 192.168.247.0/24 --dport 80,443,8000-8099
pylvs mark list | del … | flush
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from pylvs.table.director import Director
from pylvs.table.marks import PROTOCOLS, Rule, change, expand, flush, read


def parser() -> argparse.ArgumentParser:
    """The grammar of the command."""
    top = argparse.ArgumentParser(prog="pylvs mark", description=(__doc__ or "").partition("\n\n")[0])
    commands = top.add_subparsers(dest="command", required=True)
    for name, what in (("add", "mark such packets"), ("del", "do not mark them any more")):
        command = commands.add_parser(name, help=what)
        command.add_argument("--mark", type=int, required=True)
        command.add_argument("--proto", choices=PROTOCOLS, default="all")
        command.add_argument("--dst", required=True, metavar="ADDRESS[/PREFIX]")
        command.add_argument("--dport", metavar="PORTS", help="numbers and ranges, as 80,443,8000-8099")
    commands.add_parser("list", help="the rules, the most specific first").add_argument("--json", action="store_true")
    commands.add_parser("flush", help="remove every rule")
    return top


def show(rules: list[Rule], as_json: bool) -> None:
    """Print the rules."""
    if as_json:
        print(json.dumps([asdict(rule) | {"network": str(rule.network)} for rule in rules], indent=2))
    else:
        print("\n".join(f"pylvs mark add {rule}" for rule in rules) or "no rules")


def run(argv: list[str]) -> int:
    """`pylvs mark add|del|list|flush`."""
    options = parser().parse_args(argv)
    with Director() as director:
        if options.command == "list":
            show(read(director), options.json)
        elif options.command == "flush":
            flush(director)
        else:
            named = expand(options.mark, options.proto, options.dst, options.dport)
            if options.command == "add":
                change(director, add=named, remove=[])
            else:
                change(director, add=[], remove=named)
    return 0
