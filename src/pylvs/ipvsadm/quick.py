# SPDX-License-Identifier: GPL-2.0-or-later
"""A fast path for the line that large tables consist of: `-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1`.

It gives what the parser gives (a test compares them) in a third of the time; other lines are left to the parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from pylvs.ipvsadm.command import Command
from pylvs.ipvsadm.names import ipv4_address
from pylvs.ipvsadm.parse import parse_endpoint
from pylvs.model import PLAIN_TUNNEL, Destination, ForwardingMethod, Protocol, ServiceKey

_LINE = re.compile(rb"-a (-[tu]) ([0-9.]+:[0-9]+) -r ([0-9]+\.[0-9.]+):([0-9]{1,5}) (-[gm]) -w ([0-9]{1,9})\n")
_PROTOCOLS = {b"-t": Protocol.TCP, b"-u": Protocol.UDP}
_NAT = ForwardingMethod.NAT  # an attribute of an enum costs more than a global
_DR = ForwardingMethod.DR


def quick_command(line: bytes) -> Command | None:
    """The command in a line as `-S -n` writes it; None: it is for the parser."""
    added = _added(line)
    return Command("add-server", added[0], None, added[1]) if added else None


def _added(line: bytes) -> tuple[ServiceKey, Destination] | None:
    """The destination that such a line adds, and the service that gets it; None for any other line."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    option, service, real, port, method, weight = match.groups()
    key = _key(option, service)
    address = ipv4_address(real.decode())
    number = int(port)
    if key is None or address is None or number > 65535:
        return None
    if method == b"-m":
        destination = Destination(address, number, _NAT, int(weight), 0, 0, PLAIN_TUNNEL)
    else:
        destination = Destination(address, key.port, _DR, int(weight), 0, 0, PLAIN_TUNNEL)
    return key, destination


def batches(lines: Iterable[bytes]) -> Iterator[bytes | tuple[ServiceKey, list[Destination]]]:
    """Lines in their order. A run of lines that add destinations to one service is one item: both of these."""
    key: ServiceKey | None = None
    destinations: list[Destination] = []
    for line in lines:
        added = _added(line)
        if added is not None and added[0] is key:
            destinations.append(added[1])
            continue
        if key is not None:
            yield key, destinations
            key = None
        if added is not None:
            key, destinations = added[0], [added[1]]
        else:
            yield line
    if key is not None:
        yield key, destinations


@lru_cache(maxsize=1024)
def _key(option: bytes, service: bytes) -> ServiceKey | None:
    protocol = _PROTOCOLS[option]
    endpoint = parse_endpoint(service.decode(), int(protocol))
    address, port = endpoint or (None, None)
    if address is None or port is None:
        return None
    return ServiceKey(protocol, address, port)
