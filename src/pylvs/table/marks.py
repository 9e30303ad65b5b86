# SPDX-License-Identifier: GPL-2.0-or-later
"""Firewall marks without netfilter, whose own marks come too late: packets meet it only after XDP and TC.

The most specific rule wins: the longest prefix, then the fewest ports, then the one that names a protocol. At TC a
mark that the packet has already comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from pylvs import addresses
from pylvs.dataplane.mapped import MappedArray
from pylvs.errors import PylvsError
from pylvs.table.director import Director
from pylvs.table.records import Record

PROTOCOLS = {"all": 0, "tcp": 6, "udp": 17, "sctp": 132}
NAMES = {number: name for name, number in PROTOCOLS.items()}


class BadRule(PylvsError):
    """A rule that makes no sense, for which there is no room, or that is not there."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Packets of this protocol (0: TCP, UDP or SCTP) to these addresses and ports, both inclusive, have this mark."""

    mark: int
    protocol: int
    network: IPv4Network | IPv6Network
    first_port: int = 0
    last_port: int = 65535

    def rank(self) -> tuple[int, int, bool]:
        """A key to sort rules by: smaller is more specific."""
        free_bits = self.network.max_prefixlen - self.network.prefixlen
        return free_bits, self.last_port - self.first_port, not self.protocol

    def fields(self) -> dict[str, Any]:
        """The fields of `struct mark_rule`."""
        length = self.network.prefixlen + (96 if self.network.version == 4 else 0)
        mask = ((1 << 128) - (1 << (128 - length))).to_bytes(16, "big")
        address = addresses.pack(self.network.network_address)
        return {
            "address": address,
            "mask": mask,
            "first_port": self.first_port,
            "last_port": self.last_port,
            "mark": self.mark,
            "protocol": self.protocol,
        }

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Rule:
        """The inverse of `fields`."""
        length, low = int.from_bytes(fields["mask"], "big").bit_count(), addresses.unpack(fields["address"])
        network = ip_network((low, length - 96 if low.version == 4 else length))
        return cls(fields["mark"], fields["protocol"], network, fields["first_port"], fields["last_port"])

    def __str__(self) -> str:
        """The options of `pylvs mark add` that make it."""
        ports = str(self.first_port) if self.first_port == self.last_port else f"{self.first_port}-{self.last_port}"
        dport = "" if (self.first_port, self.last_port) == (0, 65535) else f" --dport {ports}"
        return f"--mark {self.mark} --proto {NAMES[self.protocol]} --dst {self.network}{dport}"


def read(director: Director) -> list[Rule]:
    """The rules in force, the most specific first; none before a data plane is loaded."""
    if not director.instance.loaded:
        return []
    first, count = divmod(director.settings["mark_rules"], 1 << 16)
    with MappedArray(director.instance.map("mark_rules"), writable=False) as table:
        raw = [bytes(table[first + index]) for index in range(count)]
    record = Record(director.layouts["mark_rule"])
    return [Rule.of(dict(zip(record.names, record.unpack_from(rule, 0), strict=True))) for rule in raw]


def write(director: Director, rules: list[Rule]) -> None:
    """Put these rules in force, all at once: they are written beside the old ones, then one store switches. BadRule."""
    most = director.memory.constants["MARK_RULES"] // 2
    if len(rules) > most:
        raise BadRule(f"there is room for {most} rules (a list of ports is one for each)")
    record = Record(director.layouts["mark_rule"])
    old = director.settings["mark_rules"] >> 16
    first = 0 if old else most
    with MappedArray(director.instance.map("mark_rules")) as table:
        for index, rule in enumerate(sorted(rules, key=Rule.rank)):
            record.pack_into(table.memory, (first + index) * table.stride, **rule.fields())
    director.settings["mark_rules"] = first << 16 | len(rules)


def parse_ports(text: str) -> list[tuple[int, int]]:
    """'80,443,8000-8099' as ranges; BadRule."""
    ranges = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        try:
            first, last = int(low), int(high or low)
        except ValueError:
            raise BadRule(f"no port '{part}'; accepted: numbers and ranges, as 80,443,8000-8099") from None
        if not 0 <= first <= last <= 65535:
            raise BadRule(f"no ports '{part}'; accepted: 0 to 65535, the lower one first")
        ranges.append((first, last))
    return ranges


def expand(mark: int, protocol: str, network: str, ports: str | None) -> list[Rule]:
    """The rules of a mark: one for each range of ports, or one for all ports. BadRule."""
    try:
        there = ip_network(network)
    except ValueError as error:
        raise BadRule(f"--dst {network}: {error}") from None
    if not 0 < mark < 1 << 32:
        raise BadRule(f"no mark {mark}; accepted: 1 to 4294967295")
    ranges = parse_ports(ports) if ports else [(0, 65535)]
    return [Rule(mark, PROTOCOLS[protocol], there, first, last) for first, last in ranges]


def change(director: Director, add: list[Rule], remove: list[Rule]) -> None:
    """Add and remove rules; one that is there already is not added twice. BadRule if one to remove is not there."""
    with director.changing():
        present = read(director)
        for rule in remove:
            if rule not in present:
                raise BadRule(f"no such rule: {rule}; run: pylvs mark list")
        write(director, [rule for rule in present if rule not in remove and rule not in add] + add)


def flush(director: Director) -> None:
    """Remove every rule."""
    with director.changing():
        write(director, [])
