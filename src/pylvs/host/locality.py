# SPDX-License-Identifier: GPL-2.0-or-later
"""The type of an address by this network namespace's routing table `local`: local, broadcast, unicast …

The edge to `/proc/net/fib_trie` and `/proc/net/if_inet6`; the rules that need it are pure (`pylvs.rules`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from pylvs.model import Address, AddressType
from pylvs.rules import address_type

NET = Path("/proc/thread-self/net")
# a leaf of the trie, and a route below it
_LEAF = re.compile(r"\|-- ([0-9.]+)")
_ROUTE = re.compile(r"/([0-9]+) (?:host|link) (LOCAL|BROADCAST)")
_TYPES = {"LOCAL": AddressType.LOCAL, "BROADCAST": AddressType.BROADCAST}

# (prefix length, network) -> type
Routes = dict[tuple[int, int], AddressType]


def parse_local_table(text: str) -> Routes | None:
    """The local and broadcast routes in a fib_trie; None if the namespace has no table `local` yet."""
    _, found, section = text.partition("Local:\n")
    return dict(_routes(section)) if found else None


def _routes(section: str) -> Iterator[tuple[tuple[int, int], AddressType]]:
    network = 0
    for line in section.splitlines():
        if leaf := _LEAF.search(line):
            network = int(IPv4Address(leaf[1]))
        elif route := _ROUTE.search(line):
            yield (int(route[1]), network), _TYPES[route[2]]
        elif line.endswith(":"):  # the next table
            return


def lengths_of(routes: Routes) -> list[int]:
    """The prefix lengths of the routes, longest first."""
    return sorted({length for length, _ in routes}, reverse=True)


def look_up(routes: Routes | None, lengths: list[int], address: IPv4Address) -> AddressType:
    """The type by the longest prefix, as the kernel's inet_addr_type() has it; without a table it is broadcast."""
    general = address_type(address)
    if general is not AddressType.UNICAST:
        return general
    if routes is None:
        return AddressType.BROADCAST
    number = int(address)
    for length in lengths:
        found = routes.get((length, number >> 32 - length << 32 - length))
        if found is not None:
            return found
    return AddressType.UNICAST


_NOT_TO_USE = 0x20 | 0x08 | 0x40  # deprecated, a duplicate, tentative: IFA_F_* of linux/if_addr.h
_GLOBAL = "00"  # scope


def beside(address: Address, root: Path = NET) -> list[IPv6Address]:
    """The other global IPv6 addresses, ready for use, of the interface that has this one, as they are listed."""
    lines = [line.split() for line in (root / "if_inet6").read_text().splitlines()]
    interfaces = {line[1] for line in lines if int(line[0], 16) == int(address)}
    return [
        IPv6Address(int(number, 16))
        for number, interface, _, scope, flags, _ in lines
        if interface in interfaces
        and scope == _GLOBAL
        and not int(flags, 16) & _NOT_TO_USE
        and int(number, 16) != int(address)
    ]


class Locality:
    """The namespace's tables, read once when first asked: for the length of a command, not of a daemon."""

    def __init__(self, root: Path = NET) -> None:
        self._root = root
        self._known: dict[Address, AddressType] = {}

    @cached_property
    def _routes(self) -> Routes | None:
        return parse_local_table((self._root / "fib_trie").read_text())

    @cached_property
    def _lengths(self) -> list[int]:
        return lengths_of(self._routes or {})

    @cached_property
    def _own_ipv6(self) -> frozenset[IPv6Address]:
        try:
            lines = (self._root / "if_inet6").read_text().splitlines()
        except FileNotFoundError:  # a kernel without IPv6
            return frozenset()
        return frozenset(IPv6Address(int(line[:32], 16)) for line in lines)

    def address_type(self, address: Address) -> AddressType:
        """For `rules.check_destination(…, types=…)`."""
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = self._find(address)
        return known

    def _find(self, address: Address) -> AddressType:
        if isinstance(address, IPv4Address):
            return look_up(self._routes, self._lengths, address)
        return AddressType.LOCAL if address in self._own_ipv6 else address_type(address)
