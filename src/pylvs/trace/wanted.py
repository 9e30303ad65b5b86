# SPDX-License-Identifier: GPL-2.0-or-later
"""The filter of a trace: `client 10.0.0.0/8 port 80 outcome drop` as `struct trace_filter`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from pylvs import addresses
from pylvs.errors import PylvsError
from pylvs.table.records import swap16

Network = IPv4Network | IPv6Network

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
GROUPS = ("pass", "forward", "refuse", "drop")
# Outcomes of packets that are for no virtual service: shown only where they are named.
DULL = frozenset({"PASS_NOT_IP", "PASS_NOT_OURS", "PASS_TO_TC"})
WORDS = "client, vip, port, destination, protocol, outcome"


class BadFilter(PylvsError):
    """A filter that cannot be read, or a packet that cannot be."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which packets to show. None and 0 match everything; no outcomes match all but those in DULL. Host order."""

    client: Network | None = None
    vip: Network | None = None
    destination: Network | None = None
    port: int = 0
    rport: int = 0
    protocol: int = 0
    outcomes: frozenset[str] = field(default_factory=frozenset)


def parse(words: Sequence[str], outcomes: Iterable[str]) -> Wanted:
    """The filter in the words of a command line; `outcomes` are all names that there are. BadFilter."""
    rest = [word for word in words if word != "and"]
    wanted = Wanted()
    names = tuple(outcomes)
    for place in range(0, len(rest), 2):
        word = rest[place]
        if word not in _READERS:
            raise BadFilter(f"a filter has no '{word}'; accepted: pairs of {WORDS}, and a value")
        if place + 1 == len(rest):
            raise BadFilter(f"'{word}' has no value; run for example: pylvs trace {_EXAMPLES[word]}")
        wanted = replace(wanted, **_READERS[word](rest[place + 1], names))
    return wanted


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise BadFilter(f"no address or network in '{text}'; accepted: 10.0.0.1, 10.0.0.0/8, fd00::/64") from None


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 16:
        raise BadFilter(f"no port '{text}'; accepted: 1 to 65535")
    return int(text)


def _destination(text: str) -> dict[str, Any]:
    """RIP, RIP:PORT, [RIP]:PORT or a network."""
    host, colon, port = text.rpartition(":")
    if colon and (text.startswith("[") or ":" not in host):
        return {"destination": _network(host.strip("[]")), "rport": _port(port)}
    return {"destination": _network(text.strip("[]"))}


def _protocol(text: str) -> int:
    if text.lower() not in PROTOCOLS:
        raise BadFilter(f"no protocol '{text}'; accepted: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[text.lower()]


def _outcomes(text: str, names: Sequence[str]) -> frozenset[str]:
    """Outcomes by name, by the first word of several (pass, forward, refuse, drop) or all, joined by commas."""
    found: set[str] = set()
    for word in text.upper().split(","):
        matching = {name for name in names if word == "ALL" or name == word or name.startswith(f"{word}_")}
        if not matching:
            raise BadFilter(f"no outcome '{text}'; accepted: {', '.join(GROUPS)}, all, names of: pylvs outcomes --json")
        found |= matching
    return frozenset(found)


_READERS: Mapping[str, Callable[[str, Sequence[str]], dict[str, Any]]] = {
    "client": lambda text, _: {"client": _network(text)},
    "vip": lambda text, _: {"vip": _network(text)},
    "port": lambda text, _: {"port": _port(text)},
    "destination": lambda text, _: _destination(text),
    "protocol": lambda text, _: {"protocol": _protocol(text)},
    "outcome": lambda text, names: {"outcomes": _outcomes(text, names)},
}
_EXAMPLES = {
    "client": "client 10.0.0.0/8",
    "vip": "vip 192.168.247.100",
    "port": "port 80",
    "destination": "destination 192.168.247.136:80",
    "protocol": "protocol udp",
    "outcome": "outcome drop,refuse",
}


def fields(wanted: Wanted, rate: int, outcomes: Mapping[str, int]) -> dict[str, Any]:
    """The fields of `struct trace_filter`, ports in network order; `outcomes` has the number of each name."""
    filled: dict[str, Any] = {
        "vport": swap16(wanted.port),
        "rport": swap16(wanted.rport),
        "outcomes": bits(wanted.outcomes or outcomes.keys() - DULL, outcomes),
        # A connection may be scheduled at XDP and its packet forwarded at TC; only the first knows why.
        "opening": bits(wanted.outcomes or outcomes.keys(), outcomes),
        "rate": rate,
        "protocol": wanted.protocol,
    }
    for name, network in (("client", wanted.client), ("virtual", wanted.vip), ("real", wanted.destination)):
        if network:
            filled[name] = addresses.pack(network.network_address)
            filled[f"{name}_mask"] = mask(network)
    return filled


def bits(chosen: Collection[str], outcomes: Mapping[str, int]) -> int:
    """A bit for each of these outcomes, by its number."""
    return sum(1 << number for name, number in outcomes.items() if name in chosen and number < 32)


def mask(network: Network) -> bytes:
    """The mask of a network as 16 bytes, to be and-ed with an address, IPv4 mapped."""
    own = network.netmask.packed
    return b"\xff" * (16 - len(own)) + own
