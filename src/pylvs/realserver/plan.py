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
from pylvs.host.interfaces import interfaces
from pylvs.host.machine import Machine
from pylvs.model import Address
from pylvs.realserver import journal
from pylvs.realserver.decapsulator import Decapsulator

# Values of arp_ignore that leave an address on lo unanswered (Documentation/networking/ip-sysctl.rst).
HIDING = (1, 2, 8)
STRICT, LOOSE = 1, 2  # rp_filter (RFC 3704)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend` is the command that fixes it, '' when it is right; `ok` of None: cannot be known."""

    what: str
    saw: str
    ok: bool | None = True
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A VIP that was joined, by which method and interface; `gateway` is the director, with NAT."""

    vip: Address
    method: str
    interface: str
    gateway: Address | None = None
    machine: Machine = field(default_factory=Machine)


def joined() -> dict[Address, dict[str, Any]]:
    """What is joined in this network namespace: the options of each join, by VIP."""
    return {ip_address(vip): dict(options) for vip, options in journal.read().joins.items()}


def subject(vip: Address, options: dict[str, Any]) -> Subject:
    """The subject of a check, from the options of its join."""
    gateway = options.get("gateway")
    return Subject(vip, options["method"], options["interface"], ip_address(gateway) if gateway else None)


def check(subject: Subject) -> list[Finding]:
    """Look at everything that a real server of this method needs."""
    return [finding for look in _looks(subject) for finding in look(subject)]


def _looks(subject: Subject) -> list[Callable[[Subject], Iterator[Finding]]]:
    if subject.method == "nat":
        return [route_back]
    only_ipv4 = [arp_knobs, reverse_path] if subject.vip.version == 4 else []
    only_tun = [decapsulator] if subject.method == "tun" else []
    return [address, *only_ipv4, silence, second_interface, *only_tun]


def address(subject: Subject) -> Iterator[Finding]:
    """The VIP on lo, one address wide, and nowhere else."""
    vip, whole = subject.vip, subject.vip.max_prefixlen
    what = f"the VIP is on lo as /{whole}, and only there"
    held = subject.machine.holders(vip)
    wrong = [h for h in held if h.interface != "lo" or h.address.network.prefixlen != whole]
    for one in wrong:
        fix = f"ip addr del {one.address} dev {one.interface}"
        yield Finding(what, f"{one.interface} has {one.address}", False, fix)
    if not any(h.interface == "lo" for h in held):
        yield Finding("the VIP is on lo", "it is not there", False, f"ip addr add {vip}/{whole} dev lo")
    elif not wrong:
        yield Finding(what, f"lo has {vip}/{whole}")


def arp_knobs(subject: Subject) -> Iterator[Finding]:
    """The two sysctls, on every interface by which requests for the VIP can come."""
    for interface in subject.machine.interfaces:
        yield _arp_ignore(interface)
        yield _arp_announce(interface)


def _arp_ignore(interface: str) -> Finding:
    """The greater value of `all` and the interface's own counts, so that a wrong one above 2 must itself be lowered."""
    what, value = f"arp_ignore hides the VIP on {interface}", sysctl.effective("arp_ignore", interface)
    saw = f"effective value {value}"
    if value in HIDING:
        return Finding(what, saw)
    own = sysctl.number(f"net.ipv4.conf.{interface}.arp_ignore")
    where = interface if value > 2 and own == value else "all"
    return Finding(what, saw, False, f"sysctl -w net.ipv4.conf.{where}.arp_ignore=1")


def _arp_announce(interface: str) -> Finding:
    what = f"arp_announce keeps the VIP out of our requests on {interface}"
    value = sysctl.effective("arp_announce", interface)
    right = value == 2
    return Finding(
        what, f"effective value {value}", right, "" if right else "sysctl -w net.ipv4.conf.all.arp_announce=2"
    )


def reverse_path(subject: Subject) -> Iterator[Finding]:
    """Requests may come in by another interface than that by which replies leave."""
    value = sysctl.effective("rp_filter", subject.interface)
    right = value != STRICT
    fix = "" if right else f"sysctl -w net.ipv4.conf.{subject.interface}.rp_filter={LOOSE}"
    yield Finding(f"rp_filter lets requests in by {subject.interface}", f"effective value {value}", right, fix)


def silence(subject: Subject) -> Iterator[Finding]:
    """The ARP self-test: it asks for an address of the interface's own too, which shows that the test works."""
    for interface in subject.machine.interfaces:
        own = _own_address(subject, interface)
        try:
            claimed = claims(interface, [subject.vip, *([own] if own else [])])
        except PylvsError as error:
            what = f"this machine is silent about the VIP on {interface}"
            yield Finding(what, f"could not ask: {error}", None)
            continue
        yield _silent(subject, interface, claimed, own)


def _own_address(subject: Subject, interface: str) -> Address | None:
    """An address of the interface's own, of the VIP's family."""
    held = (h for h in subject.machine.addresses if h.interface == interface)
    return next((h.address.ip for h in held if h.address.version == subject.vip.version), None)


def _silent(subject: Subject, interface: str, claimed: dict[Address, bool], own: Address | None) -> Finding:
    what = f"this machine is silent about the VIP on {interface}"
    asked = f"asked by a probe on {interface}"
    if claimed[subject.vip]:
        fix = f"pylvs realserver join {subject.vip} --method {subject.method}"
        return Finding(what, f"{asked}, it answered for {subject.vip}", False, fix)
    if own and not claimed[own]:
        return Finding(what, f"no answer, but none for its own {own} either", None)
    return Finding(what, f"{asked}: no answer" + (f" (but one for its own {own})" if own else ""))


def second_interface(subject: Subject) -> Iterator[Finding]:
    """Ask from every interface: one on the same segment as another would get our own answers."""
    interfaces = subject.machine.interfaces
    ours = {neighbours.mac_text(neighbours.mac_of(interface)) for interface in interfaces}
    for interface in interfaces if len(interfaces) > 1 else []:
        what = f"no interface of this machine answers on the segment of {interface}"
        answered = ours & set(neighbours.ask(interface, subject.vip, patience=0.3))
        if answered:
            fix = "sysctl -w net.ipv4.conf.all.arp_ignore=1"
            yield Finding(what, f"{', '.join(answered)} answered", False, fix)
        else:
            yield Finding(what, "asked there: none did")


def decapsulator(subject: Subject) -> Iterator[Finding]:
    """Our decapsulator, or the kernel's tunnel device."""
    again = f"pylvs realserver join {subject.vip} --method tun --interface {subject.interface}"
    what = "tunnelled packets for the VIP are unwrapped"
    present, device = Decapsulator.here(), kernel_device()
    if pack(subject.vip) in present.joined() and subject.interface in present.attached():
        counts = {name: n for name, n in present.outcomes().items() if n and name != "FAR_PASS_OTHER"}
        packets = ", ".join(f"{n} {name}" for name, n in counts.items()) or "no tunnel yet"
        yield Finding(what, f"attached to {subject.interface}; {packets}")
    elif device:
        yield Finding(what, f"by the kernel's device {device}")
    else:
        yield Finding(what, f"nothing unwraps them on {subject.interface}", False, again)


def kernel_device() -> str:
    """The name of a tunnel device of the kernel that is up; '' if there is none."""
    kinds = ("ipip", "sit", "ip6tnl", "gre", "ip6gre")
    return next((i.name for i in interfaces() if i.up and i.kind in kinds), "")


def route_back(subject: Subject) -> Iterator[Finding]:
    """NAT: replies leave by the director, and it is there."""
    gateway = subject.gateway
    route = subject.machine.default_route(subject.vip.version)
    by = str(route.gateway or route.interface) if route else "nothing"
    right = route is not None and route.gateway == gateway
    fix = "" if right else f"ip route replace default via {gateway} dev {subject.interface}"
    yield Finding("replies go back through the director", f"the default route goes by {by}", right, fix)
    if gateway:
        macs = neighbours.ask(subject.interface, gateway, enough=1)
        saw = f"it is at {macs[0]}" if macs else f"nobody answers for {gateway}"
        yield Finding("the director is there", saw, bool(macs), "" if macs else f"ping -c 1 {gateway}")


def words(finding: Finding) -> dict[str, Any]:
    """A finding as a JSON-serialisable dict."""
    return {"what": finding.what, "saw": finding.saw, "ok": finding.ok, "mend": finding.mend}
