# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs mark`: firewall marks without netfilter, which packets meet only after XDP and TC.

    pylvs mark add --mark 1 --proto tcp --dst 192.168.247.0/24 --dport 80,443,8000-8099
    pylvs mark list | del … | flush

The most specific rule wins: the longest prefix, then the fewest ports, then the one that names a protocol. On TC a
mark that the packet has already comes first.
"""

from __future__ import annotations

import argparse
import json
import struct
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from pylvs import addresses
from pylvs.dataplane.mapped import MappedArray
from pylvs.errors import PylvsError
from pylvs.table.director import Director

RULES_MAX = 512
PROTOCOLS = {"all": 0, "tcp": 6, "udp": 17, "sctp": 132}
NAMES = {number: name for name, number in PROTOCOLS.items()}
_RULE = struct.Struct("=16s16sHHIB7x")


class BadRule(PylvsError):
    """A rule that cannot be."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Packets of this protocol (0: any of TCP, UDP and SCTP) to these addresses and ports have this mark."""

    mark: int
    protocol: int
    network: IPv4Network | IPv6Network
    first_port: int = 0
    last_port: int = 65535

    def rank(self) -> tuple[int, int, bool]:
        """Smaller is more specific."""
        free_bits = self.network.max_prefixlen - self.network.prefixlen
        return free_bits, self.last_port - self.first_port, not self.protocol

    def pack(self) -> bytes:
        """`struct mark_rule`."""
        length = self.network.prefixlen + (96 if self.network.version == 4 else 0)
        mask = ((1 << 128) - (1 << (128 - length))).to_bytes(16, "big")
        address = addresses.pack(self.network.network_address)
        return _RULE.pack(address, mask, self.first_port, self.last_port, self.mark, self.protocol)

    @classmethod
    def unpack(cls, raw: bytes) -> Rule:
        """The inverse of `pack`."""
        address, mask, first, last, mark, protocol = _RULE.unpack(raw)
        length, low = int.from_bytes(mask, "big").bit_count(), addresses.unpack(address)
        network = ip_network((low, length - 96 if low.version == 4 else length))
        return cls(mark, protocol, network, first, last)

    def __str__(self) -> str:
        ports = str(self.first_port) if self.first_port == self.last_port else f"{self.first_port}-{self.last_port}"
        dport = "" if (self.first_port, self.last_port) == (0, 65535) else f" --dport {ports}"
        return f"--mark {self.mark} --proto {NAMES[self.protocol]} --dst {self.network}{dport}"


def read(director: Director) -> list[Rule]:
    """The rules in force, the most specific first."""
    if not director.instance.loaded:
        return []
    first, count = divmod(director.settings["mark_rules"], 1 << 16)
    with MappedArray(director.instance.map("mark_rules"), writable=False) as table:
        rules = [bytes(table[first + index]) for index in range(count)]
    return [Rule.unpack(raw) for raw in rules]


def write(director: Director, rules: list[Rule]) -> None:
    """Put these rules in force in one store: they are written beside the old ones first."""
    if len(rules) > RULES_MAX:
        raise BadRule(f"there is room for {RULES_MAX} rules (a list of ports is one for each)")
    old = director.settings["mark_rules"] >> 16
    first = 0 if old else RULES_MAX
    with MappedArray(director.instance.map("mark_rules")) as table:
        for index, rule in enumerate(sorted(rules, key=Rule.rank)):
            start = (first + index) * table.stride
            table.memory[start : start + _RULE.size] = rule.pack()
    director.settings["mark_rules"] = first << 16 | len(rules)


def parse_ports(text: str) -> list[tuple[int, int]]:
    """'80,443,8000-8099' as ranges; BadRule."""
    ranges = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        try:
            first, last = int(low), int(high or low)
        except ValueError:
            raise BadRule(f"no port '{part}'; type numbers and ranges, as 80,443,8000-8099") from None
        if not 0 <= first <= last <= 65535:
            raise BadRule(f"no ports {part}: type 0 to 65535, the lower one first")
        ranges.append((first, last))
    return ranges


def rules_from(options: argparse.Namespace) -> list[Rule]:
    """What `add` and `del` name; BadRule."""
    try:
        network = ip_network(options.dst)
    except ValueError as error:
        raise BadRule(f"--dst {options.dst}: {error}") from None
    if not 0 < options.mark < 1 << 32:
        raise BadRule(f"no mark {options.mark}: type 1 to 4294967295")
    ports = parse_ports(options.dport) if options.dport else [(0, 65535)]
    return [Rule(options.mark, PROTOCOLS[options.proto], network, *each) for each in ports]


def parser() -> argparse.ArgumentParser:
    """The grammar of the command."""
    top = argparse.ArgumentParser(prog="pylvs mark", description=(__doc__ or "").partition("\n\n")[0])
    commands = top.add_subparsers(dest="command", required=True)
    for name, what in (("add", "mark such packets"), ("del", "mark them no more")):
        command = commands.add_parser(name, help=what)
        command.add_argument("--mark", type=int, required=True)
        command.add_argument("--proto", choices=PROTOCOLS, default="all")
        command.add_argument("--dst", required=True, metavar="ADDRESS[/PREFIX]")
        command.add_argument("--dport", metavar="PORTS", help="numbers and ranges, as 80,443,8000-8099")
    commands.add_parser("list", help="the rules, the most specific first").add_argument("--json", action="store_true")
    commands.add_parser("flush", help="mark nothing any more")
    return top


def show(rules: list[Rule], as_json: bool) -> None:
    """Print the rules."""
    if as_json:
        print(json.dumps([asdict(rule) | {"network": str(rule.network)} for rule in rules], indent=2))
    else:
        print("\n".join(f"pylvs mark add {rule}" for rule in rules) or "no rules")


def run(argv: list[str]) -> int:
    """`pylvs mark add|del|list|flush`."""
    options = parser().parse_args(argv)
    with Director() as director:
        if options.command == "list":
            show(read(director), options.json)
            return 0
        with director.changing():
            present = read(director)
            if options.command == "flush":
                write(director, [])
            elif options.command == "add":
                new = rules_from(options)
                write(director, [rule for rule in present if rule not in new] + new)
            else:
                gone = rules_from(options)
                if missing := [rule for rule in gone if rule not in present]:
                    raise BadRule(f"no such rule: {missing[0]}; type: pylvs mark list")
                write(director, [rule for rule in present if rule not in gone])
    return 0
