# SPDX-License-Identifier: GPL-2.0-or-later
"""The `pylvs` command: each subcommand is a module, which is imported when it is called."""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper

from pylvs.errors import PylvsError

# subcommand: (module with `run(argv) -> exit status`, its purpose)
COMMANDS: dict[str, tuple[str, str]] = {
    "lab": ("pylvs.lab.main", "the DR test build: four machines, real HTTP, every step shown and proved"),
    "attach": ("pylvs.commands.attach", "put the data plane on interfaces"),
    "detach": ("pylvs.commands.attach", "take the data plane off interfaces"),
    "status": ("pylvs.commands.attach", "where the data plane is, and in which mode"),
    "realserver": ("pylvs.realserver.main", "make this machine a real server, check it, undo it"),
    "doctor": ("pylvs.doctor.main", "why does the VIP not answer? names the fault and its fix"),
    "trace": ("pylvs.trace.main", "each packet: what the data plane did with it and why, or what it would do"),
    "top": ("pylvs.commands.top", "services, destinations and rates, live"),
    "bench": ("pylvs.bench.main", "benchmarks: ns per packet, requests per second, each with its baseline"),
    "outcomes": ("pylvs.commands.outcomes", "what became of the packets, by name"),
    "drain": ("pylvs.commands.drain", "drain connections before removing a destination"),
    "set": ("pylvs.commands.tuning", "change a knob of net.ipv4.vs.*"),
    "get": ("pylvs.commands.tuning", "show the knobs of net.ipv4.vs.*"),
    "mark": ("pylvs.commands.mark", "firewall marks for the data plane"),
    "install-ipvsadm": ("pylvs.ipvsadm.install", "let ipvsadm, ipvsadm-save and ipvsadm-restore be links to pylvsadm"),
    "proc": ("pylvs.ipvsadm.proc", "what /proc/net/ip_vs* would contain"),
}


def usage() -> str:
    """The list of subcommands, one per line."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items())
    return f"usage: pylvs COMMAND …\n\n{rows}\n\nThe table itself is driven by `pylvsadm`, as by `ipvsadm`."


def dispatch(argv: list[str]) -> int:
    """Run a subcommand with its arguments; the name is the first of them where a module has several."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"pylvs: no command '{argv[0]}'; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module = COMMANDS[argv[0]][0]
    shared = [name for name, (other, _) in COMMANDS.items() if other == module]
    arguments = argv if len(shared) > 1 else argv[1:]
    status: int = import_module(module).run(arguments)
    return status


def main(argv: list[str] | None = None) -> int:
    """The entry point. A PylvsError is one line on standard error and exit status 1."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal whose encoding lacks a letter shows '?'
        sys.stdout.reconfigure(errors="replace")
    try:
        return dispatch(sys.argv[1:] if argv is None else argv)
    except PylvsError as error:
        print(f"pylvs: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except KeyboardInterrupt:
        return 130
