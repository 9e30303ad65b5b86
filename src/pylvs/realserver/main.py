# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs realserver join | leave | status | check`: a real server that hides the VIP, and undoes it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from pylvs.errors import PylvsError
from pylvs.model import Address
from pylvs.realserver.preparation import Request

if TYPE_CHECKING:
    from pylvs.realserver.journal import Journal
    from pylvs.realserver.plan import Finding, Subject


def parser() -> argparse.ArgumentParser:
    """The grammar of `pylvs realserver`."""
    top = argparse.ArgumentParser(prog="pylvs realserver", description="Prepare this machine as a real server.")
    commands = top.add_subparsers(dest="command", required=True, metavar="join|leave|status|check")
    _join_options(commands.add_parser("join", help="hide the VIP here and take its packets"))
    leave = commands.add_parser("leave", help="undo exactly what join changed")
    leave.add_argument("vip", nargs="?", help="default: every VIP that was joined")
    leave.add_argument("--keep-persist", action="store_true", help="leave the systemd unit alone")
    status = commands.add_parser("status", help="what is joined, and what was changed for it")
    check = commands.add_parser("check", help="prove that it is right; exit status 1 if it is not")
    check.add_argument("vip", nargs="?", help="default: every VIP that was joined")
    for command in (status, check):
        command.add_argument("--json", action="store_true", help="as JSON")
    return top


def _join_options(join: argparse.ArgumentParser) -> None:
    join.add_argument("vip", help="the virtual address, for example 192.168.247.100")
    join.add_argument("--method", choices=("dr", "tun", "nat"), default="dr", help="forwarding method (default dr)")
    join.add_argument("--interface", default="", help="by which requests come in (default: found by the routes)")
    join.add_argument("--gateway", type=ip_address, help="with nat: the director's address on this side")
    join.add_argument("--director", type=ip_address, help="the director's address: nobody else may answer for the VIP")
    join.add_argument("--tun-type", choices=("ipip", "gue", "gre"), default="", help="with tun (default: all three)")
    join.add_argument("--tun-port", type=_port, default=6080, help="with tun: UDP port of GUE (default 6080)")
    join.add_argument(
        "--decapsulator",
        choices=("auto", "bpf", "kernel"),
        default="auto",
        help="with tun: auto takes the kernel's device where it has one for the --tun-type",
    )
    join.add_argument("--dry-run", action="store_true", help="show the commands, change nothing")
    join.add_argument("--persist", action="store_true", help="also join at boot, by a systemd unit")
    join.add_argument("--force", action="store_true", help="join although others answer, or the default route changes")


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return int(text)


def request(arguments: argparse.Namespace) -> Request:
    """What was asked for; PylvsError for an address that is none."""
    text, slash, length = arguments.vip.partition("/")
    vip = address(text)
    if slash and not length.isdigit():
        raise PylvsError(f"'{arguments.vip}' is not an address; give one like 192.168.247.100")
    for other in (arguments.gateway, arguments.director):
        if other and other.version != vip.version:
            raise PylvsError(f"{other} and {vip} are of two families")
    return Request(
        vip,
        int(length) if slash else None,
        arguments.method,
        arguments.interface,
        arguments.gateway,
        arguments.director,
        arguments.tun_type,
        arguments.tun_port,
        arguments.decapsulator,
        arguments.force,
    )


def address(text: str) -> Address:
    """An address, or PylvsError."""
    try:
        return ip_address(text)
    except ValueError:
        raise PylvsError(f"'{text}' is not an address; give one like 192.168.247.100") from None


def run(argv: Sequence[str]) -> int:
    """Run `pylvs realserver …`; 0 when all is as it should be."""
    arguments = parser().parse_args(argv)
    actions = {"join": join, "leave": leave, "status": status, "check": check}
    return actions[arguments.command](arguments)


def tell(typed: str, why: str) -> None:
    """Print one step: what a person would type for it, and why."""
    print(f"{typed:<60} # {why}" if why and not typed.startswith("#") else f"{typed}   {why}".rstrip())


def join(arguments: argparse.Namespace) -> int:
    """Join, or only show what would be done."""
    from pylvs.realserver import joining, unit

    wanted = request(arguments)
    if arguments.dry_run:
        interface = joining.planned(wanted, tell)
        if arguments.persist:
            print(f"\n# {unit.path(wanted.vip)}\n{unit.text(wanted, interface)}", end="")
        return 0
    interface = joining.join(wanted, tell)
    if arguments.persist:
        path = unit.write(wanted, interface)
        print(f"# {path}: joins at boot")
    return 0


def leave(arguments: argparse.Namespace) -> int:
    """Undo what join changed; 1 if nothing was joined."""
    from pylvs.realserver import joining, plan, unit

    vips = [address(arguments.vip)] if arguments.vip else list(plan.joined())
    left = [vip for vip in vips if joining.leave(vip, tell)]
    if not arguments.keep_persist:
        for vip in vips:
            if path := unit.remove(vip):
                print(f"rm {path}")
                left.append(vip)
    if not left:
        print(f"pylvs: {arguments.vip or 'nothing'} is not joined here; see: pylvs realserver status", file=sys.stderr)
    return 0 if left else 1


def status(arguments: argparse.Namespace) -> int:
    """List what is joined, and the packets of the decapsulator by outcome."""
    from pylvs.realserver import journal
    from pylvs.realserver.decapsulator import Decapsulator

    book, outcomes = journal.read(), Decapsulator.here().outcomes()
    if arguments.json:
        print(json.dumps(_status_document(book, outcomes), indent=2))
    else:
        _show_status(book, outcomes)
    return 0


def _status_document(book: Journal, outcomes: dict[str, int]) -> dict[str, Any]:
    from pylvs.realserver.changes import to_words

    entries = [{**to_words(e.change), "before": e.before, "vips": e.vips} for e in book.entries]
    return {"joins": book.joins, "changes": entries, "outcomes": outcomes}


def _show_status(book: Journal, outcomes: dict[str, int]) -> None:
    from pylvs.realserver.decapsulator import MEANINGS

    if not book.joins:
        print("nothing is joined here; run: pylvs realserver join VIP")
    for vip, options in book.joins.items():
        print(f"{vip}  method {options['method']}  interface {options['interface']}")
        for entry in book.entries:
            if vip in entry.vips:
                print(f"    {entry.change.typed}" + (f"   (was {entry.before})" if entry.before else ""))
    for name, count in outcomes.items():
        if count:
            print(f"{count:>16}  {MEANINGS[name]}")


def check(arguments: argparse.Namespace) -> int:
    """Prove what is joined; 1 if anything is wrong."""
    from pylvs.realserver import plan

    chosen = _chosen(arguments.vip)
    findings = {subject: plan.check(subject) for subject in chosen}
    if arguments.json:
        document = {str(subject.vip): [plan.words(one) for one in found] for subject, found in findings.items()}
        print(json.dumps(document, indent=2))
    else:
        for subject, found in findings.items():
            _show_findings(subject, found)
    return 1 if any(finding.ok is False for found in findings.values() for finding in found) else 0


def _chosen(vip: str | None) -> list[Subject]:
    """The VIP that was asked for, or every one that is joined."""
    from pylvs.realserver import plan

    joins = plan.joined()
    if vip and address(vip) not in joins:
        raise PylvsError(f"{vip} is not joined here; run: pylvs realserver join {vip}")
    if not joins:
        raise PylvsError("nothing is joined here; run: pylvs realserver join VIP")
    return [plan.subject(one, options) for one, options in joins.items() if not vip or one == address(vip)]


def _show_findings(subject: Subject, found: list[Finding]) -> None:
    print(f"{subject.vip}  method {subject.method}")
    for finding in found:
        mark = {True: "ok   ", False: "WRONG", None: "?    "}[finding.ok]
        print(f"  {mark}  {finding.what}: {finding.saw}")
        if finding.mend:
            print(f"         run: {finding.mend}")
