# SPDX-License-Identifier: GPL-2.0-or-later
"""What a joined real server looks like, and whether this machine looks like it.

Each finding says what was looked at, what was seen, and what to type where it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from pylvs.addresses import pack
from pylvs.dataplane.arp_self_test import claims
from pylvs.errors import PylvsError
from pylvs.host import neighbours, sysctl
from pylvs.host.machine import Machine
from pylvs.model import Address
from pylvs.realserver import journal
from pylvs.realserver.decapsulator import FarEnd

# Values of arp_ignore that leave an address on lo unanswered (Documentation/networking/ip-sysctl.rst).
HIDING = (1, 2, 8)
STRICT, LOOSE = 1, 2  # rp_filter (RFC 3704)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend` is what to type, '' when all is well; `ok` of None: it cannot be known here."""

    what: str
    saw: str
    ok: bool | None = True
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A VIP that was joined, as it was joined."""

    vip: Address
    method: str
    interface: str
    gateway: Address | None = None
    machine: Machine = field(default_factory=Machine)


def joined() -> dict[Address, dict[str, Any]]:
    """What is joined in this network namespace: the options of each join, by VIP."""
    return {ip_address(vip): dict(options) for vip, options in journal.read().joins.items()}


def check(subject: Subject) -> list[Finding]:
    """Look at everything that a real server of this method needs."""
    looks: list[Callable[[Subject], Iterator[Finding]]] = [route_back] if subject.method == "nat" else [
        address, *([arp_knobs, reverse_path] if subject.vip.version == 4 else []), silence, second_card]  # fmt: skip
    if subject.method == "tun":
        looks.append(decapsulator)
    return [finding for look in looks for finding in look(subject)]


def address(subject: Subject) -> Iterator[Finding]:
    """The VIP on lo, one address wide, and nowhere else."""
    vip, whole = subject.vip, subject.vip.max_prefixlen
    held = subject.machine.holders(vip)
    wrong = [h for h in held if h.interface != "lo" or h.address.network.prefixlen != whole]
    for one in wrong:
        yield Finding(f"the VIP is on lo as /{whole}, and only there", f"{one.interface} has {one.address}", False,
                      f"ip addr del {one.address} dev {one.interface}")  # fmt: skip
    if not any(h.interface == "lo" for h in held):
        yield Finding("the VIP is on lo", "it is not there", False, f"ip addr add {vip}/{whole} dev lo")
    elif not wrong:
        yield Finding(f"the VIP is on lo as /{whole}, and only there", f"lo has {vip}/{whole}")


def arp_knobs(subject: Subject) -> Iterator[Finding]:
    """The two sysctls on every card by which requests for the VIP can come."""
    for card in subject.machine.interfaces:
        ignore = sysctl.effective("arp_ignore", card)
        announce = sysctl.effective("arp_announce", card)
        mend = "" if ignore in HIDING else f"sysctl -w net.ipv4.conf.{_where(ignore, card)}.arp_ignore=1"
        yield Finding(f"arp_ignore hides the VIP on {card}", f"effective value {ignore}", not mend, mend)
        yield Finding(f"arp_announce keeps the VIP out of our requests on {card}", f"effective value {announce}",
                      announce == 2, "" if announce == 2 else "sysctl -w net.ipv4.conf.all.arp_announce=2")  # fmt: skip


def _where(value: int, card: str) -> str:
    """Which of the two to set: the greater one counts, so that a wrong one that is great must be lowered itself."""
    own = sysctl.number(f"net.ipv4.conf.{card}.arp_ignore")
    return card if value > 2 and own == value else "all"


def reverse_path(subject: Subject) -> Iterator[Finding]:
    """Requests may come by another card than the replies leave by."""
    found = sysctl.effective("rp_filter", subject.interface)
    yield Finding(f"rp_filter lets requests in by {subject.interface}", f"effective value {found}", found != STRICT,
                  "" if found != STRICT else f"sysctl -w net.ipv4.conf.{subject.interface}.rp_filter=2")  # fmt: skip


def silence(subject: Subject) -> Iterator[Finding]:
    """Ask ourselves who has the VIP, as a neighbour would; an address of the card's own shows that asking works."""
    for card in subject.machine.interfaces:
        what = f"this machine is silent about the VIP on {card}"
        own = next((h.address.ip for h in subject.machine.addresses
                    if h.interface == card and h.address.version == subject.vip.version), None)  # fmt: skip
        try:
            said = claims(card, [subject.vip, *([own] if own else [])])
        except PylvsError as error:
            yield Finding(what, f"could not ask: {error}", None)
            continue
        yield _silent(what, subject, card, said, own)


def _silent(what: str, subject: Subject, card: str, said: dict[Address, bool], own: Address | None) -> Finding:
    if said[subject.vip]:
        return Finding(what, f"asked by a probe on {card}, it answered for {subject.vip}", False,
                       f"pylvs realserver join {subject.vip} --method {subject.method}")  # fmt: skip
    if own and not said[own]:
        return Finding(what, f"no answer, but none for its own {own} either", None)
    return Finding(what, f"asked by a probe on {card}: no answer" + (f" (but one for its own {own})" if own else ""))


def second_card(subject: Subject) -> Iterator[Finding]:
    """From each other card: if it is on the same segment, our own answers would come back to it."""
    cards = subject.machine.interfaces
    ours = {neighbours.mac_text(neighbours.mac_of(card)) for card in cards}
    for card in cards if len(cards) > 1 else []:
        answered = ours & set(neighbours.ask(card, subject.vip, patience=0.3))
        yield Finding(f"no card of this machine answers on the segment of {card}",
                      f"{', '.join(answered)} answered" if answered else "asked there: none did", not answered,
                      "sysctl -w net.ipv4.conf.all.arp_ignore=1" if answered else "")  # fmt: skip


def decapsulator(subject: Subject) -> Iterator[Finding]:
    """Our own end of the tunnel, or the kernel's device."""
    again = f"pylvs realserver join {subject.vip} --method tun --interface {subject.interface}"
    far = FarEnd.here()
    counts = {name: n for name, n in far.outcomes().items() if n and name != "FAR_PASS_OTHER"}
    unwraps = pack(subject.vip) in far.joined() and subject.interface in far.attached()
    if unwraps:
        saw = f"attached to {subject.interface}; " + (
            ", ".join(f"{n} {name}" for name, n in counts.items()) or "no tunnel yet"
        )
        yield Finding("tunnelled packets for the VIP are unwrapped", saw)
        return
    device = kernel_device()
    yield Finding("tunnelled packets for the VIP are unwrapped",
                  f"by the kernel's device {device}" if device else f"nothing unwraps them on {subject.interface}",
                  bool(device), "" if device else again)  # fmt: skip


def kernel_device() -> str:
    """The name of a tunnel device of the kernel's that is up, '' if there is none."""
    from pylvs.host.interfaces import interfaces

    kinds = ("ipip", "sit", "ip6tnl", "gre", "ip6gre")
    return next((i.name for i in interfaces() if i.up and i.kind in kinds), "")


def route_back(subject: Subject) -> Iterator[Finding]:
    """NAT: replies leave by the director, and it is there."""
    gateway = subject.gateway
    route = subject.machine.default_route(subject.vip.version)
    by = str(route.gateway or route.interface) if route else "nothing"
    right = route is not None and route.gateway == gateway
    yield Finding("replies go back through the director", f"the default route goes by {by}", right,
                  "" if right else f"ip route replace default via {gateway} dev {subject.interface}")  # fmt: skip
    if gateway:
        macs = neighbours.ask(subject.interface, gateway, enough=1)
        yield Finding("the director is there", f"it is at {macs[0]}" if macs else f"nobody answers for {gateway}",
                      bool(macs), "" if macs else f"ping -c 1 {gateway}")  # fmt: skip


def words(finding: Finding) -> dict[str, Any]:
    """As JSON has it."""
    return {"what": finding.what, "saw": finding.saw, "ok": finding.ok, "mend": finding.mend}
