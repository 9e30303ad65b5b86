# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of change that `join` makes: what a person would type for each, how it is done, and how it is undone.

`before` is what was there, as text for the journal. It is recorded before the change is made, so that every undo must
work where the change was never made, or was undone, or where somebody else has changed the thing meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pylvs.addresses import pack
from pylvs.host import command, sysctl
from pylvs.host.machine import Machine
from pylvs.model import Address
from pylvs.realserver import decapsulator

ABSENT = ""


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A sysctl set to a value."""

    key: str
    value: str
    why: str

    @property
    def typed(self) -> str:
        return f"sysctl -w {self.key}={self.value}"

    def before(self) -> str:
        return sysctl.read(self.key) or ABSENT

    def there(self) -> bool:
        return self.before() == self.value

    def do(self) -> None:
        sysctl.write(self.key, self.value)

    def undo(self, before: str) -> str:
        """Put the old value back, unless somebody has set another one meanwhile; return what a person would type."""
        now = self.before()
        if now in (before, ABSENT) or before == ABSENT:
            return ""
        if now != self.value:
            return f"# {self.key} is {now} now, set by somebody else: it stays"
        sysctl.write(self.key, before)
        return f"sysctl -w {self.key}={before}"


@dataclass(frozen=True, slots=True)
class LoAddress:
    """The hidden VIP, one address wide, on lo."""

    vip: Address
    why: str

    @property
    def typed(self) -> str:
        return f"ip addr add {self._spelled} dev lo" + (" nodad preferred_lft 0" if self.vip.version == 6 else "")

    @property
    def _spelled(self) -> str:
        return f"{self.vip}/{self.vip.max_prefixlen}"

    def before(self) -> str:
        return "there" if self.there() else ABSENT

    def there(self) -> bool:
        return any(h.interface == "lo" for h in Machine().holders(self.vip))

    def do(self) -> None:
        command.run(self.typed.split())

    def undo(self, before: str) -> str:
        if before != ABSENT or not self.there():
            return ""
        typed = f"ip addr del {self._spelled} dev lo"
        command.run(typed.split())
        return typed


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """The default route by the director, for the replies of NAT."""

    gateway: Address
    interface: str
    why: str

    @property
    def typed(self) -> str:
        return " ".join(self._words())

    def _words(self, verb: str = "replace") -> list[str]:
        return f"ip -{self.gateway.version} route {verb} default via {self.gateway} dev {self.interface}".split()

    def before(self) -> str:
        route = Machine().default_route(self.gateway.version)
        return " ".join(route.words) if route else ABSENT

    def there(self) -> bool:
        route = Machine().default_route(self.gateway.version)
        return route is not None and route.gateway == self.gateway

    def do(self) -> None:
        command.run(self._words())

    def undo(self, before: str) -> str:
        if not self.there():
            return ""
        typed = []
        if before != ABSENT:  # first, so that there is never a moment without a route
            typed.append(["ip", f"-{self.gateway.version}", "route", "replace", *before.split()])
            command.run(typed[0])
        if self.there():  # still, where the old one has a metric of its own and so did not replace ours
            typed.append(self._words("del"))
            command.run(typed[-1])
        return " && ".join(" ".join(words) for words in typed)


@dataclass(frozen=True, slots=True)
class Decapsulator:
    """Our decapsulator (bpf/realserver.bpf.c), on an interface."""

    vip: Address
    interface: str
    gue_port: int
    why: str

    @property
    def typed(self) -> str:
        return f"# BPF on {self.interface}: unwrap IPIP, GRE and GUE (UDP port {self.gue_port}) for {self.vip}"

    def before(self) -> str:
        return ABSENT

    def there(self) -> bool:
        present = decapsulator.Decapsulator.here()
        unwraps = present.loaded and pack(self.vip) in present.joined() and self.interface in present.attached()
        return unwraps and present.gue_port() == self.gue_port

    def do(self) -> None:
        decapsulator.Decapsulator.here().join(self.vip, self.interface, self.gue_port)

    def undo(self, before: str) -> str:
        present = decapsulator.Decapsulator.here()
        if not present.loaded:
            return ""
        present.leave(self.vip)
        return f"# BPF: nothing is unwrapped for {self.vip} any more"


@dataclass(frozen=True, slots=True)
class Device:
    """The kernel's tunnel device: its name, and the words of `ip link add` behind it."""

    name: str
    words: str
    why: str

    @property
    def typed(self) -> str:
        return f"ip link add {self.name} up {self.words}"

    def before(self) -> str:
        return "there" if self.there() else ABSENT

    def there(self) -> bool:
        try:
            command.run(["ip", "link", "show", self.name])
        except command.CommandFailed:
            return False
        return True

    def do(self) -> None:
        command.run(self.typed.split())

    def undo(self, before: str) -> str:
        if before != ABSENT or not self.there():
            return ""
        typed = f"ip link del {self.name}"
        command.run(typed.split())
        return typed


Change = Sysctl | LoAddress | DefaultRoute | Decapsulator | Device
KINDS: dict[str, type[Change]] = {
    kind.__name__: kind for kind in (Sysctl, LoAddress, DefaultRoute, Decapsulator, Device)
}


def to_words(change: Change) -> dict[str, Any]:
    """A change as JSON has it."""
    fields = {name: getattr(change, name) for name in change.__dataclass_fields__}
    return {"kind": type(change).__name__, **{k: v if isinstance(v, int) else str(v) for k, v in fields.items()}}


def from_words(words: dict[str, Any]) -> Change:
    """The change that `to_words` described."""
    fields = dict(words)
    kind = KINDS[fields.pop("kind")]
    for name in ("vip", "gateway"):
        if name in fields:
            fields[name] = ip_address(fields[name])
    return kind(**fields)
