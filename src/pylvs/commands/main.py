# SPDX-License-Identifier: GPL-2.0-or-later
"""The `pylvs` command: a subcommand's name leads to a module, imported only when it is called for."""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper

from pylvs.errors import PylvsError

# subcommand: (module with `run(argv) -> exit status`, what it is for)
COMMANDS: dict[str, tuple[str, str]] = {
    "lab": ("pylvs.lab.main", "the DR test build: four machines, real HTTP, every step shown and proved"),
    "attach": ("pylvs.commands.attach", "put the data plane on interfaces"),
    "detach": ("pylvs.commands.attach", "take the data plane off interfaces"),
    "status": ("pylvs.commands.attach", "where the data plane is, and in which mode"),
    "realserver": ("pylvs.realserver.main", "make this machine a real server, check it, undo it"),
    "doctor": ("pylvs.doctor.main", "why does the VIP not answer? names the fault and what mends it"),
    "trace": ("pylvs.trace.main", "each packet: what the data plane did with it, and why; or what it would do"),
    "top": ("pylvs.commands.top", "services, destinations and rates, live"),
    "bench": ("pylvs.bench.main", "ns a packet, requests a second, each beside what it is a ratio to"),
    "outcomes": ("pylvs.commands.outcomes", "what became of the packets, by name"),
    "drain": ("pylvs.commands.drain", "let a destination's connections end before it goes"),
    "set": ("pylvs.commands.tuning", "change a knob of net.ipv4.vs.*"),
    "get": ("pylvs.commands.tuning", "show the knobs of net.ipv4.vs.*"),
    "mark": ("pylvs.commands.mark", "firewall marks for the data plane"),
    "install-ipvsadm": ("pylvs.ipvsadm.install", "put ipvsadm, ipvsadm-save and ipvsadm-restore in place as links"),
    "proc": ("pylvs.ipvsadm.proc", "what /proc/net/ip_vs* would hold"),
}


def usage() -> str:
    """The list of subcommands, one a line."""
    width = max(map(len, COMMANDS))
    rows = (f"  {name:<{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items())
    head, tail = (
        "usage: pylvs COMMAND …\n\n",
        "\n\nThe table itself is driven by `pylvsadm`, as by `ipvsadm`.",
    )
    return head + "\n".join(rows) + tail


def dispatch(argv: list[str]) -> int:
    """Run one subcommand with its arguments; those that share a module see their name."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"pylvs: no command '{argv[0]}'; type one of: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module = COMMANDS[argv[0]][0]
    shared = [name for name, (other, _) in COMMANDS.items() if other == module]
    arguments = argv if len(shared) > 1 else argv[1:]
    status: int = import_module(module).run(arguments)
    return status


def main(argv: list[str] | None = None) -> int:
    """Entry point; a person's mistake or a machine's lack is one line on standard error and exit status 1."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal that has no such letter shows '?'
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
