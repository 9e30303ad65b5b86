# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses of the director itself from which it sends to a destination: a tunnel's outer source, FULLNAT's pool."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from pylvs.addresses import pack
from pylvs.dataplane.mapped import MappedArray
from pylvs.errors import TableFull, Unsupported
from pylvs.host.locality import beside
from pylvs.model import Address, Destination
from pylvs.table.memory import Memory

ADDRESS = 16  # bytes
NO_ROUTE = bytes(ADDRESS)
DISCARD = 9  # a port, which connect() of a datagram socket needs; no packet is sent


def source_of_route(address: Address) -> bytes:
    """The address (16 bytes) that this host would send from, by its routing table; NO_ROUTE if it has none."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        try:
            s.connect((str(address), DISCARD))
        except OSError:
            return NO_ROUTE
        return pack(ip_address(s.getsockname()[0].partition("%")[0]))


def source_towards(memory: Memory, address: Address) -> bytes:
    """The address to send from (16 bytes). Where the routing table names a VIP, as IPv6's rules may well do, another
    address of the same interface."""
    source = source_of_route(address)
    if address.version == 4 or not memory.filter.may_be_virtual(source):
        return source
    others = (pack(other) for other in beside(ip_address(source)))
    return next((raw for raw in others if not memory.filter.may_be_virtual(raw)), source)


def fullnat_sources(memory: Memory, destination: Destination) -> bytes:
    """The addresses that FULLNAT sends from, 16 bytes each; Unsupported if there is none."""
    raw = b"".join(pack(address) for address in destination.local_addresses)
    raw = raw or source_towards(memory, destination.address)
    if raw == NO_ROUTE:
        raise Unsupported(f"no route to {destination.address}, so FULLNAT has no source; add: --local-address ADDRESS")
    return raw


def fullnat_pool(memory: Memory, destination: Destination) -> tuple[int, int]:
    """Index of the first of FULLNAT's addresses in `local_addresses`, and how many; TableFull, Unsupported.

    Addresses that are there already in this order are shared. Connections know theirs by its index, so none is ever
    changed.
    """
    raw = fullnat_sources(memory, destination)
    used, number = memory.settings["next_local"], len(raw) // ADDRESS
    with MappedArray(memory.plane.map("local_addresses")) as pool:
        known = pool.memory[: used * ADDRESS].tobytes()
        for first in range(used - number + 1):
            if known.startswith(raw, first * ADDRESS):
                return first, number
        most = memory.constants["LOCALS_MAX"]
        if used + number > most:
            raise TableFull(f"there is room for {most} local addresses of FULLNAT")
        pool.memory[used * ADDRESS : (used + number) * ADDRESS] = raw
    memory.settings["next_local"] = used + number
    return used, number
