# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine looks like: addresses, default routes and sysctls of the caller's network namespace."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from pylvs.errors import PylvsError
from pylvs.host.interfaces import interfaces
from pylvs.model import Address

IpInterface = IPv4Interface | IPv6Interface
SYS = Path("/proc/sys")


class CommandFailed(PylvsError):
    """A command of this machine said no."""


def command(argv: Sequence[str]) -> str:
    """Run a command and return its output; CommandFailed has its last line."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        raise CommandFailed(f"no command '{argv[0]}' on this machine; install iproute2") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"'{' '.join(argv)}' did not end within 30 s") from None
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise CommandFailed(f"'{' '.join(argv)}' said: {said}")
    return done.stdout


def ip_json(*words: str) -> list[dict[str, Any]]:
    """What `ip -j WORDS` says."""
    text = command(["ip", "-j", *words])
    found: list[dict[str, Any]] = json.loads(text or "[]")
    return [row for row in found if row]


def sysctl(key: str) -> str | None:
    """A sysctl's value (`net.ipv4.conf.all.arp_ignore`), None where there is none."""
    try:
        return sysctl_path(key).read_text().strip()
    except OSError:
        return None


def sysctl_path(key: str) -> Path:
    """Where a sysctl lies; an interface's name may have dots in it, so that only the outer ones separate."""
    family, found, rest = key.partition(".conf.")
    if not found:
        return SYS.joinpath(*key.split("."))
    interface, _, knob = rest.rpartition(".")
    return SYS.joinpath(*family.split("."), "conf", interface, knob)


def set_sysctl(key: str, value: str) -> None:
    """Set a sysctl of this namespace."""
    try:
        sysctl_path(key).write_text(value)
    except OSError as error:
        raise PylvsError(f"cannot set {key}={value}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Held:
    """An address on an interface."""

    interface: str
    address: IpInterface


@dataclass(frozen=True, slots=True)
class Route:
    """A default route: its gateway (None: on-link) and interface."""

    gateway: Address | None
    interface: str
    words: tuple[str, ...] = ()  # as `ip route add` takes them


class Machine:
    """One look at this machine; each part is read when first asked for."""

    @cached_property
    def addresses(self) -> list[Held]:
        rows = ip_json("addr", "show")
        return [
            Held(row["ifname"], ip_interface(f"{one['local']}/{one['prefixlen']}"))
            for row in rows
            for one in row.get("addr_info", [])
        ]

    @cached_property
    def cards(self) -> list[str]:
        """Ethernet interfaces that are up, on which packets come in."""
        return [i.name for i in interfaces() if i.ethernet and i.up and not i.loopback]

    def holders(self, address: Address) -> list[Held]:
        """Where an address is."""
        return [held for held in self.addresses if held.address.ip == address]

    def default_route(self, version: int) -> Route | None:
        """The default route that is used: the first that `ip route` lists."""
        rows = ip_json(f"-{version}", "route", "show", "default")
        return _route(rows[0]) if rows else None

    @cached_property
    def needed(self) -> dict[str, str]:
        """Addresses of others without whom this machine, or whoever works at it, is cut off; and what they are."""
        found = {os.environ.get("SSH_CONNECTION", "").partition(" ")[0]: "the machine you are logged in from"}
        for version in (4, 6):
            rows = ip_json(f"-{version}", "route", "show")
            found |= {row["gateway"]: "its gateway" for row in rows if "gateway" in row}
        return found

    def on_link(self, address: Address) -> str | None:
        """The interface on whose segment `address` is, by the addresses there."""
        for held in self.addresses:
            if held.interface != "lo" and held.address.version == address.version and address in held.address.network:
                return held.interface
        return None

    def networks(self, version: int) -> list[IPv4Network | IPv6Network]:
        """The networks that the routing table has a way to, the default route's excepted."""
        rows = ip_json(f"-{version}", "route", "show")
        return [ip_network(row["dst"]) for row in rows if row.get("dst", "default") != "default"]

    def knob(self, key: str) -> int:
        """A sysctl that is a number; 0 where there is none."""
        return int(sysctl(key) or 0)

    def effective(self, knob: str, interface: str) -> int:
        """What arp_ignore, arp_announce or rp_filter amounts to: the greater of `all` and the interface's."""
        return max(self.knob(f"net.ipv4.conf.{where}.{knob}") for where in ("all", interface))


def _route(row: dict[str, Any]) -> Route:
    via = row.get("gateway")
    words = ["default", *(["via", via] if via else []), "dev", row["dev"]]
    for key in ("protocol", "metric", "prefsrc"):
        if key in row:
            words += [{"protocol": "proto", "prefsrc": "src"}.get(key, key), str(row[key])]
    if "onlink" in row.get("flags", []):
        words.append("onlink")
    return Route(ip_address(via) if via else None, row["dev"], tuple(words))
