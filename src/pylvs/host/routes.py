# SPDX-License-Identifier: GPL-2.0-or-later
"""The route to an address from the calling thread's network namespace: interface, next hop and source address."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from pylvs.host import iproute
from pylvs.host.command import CommandFailed
from pylvs.host.machine import Machine
from pylvs.model import Address

NOBODY: frozenset[Address] = frozenset()
NOWHERE = ("local", "unreachable", "blackhole", "prohibit")  # types of route that lead to no other host


@dataclass(frozen=True, slots=True)
class Route:
    """The route to an address: interface, our address there, gateway (None: on-link), and the interface's MTU."""

    interface: str
    source: Address
    gateway: Address | None
    mtu: int = 1500

    def next_hop(self, target: Address) -> Address:
        """The address to resolve for a packet to `target`."""
        return self.gateway or target


def route_to(target: Address, avoid: frozenset[Address] = NOBODY) -> Route | None:
    """The route that the kernel would take; None where it has none, or where the address is our own.

    `avoid` are the VIPs: the kernel may choose one as our source, and a real server would answer that to itself.
    """
    try:
        found = iproute.listed(f"-{target.version}", "route", "get", str(target))[0]
    except (CommandFailed, IndexError):
        return None
    interface, source = found.get("dev"), found.get("prefsrc")
    if found.get("type") in NOWHERE or interface in (None, "lo"):
        return None
    if source and ip_address(source) in avoid:
        source = own_address(interface, target.version, avoid) or source
    if not source:
        return None
    via = found.get("gateway")
    mtu = int(iproute.listed("link", "show", interface)[0].get("mtu", 1500))
    return Route(interface, ip_address(str(source)), ip_address(via) if via else None, mtu)


def own_address(interface: str, version: int, avoid: frozenset[Address] = NOBODY) -> Address | None:
    """An address of this family on an interface that is neither link-local nor one of `avoid`."""
    found = _addresses(interface, version)
    return next((one for one in found if one not in avoid and not one.is_link_local), None)


def link_local_address(interface: str) -> Address | None:
    """The interface's IPv6 link-local address, if it has one."""
    return next((one for one in _addresses(interface, 6) if one.is_link_local), None)


def _addresses(interface: str, version: int) -> list[Address]:
    held = Machine().addresses
    return [h.address.ip for h in held if h.interface == interface and h.address.version == version]
