# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of iptables-legacy, in the form of the rows of `nft -j list ruleset`.

The output of iptables-save(8) is read. A match that is not known here becomes one that holds or does not (UNKNOWN).
"""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pylvs.host.command import CommandFailed, run

Row = dict[str, Any]
TABLE = "iptables-legacy "  # in front of a table's name: nftables may have one of the same name
HOOKS = {name.upper(): name for name in ("prerouting", "input", "forward", "output", "postrouting")}
VERDICTS = {name.upper(): name for name in ("drop", "reject", "accept", "return", "queue")} | {"NFQUEUE": "queue"}
NO_VERDICT = ("LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "TCPMSS", "DSCP", "TTL", "HL", "CT", "NOTRACK", "SET")
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
UNKNOWN: Row = {"xt": None}
PROGRAMS = {"ip": "iptables", "ip6": "ip6tables"}


def rows(net: Path = Path("/proc/thread-self/net")) -> Iterator[Row]:
    """Chains and rules of this network namespace; without such a table none, and no kernel module is loaded."""
    for family, program in PROGRAMS.items():
        names = net / f"{family}_tables_names"
        if names.exists() and names.read_text().strip():
            yield from parse(_saved(program), family)


def _saved(program: str) -> str:
    """The output of iptables-save or ip6tables-save, of the program that is not nftables'."""
    for name in (f"{program}-legacy-save", f"{program}-save"):
        if shutil.which(name, path=PATH):
            try:
                saved = run([name])
            except CommandFailed:
                continue
            if "(nf_tables)" not in saved.partition("\n")[0]:
                return saved
    return ""


def parse(saved: str, family: str) -> Iterator[Row]:
    """The rows in the output of iptables-save: `*table`, `:CHAIN POLICY`, `-A CHAIN …`."""
    table = ""
    numbers: Counter[str] = Counter()
    for line in saved.splitlines():
        if line.startswith("*"):
            table = TABLE + line[1:]
            numbers.clear()
        elif line.startswith(":"):
            yield {"chain": _chain(line[1:], {"family": family, "table": table})}
        elif line.startswith("-A "):
            chain, *words = shlex.split(line)[1:]
            numbers[chain] += 1
            rule = {"family": family, "table": table, "chain": chain, "handle": numbers[chain]}
            yield {"rule": rule | {"expr": list(_expression(words, family))}}


def _chain(declared: str, place: Row) -> Row:
    """A chain by `INPUT DROP [0:0]`; one that is at no hook has no policy."""
    name, policy, *_ = declared.split()
    if name in HOOKS:
        return {**place, "name": name, "hook": HOOKS[name], "policy": policy.lower()}
    return {**place, "name": name}


def _expression(words: list[str], family: str) -> Iterator[Row]:
    """The matches of a rule, and then its verdict."""
    protocol = ""
    operator = "=="
    left = iter(words)
    for word in left:
        if word == "!":
            operator = "!="
            continue
        if word in ("-j", "-g"):
            yield from _verdict(next(left, ""), "goto" if word == "-g" else "jump")
            return
        if word in _MATCHES:
            value = next(left, "")
            protocol = value if word == "-p" else protocol
            yield {"match": _match(word, value, family, protocol) | {"op": operator}}
        elif word == "--comment":
            next(left, "")
        elif _unknown(word, left):
            yield UNKNOWN
        operator = "=="


def _unknown(word: str, left: Iterator[str]) -> bool:
    """Whether an option is not known here; `-m` of a known extension is, and the options after it are matches."""
    if word == "-m":
        return next(left, "") not in _EXTENSIONS
    return word.startswith("-")


_EXTENSIONS = ("tcp", "udp", "sctp", "multiport", "conntrack", "state", "comment")
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
    """The verdict by a target; `how` is "jump" or "goto"."""
    if target in VERDICTS:
        yield {VERDICTS[target]: None}
    elif target not in NO_VERDICT:  # a chain, or a target that is not known here
        yield {how: {"target": target}}


def remove(family: str, table: str, chain: str, number: int) -> str:
    """The command that removes a rule, or for number 0 opens the policy."""
    program = f"{PROGRAMS[family]}-legacy -t {table.removeprefix(TABLE)}"
    return f"{program} -D {chain} {number}" if number else f"{program} -P {chain} ACCEPT"


def accept(family: str, table: str, chain: str, side: str, port: int) -> str:
    """The command that lets one port through."""
    return f"{PROGRAMS[family]}-legacy -t {table.removeprefix(TABLE)} -I {chain} -p tcp --{side} {port} -j ACCEPT"
