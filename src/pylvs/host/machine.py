# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine looks like: addresses and routes of the caller's network namespace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any

from pylvs.host import iproute
from pylvs.host.interfaces import interfaces
from pylvs.model import Address

IpInterface = IPv4Interface | IPv6Interface


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
        rows = iproute.listed("addr", "show")
        return [
            Held(row["ifname"], ip_interface(f"{one['local']}/{one['prefixlen']}"))
            for row in rows
            for one in row.get("addr_info", [])
        ]

    @cached_property
    def interfaces(self) -> list[str]:
        """Ethernet interfaces that are up, on which packets come in."""
        return [i.name for i in interfaces() if i.ethernet and i.up and not i.loopback]

    def holders(self, address: Address) -> list[Held]:
        """Where an address is."""
        return [held for held in self.addresses if held.address.ip == address]

    def default_route(self, version: int) -> Route | None:
        """The default route that is used: the first that `ip route` lists."""
        rows = iproute.listed(f"-{version}", "route", "show", "default")
        return _route(rows[0]) if rows else None

    @cached_property
    def needed(self) -> dict[str, str]:
        """Addresses of others without whom this machine, or whoever works at it, is cut off; and what they are."""
        found = {os.environ.get("SSH_CONNECTION", "").partition(" ")[0]: "the machine you are logged in from"}
        for version in (4, 6):
            rows = iproute.listed(f"-{version}", "route", "show")
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
        rows = iproute.listed(f"-{version}", "route", "show")
        return [ip_network(row["dst"]) for row in rows if row.get("dst", "default") != "default"]


def _route(row: dict[str, Any]) -> Route:
    via = row.get("gateway")
    words = ["default", *(["via", via] if via else []), "dev", row["dev"]]
    for key in ("protocol", "metric", "prefsrc"):
        if key in row:
            words += [{"protocol": "proto", "prefsrc": "src"}.get(key, key), str(row[key])]
    if "onlink" in row.get("flags", []):
        words.append("onlink")
    return Route(ip_address(via) if via else None, row["dev"], tuple(words))
