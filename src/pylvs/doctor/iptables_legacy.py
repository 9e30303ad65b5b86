# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of the iptables that is not nftables', said as `nft -j list ruleset` would say them.

What iptables-save(8) prints is read; a match that is not known here becomes one of which nobody knows whether it holds.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pylvs.host.command import CommandFailed, run

Row = dict[str, Any]
TABLE = "iptables-legacy "  # in front of a table's name: nftables may have one of the same name
HOOKS = {name.upper(): name for name in ("prerouting", "input", "forward", "output", "postrouting")}
VERDICTS = {name.upper(): name for name in ("drop", "reject", "accept", "return", "queue")} | {"NFQUEUE": "queue"}
PASSED_OVER = ("LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "TCPMSS", "DSCP", "TTL", "HL", "CT", "NOTRACK", "SET")
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
UNKNOWN: Row = {"xt": None}
PROGRAMS = {"ip": "iptables", "ip6": "ip6tables"}


def rows(net: Path = Path("/proc/thread-self/net")) -> Iterator[Row]:
    """Chains and rules of this namespace; nothing, and no module loaded, where there is no such table."""
    for family, program in PROGRAMS.items():
        names = net / f"{family}_tables_names"
        if names.exists() and names.read_text().strip():
            yield from parse(_saved(program), family)


def _saved(program: str) -> str:
    for name in (f"{program}-legacy-save", f"{program}-save"):
        if shutil.which(name, path=PATH):
            try:
                said = run([name])
            except CommandFailed:
                continue
            if "(nf_tables)" not in said.partition("\n")[0]:
                return said
    return ""


def parse(saved: str, family: str) -> Iterator[Row]:
    """What iptables-save printed: `*table`, `:CHAIN POLICY`, `-A CHAIN …`."""
    table = ""
    numbers: dict[str, int] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            table, numbers = TABLE + line[1:], {}
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            chain = {"family": family, "table": table, "name": name}
            if name in HOOKS:
                chain |= {"hook": HOOKS[name], "policy": policy.lower()}
            yield {"chain": chain}
        elif line.startswith("-A "):
            chain_name, *words = shlex.split(line)[1:]
            numbers[chain_name] = numbers.get(chain_name, 0) + 1
            rule = {"family": family, "table": table, "chain": chain_name, "handle": numbers[chain_name]}
            yield {"rule": rule | {"expr": list(_expression(words, family))}}


def _expression(words: list[str], family: str) -> Iterator[Row]:
    """Matches, and then the verdict."""
    protocol, negated = "", False
    left = iter(words)
    for word in left:
        if word == "!":
            negated = True
            continue
        if word == "-m":  # its options say what it is about
            if next(left, "") not in ("tcp", "udp", "sctp", "multiport", "conntrack", "state", "comment"):
                yield UNKNOWN
        elif word == "--comment":
            next(left, "")
        elif word in ("-j", "-g"):
            yield from _verdict(next(left, ""), "goto" if word == "-g" else "jump")
            return
        elif word in _MATCHES:
            value = next(left, "")
            protocol = value if word == "-p" else protocol
            yield {"match": _match(word, value, family, protocol) | {"op": "!=" if negated else "=="}}
        elif word.startswith("-"):
            yield UNKNOWN
        negated = False


_MATCHES = ("-p", "-s", "-d", "-i", "-o", "--dport", "--sport", "--dports", "--sports", "--ctstate", "--state")


def _match(word: str, value: str, family: str, protocol: str) -> Row:
    if word == "-p":
        return {"left": _payload(family, "protocol"), "right": value}
    if word in ("-s", "-d"):
        address, _, length = value.partition("/")
        right = {"prefix": {"addr": address, "len": length}} if length else address
        return {"left": _payload(family, "saddr" if word == "-s" else "daddr"), "right": right}
    if word in ("-i", "-o"):
        return {"left": {"meta": {"key": "iifname" if word == "-i" else "oifname"}}, "right": value}
    if word in ("--ctstate", "--state"):
        return {"left": {"ct": {"key": "state"}}, "right": value.lower().split(",")}
    ports = [_ports(part) for part in value.split(",")]
    return {"left": _payload(protocol, word[2:7]), "right": ports[0] if len(ports) == 1 else {"set": ports}}


def _payload(protocol: str, field: str) -> Row:
    return {"payload": {"protocol": protocol, "field": field}}


def _ports(text: str) -> Any:
    first, colon, last = text.partition(":")
    return {"range": [int(first or 0), int(last or 65535)]} if colon else int(first)


def _verdict(target: str, how: str) -> Iterator[Row]:
    if target in VERDICTS:
        yield {VERDICTS[target]: None}
    elif target not in PASSED_OVER:  # a chain, or nobody knows what
        yield {how: {"target": target}}


def mend(family: str, table: str, chain: str, number: int) -> str:
    """What takes a rule away, or (0) the policy."""
    program = f"{PROGRAMS[family]}-legacy -t {table.removeprefix(TABLE)}"
    return f"{program} -D {chain} {number}" if number else f"{program} -P {chain} ACCEPT"


def accept(family: str, table: str, chain: str, side: str, port: int) -> str:
    """What lets one port through."""
    return f"{PROGRAMS[family]}-legacy -t {table.removeprefix(TABLE)} -I {chain} -p tcp --{side} {port} -j ACCEPT"
