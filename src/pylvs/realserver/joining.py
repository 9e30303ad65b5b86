# SPDX-License-Identifier: GPL-2.0-or-later
"""Joining and leaving: the plan carried out with the journal in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pylvs.errors import PylvsError
from pylvs.host import command, neighbours
from pylvs.host.machine import Machine
from pylvs.model import Address
from pylvs.realserver import journal, preparation
from pylvs.realserver.changes import Change
from pylvs.realserver.journal import Entry, Journal
from pylvs.realserver.preparation import Refused, Request

Tell = Callable[[str, str], None]  # gets what a person would type, and why


def prepare(request: Request, tell: Tell) -> tuple[str, list[Change]]:
    """The interface and the changes; Refused where it must not be. Asks the network who has the VIP."""
    machine = Machine()
    if why := preparation.refusal(request, machine):
        raise Refused(why)
    interface = preparation.choose_interface(request, machine)
    if request.method != "nat":
        _ask_for_vip(request, interface, machine, tell)
    device = request.method == "tun" and wants_device(request)
    return interface, list(preparation.changes(request, interface, machine, device))


def _ask_for_vip(request: Request, interface: str, machine: Machine, tell: Tell) -> None:
    """Duplicate address detection by a probe: the director may have the VIP, nobody else."""
    if machine.on_link(request.vip) != interface:
        return  # on another segment: there it cannot be asked for
    macs = neighbours.ask(interface, request.vip)
    director = neighbours.ask(interface, request.director, enough=1) if request.director else []
    if why := preparation.refusal_by_answers(request, macs, director):
        raise Refused(f"{why}; --force joins all the same")
    who = "the director" if request.director else "who should be the director"
    answer = f"{request.vip} is at {macs[0]}, {who}" if macs else f"nobody answers for {request.vip} yet"
    arping, ndisc = f"arping -D -c 1 -I {interface} {request.vip}", f"ndisc6 {request.vip} {interface}"
    tell(arping if request.vip.version == 4 else ndisc, answer)


def wants_device(request: Request) -> bool:
    """Whether to use the kernel's tunnel device: where it has one for the one type that is asked for."""
    if request.decapsulator == "bpf" or (request.decapsulator == "auto" and not request.tunnel):
        return False  # BPF takes all types at once, the kernel needs a device for each
    able = request.vip.version == 4 and request.tunnel in ("ipip", "gre") and _has_device(request.tunnel)
    if request.decapsulator == "kernel" and not able:
        raise Refused("this kernel has no such tunnel device; type --decapsulator bpf")
    return able


def _has_device(kind: str) -> bool:
    """Whether the kernel has tunnel devices of this kind: one is made, down, and removed."""
    try:
        command.run(["ip", "link", "add", "pylvs-probe", "type", kind, "local", "127.0.0.1", "remote", "any"])
    except command.CommandFailed:
        return False
    command.run(["ip", "link", "del", "pylvs-probe"])
    return True


def join(request: Request, tell: Tell) -> str:
    """Make this machine a real server for the VIP, and return the interface; what is right already stays.

    Refused, or any other PylvsError, leaves the machine as it was.
    """
    with journal.locked() as book:
        _refuse_another_method(request, book)
        journal.sweep()
        interface, wanted = prepare(request, tell)
        book.joins[str(request.vip)] = {**request.words(), "interface": interface}
        book.save()
        if all(change.there() for change in wanted):
            tell("# nothing to change: this machine already is as a real server must be", "")
        try:
            for change in wanted:
                _carry_out(book, change, request.vip, tell)
        except (PylvsError, OSError):
            _undo(book, request.vip, tell)  # half a real server is worse than none
            raise
        _keep_shared(book, request, interface)
        return interface


def _refuse_another_method(request: Request, book: Journal) -> None:
    before = book.joins.get(str(request.vip))
    if before and before["method"] != request.method:
        raise Refused(f"{request.vip} is joined by {before['method']}; first run: pylvs realserver leave {request.vip}")


def _carry_out(book: Journal, change: Change, vip: Address, tell: Tell) -> None:
    if change.there():
        return
    entry = book.find(change)
    if entry is None:
        entry = Entry(change, change.before(), [])
        book.entries.append(entry)
    if str(vip) not in entry.vips:
        entry.vips.append(str(vip))
    book.save()  # before the change is made, so that one made just before a crash is undone as well
    change.do()
    tell(change.typed, change.why)


def _keep_shared(book: Journal, request: Request, interface: str) -> None:
    """Sysctls that another VIP has changed on the same interface must stay as long as this one is joined."""
    for entry in book.entries:
        shared = getattr(entry.change, "key", "")
        needed = shared and request.method != "nat" and request.vip.version == 4 and _concerns(shared, interface)
        if needed and str(request.vip) not in entry.vips:
            entry.vips.append(str(request.vip))
    book.save()


def _concerns(key: str, interface: str) -> bool:
    return key.startswith(("net.ipv4.conf.all.", f"net.ipv4.conf.{interface}."))


def planned(request: Request, tell: Tell) -> str:
    """Tell what `join` would do, and do nothing but ask who has the VIP; return the interface."""
    interface, wanted = prepare(request, tell)
    for change in wanted:
        if not change.there():
            tell(change.typed, change.why)
    return interface


def leave(vip: Address, tell: Tell) -> bool:
    """Undo what was changed for the VIP; False if it was not joined."""
    with journal.locked() as book:
        if str(vip) not in book.joins:
            return False
        _undo(book, vip, tell)
    return True


def _undo(book: Journal, vip: Address, tell: Tell) -> None:
    for entry in _needed_by_none_but(book, vip):
        typed = entry.change.undo(entry.before)
        book.entries.remove(entry)
        book.save()
        if typed:
            tell(typed, "")
    book.joins.pop(str(vip), None)
    book.save()


def _needed_by_none_but(book: Journal, vip: Address) -> Iterator[Entry]:
    """The entries to undo, last made first. One that another VIP needs too only ceases to be needed by this one."""
    for entry in reversed(list(book.entries)):
        if str(vip) not in entry.vips:
            continue
        if entry.vips == [str(vip)]:
            yield entry
        else:
            entry.vips.remove(str(vip))
