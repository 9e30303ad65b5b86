# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine looks like: the interfaces, addresses and routes of the calling thread's network namespace."""

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
class DefaultGateway:
    """A default route: its gateway (None: on-link), its interface, and its words as `ip route add` takes them."""

    gateway: Address | None
    interface: str
    words: tuple[str, ...] = ()


class Machine:
    """One look at this machine; each part is read when first asked for."""

    @cached_property
    def addresses(self) -> list[Held]:
        """Every address, IPv4 and IPv6."""
        rows = iproute.listed("addr", "show")
        return [
            Held(row["ifname"], ip_interface(f"{one['local']}/{one['prefixlen']}"))
            for row in rows
            for one in row.get("addr_info", [])
        ]

    @cached_property
    def interfaces(self) -> list[str]:
        """Names of the Ethernet interfaces that are up, by which packets come in."""
        return [i.name for i in interfaces() if i.ethernet and i.up and not i.loopback]

    def holders(self, address: Address) -> list[Held]:
        """The interfaces that have this address."""
        return [held for held in self.addresses if held.address.ip == address]

    def default_route(self, version: int) -> DefaultGateway | None:
        """The default route that is used: the first that `ip route` lists."""
        rows = iproute.listed(f"-{version}", "route", "show", "default")
        return _default_gateway(rows[0]) if rows else None

    @cached_property
    def needed(self) -> dict[str, str]:
        """What this machine, or whoever works at it, would be cut off without: address, and what is there."""
        found = {os.environ.get("SSH_CONNECTION", "").partition(" ")[0]: "the machine you are logged in from"}
        for version in (4, 6):
            rows = iproute.listed(f"-{version}", "route", "show")
            found |= {row["gateway"]: "its gateway" for row in rows if "gateway" in row}
        return found

    def on_link(self, address: Address) -> str | None:
        """The interface whose network has `address` in it, by the interface's own addresses."""
        for held in self.addresses:
            if held.interface != "lo" and held.address.version == address.version and address in held.address.network:
                return held.interface
        return None

    def networks(self, version: int) -> list[IPv4Network | IPv6Network]:
        """The networks that the routing table has a route to, the default route's excepted."""
        rows = iproute.listed(f"-{version}", "route", "show")
        return [ip_network(row["dst"]) for row in rows if row.get("dst", "default") != "default"]


def _default_gateway(row: dict[str, Any]) -> DefaultGateway:
    via = row.get("gateway")
    words = ["default", *(["via", via] if via else []), "dev", row["dev"]]
    for key in ("protocol", "metric", "prefsrc"):
        if key in row:
            words += [{"protocol": "proto", "prefsrc": "src"}.get(key, key), str(row[key])]
    if "onlink" in row.get("flags", []):
        words.append("onlink")
    return DefaultGateway(ip_address(via) if via else None, row["dev"], tuple(words))
