# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs lab up | run | compare | status | exec | break | fix | down`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from pylvs.errors import PylvsError
from pylvs.lab.topology import METHODS, Options, prefix
from pylvs.model import TunnelType


def parser() -> argparse.ArgumentParser:
    """The grammar of `pylvs lab`."""
    top = argparse.ArgumentParser(prog="pylvs lab", description="The DR test build as network namespaces.")
    commands = top.add_subparsers(dest="command", required=True, metavar="up|run|compare|status|exec|break|fix|down")
    for name, purpose in (("up", "build the lab"), ("run", "build it if need be, and run the experiment")):
        command = _build_options(_common(commands.add_parser(name, help=purpose)))
    command.add_argument("--no-compare", action="store_true", help="leave out the comparison of the methods")
    compares = commands.add_parser("compare", help="a small lab of each forwarding method, measured side by side")
    _build_options(_common(compares), method=False)
    _common(commands.add_parser("status", help="a picture of the lab, with what is true of it now"))
    _common(commands.add_parser("down", help="take everything of the lab away"))
    commands.add_parser("break", help="make a fault on purpose, for pylvs doctor to find")
    commands.add_parser("fix", aliases=["mend"], help="undo every fault that was made")
    execute = commands.add_parser("exec", help="run a command on a machine: pylvs lab exec node01 pylvsadm -ln")
    execute.add_argument("--name", default="lab", help="which lab (default: lab)")
    execute.add_argument("machine")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD…")
    return top


def _common(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--name", default="lab", help="labs of other names live side by side (default: lab)")
    return command


def _build_options(command: argparse.ArgumentParser, method: bool = True) -> argparse.ArgumentParser:
    command.add_argument("--mode", choices=("tc", "xdp", "auto"), default="tc", help="the data plane's hook")
    if method:
        command.add_argument("--method", choices=tuple(METHODS), default="dr", help="forwarding method")
    kinds = tuple(kind.value for kind in TunnelType)
    command.add_argument("--tun-type", choices=kinds, default="ipip", help="with --method tun")
    command.add_argument("--ipv6", action="store_true", help="IPv6 throughout")
    return command


def options(arguments: argparse.Namespace) -> Options:
    """What to build, from the command line."""
    method = METHODS[getattr(arguments, "method", "dr")]
    return Options(arguments.name, method, arguments.mode, TunnelType(arguments.tun_type), arguments.ipv6)


def run(argv: Sequence[str]) -> int:
    """Run `pylvs lab …`; 0 when all is as it should be."""
    if argv and argv[0] in ("break", "fix", "mend"):
        from pylvs.lab import faults

        return faults.run(argv)
    arguments = parser().parse_args(argv)
    prefix(arguments.name)
    if arguments.command == "exec":
        return execute(arguments.name, arguments.machine, arguments.argv)
    if arguments.command in ("up", "run", "compare"):
        from pylvs.lab import preflight

        preflight.check()
    actions = {"up": up, "run": experiment, "compare": side_by_side, "status": status, "down": down}
    return actions[arguments.command](arguments)


def up(arguments: argparse.Namespace) -> int:
    """Build the lab and show it."""
    from pylvs.lab import build
    from pylvs.lab.show import show

    telling = show(arguments.json)
    telling.heading("Building the lab: each step, and what you would type for it on a real machine")
    lab, new = build.up(options(arguments), telling.step)
    if not new:
        telling.note("  The lab is up already, as asked for.")
    telling.picture(lab)
    telling.finish(ok=True, new=new)
    return 0


def experiment(arguments: argparse.Namespace) -> int:
    """Build the lab if need be, then prove that it works; 1 when a proof fails."""
    from pylvs.lab import build, scenario
    from pylvs.lab.show import show

    telling = show(arguments.json)
    telling.heading("Building the lab: each step, and what you would type for it on a real machine")
    lab, new = build.up(options(arguments), telling.step)
    if not new:
        telling.note("  The lab is up already, as asked for.")
    failed = scenario.play(lab, telling)
    if not failed and not arguments.no_compare:
        failed = scenario.compared(lab.options, telling)
    telling.picture(lab)
    telling.note(scenario.closing(lab, failed))
    telling.finish(ok=not failed, failed=failed)
    return 1 if failed else 0


def side_by_side(arguments: argparse.Namespace) -> int:
    """Measure every forwarding method; 1 when one of them does not work."""
    from pylvs.lab.scenario import compared
    from pylvs.lab.show import show

    telling = show(arguments.json)
    failed = compared(options(arguments), telling)
    telling.finish(ok=not failed, failed=failed)
    return 1 if failed else 0


def status(arguments: argparse.Namespace) -> int:
    """Show the lab; 1 when it is not up."""
    from pylvs.lab import build
    from pylvs.lab.show import show

    lab = build.require(arguments.name)
    telling = show(arguments.json)
    telling.picture(lab)
    telling.finish(ok=True)
    return 0


def execute(name: str, machine: str, argv: Sequence[str]) -> int:
    """Become a command on one of the machines, with a /sys of that machine."""
    from pylvs.lab import build

    lab = build.require(name)
    if not argv:
        raise PylvsError(f"what is to run on {machine}? run: pylvs lab exec {machine} ip addr")
    namespace = lab.namespace("switch" if machine == "switch" else lab[machine].name)
    environment = {**os.environ, "PATH": build.path()}
    os.execvpe("ip", ["ip", "netns", "exec", namespace, *argv], environment)


def down(arguments: argparse.Namespace) -> int:
    """Take the lab away, whatever state it is in."""
    from pylvs.lab import build
    from pylvs.lab.show import show

    number = build.down(arguments.name)
    telling = show(arguments.json)
    telling.note("The lab is down." if number else "There was no lab.")
    telling.finish(ok=True, removed=number)
    return 0
