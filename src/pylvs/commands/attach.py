# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs attach`, `pylvs detach` and `pylvs status`: where the data plane is in this network namespace."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from pylvs.dataplane.attach import Attacher, Attachment, Mode, mode_of, refusal
from pylvs.dataplane.instance import Instance
from pylvs.errors import PylvsError
from pylvs.host.interfaces import Interface, interfaces

NOTHING = "no data plane is loaded in this network namespace; the first `pylvsadm -A` loads it"


class UsageError(PylvsError):
    """The command line names an interface that is not there, or cannot carry the data plane."""


def parser() -> argparse.ArgumentParser:
    """The grammar of the three commands."""
    top = argparse.ArgumentParser(prog="pylvs", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    attach = commands.add_parser("attach", help="attach on every Ethernet interface that is up, or on those named")
    attach.add_argument("--mode", choices=[mode.value for mode in Mode], help="which hooks; remembered")
    attach.add_argument("--persist", action="store_true", help="also at boot, by systemd, with the table as it is now")
    attach.add_argument("interface", nargs="*")
    detach = commands.add_parser("detach", help="detach from the interfaces named, or from all")
    detach.add_argument("--unload", action="store_true", help="also remove table, connections and what --persist wrote")
    detach.add_argument("--keep-persist", action="store_true", help="with --unload: leave what --persist wrote")
    detach.add_argument("interface", nargs="*")
    commands.add_parser("status", help="each interface: hooks, driver, and why")
    return top


def named(names: list[str], everything: Iterable[Interface]) -> list[Interface]:
    """The interfaces of these names; UsageError for one that is not there."""
    present = {interface.name: interface for interface in everything}
    for name in names:
        if name not in present:
            raise UsageError(f"unknown interface {name}; there are: {', '.join(present)}")
    return [present[name] for name in names]


def select(names: list[str], everything: Iterable[Interface]) -> list[Interface]:
    """The interfaces named, or all on which the data plane belongs; UsageError for one on which it does not."""
    if not names:
        return [interface for interface in everything if not refusal(interface)]
    chosen = named(names, everything)
    for interface in chosen:
        if reason := refusal(interface):
            raise UsageError(f"{interface.name} cannot carry the data plane: {reason}")
    return chosen


def attach(instance: Instance, names: list[str], mode: str | None) -> int:
    """Remember the mode and attach; while nothing is loaded, only remember it."""
    wanted = select(names, interfaces())
    with instance.locked():
        if mode:
            instance.remember("mode", mode)
        attacher = Attacher(instance)
        attacher.include(wanted)
        if not instance.loaded:
            print(f"mode {mode_of(instance).value}; {NOTHING}")
            return 0
        show(attacher.attach(wanted))
    return 0


def keep() -> None:
    """Have systemd restore this director at boot."""
    from pylvs.commands import persist

    script, unit = persist.write()
    print(f"{unit} runs {script} at boot; after a change of the table run again: pylvs attach --persist")


def detach(instance: Instance, names: list[str], unload: bool, keep_persist: bool = False) -> int:
    """Detach from the interfaces named or from all; `unload` removes the data plane, and what restores it at boot."""
    if unload:
        from pylvs.commands import persist

        if names:
            raise UsageError("--unload removes everything; name no interface with it")
        Attacher(instance).remove()
        for path in () if keep_persist else persist.remove():
            print(f"{path} removed")
    else:
        attacher, everything = Attacher(instance), interfaces()
        hooks = attacher.hooks()
        there = [interface for interface in everything if interface.index in hooks or not refusal(interface)]
        attacher.detach(named(names, everything) if names else there)
    return 0


def status(instance: Instance) -> int:
    """Print the mode, and a row for each interface."""
    if not instance.loaded:
        print(NOTHING)
        return 0
    print(f"mode {mode_of(instance).value}")
    show(Attacher(instance).status())
    return 0


def show(rows: list[Attachment]) -> None:
    """Print attachments in columns."""
    table = [(row.interface, "+".join(row.hooks) or "-", row.driver or "-", row.why) for row in rows]
    widths = [max((len(row[column]) for row in table), default=0) for column in range(3)]
    for *cells, why in table:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)) + f"  {why}")


def run(argv: list[str]) -> int:
    """Run the command line, whose first word is attach, detach or status."""
    arguments = parser().parse_args(argv)
    instance = Instance.here()
    if arguments.command == "attach":
        attach(instance, arguments.interface, arguments.mode)
        if arguments.persist:
            keep()
        return 0
    if arguments.command == "detach":
        return detach(instance, arguments.interface, arguments.unload, arguments.keep_persist)
    return status(instance)
