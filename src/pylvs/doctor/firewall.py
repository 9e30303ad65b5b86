# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of nftables, and of both kinds of iptables, that drop packets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pylvs.doctor import iptables_legacy as legacy
from pylvs.host.command import CommandFailed, run


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, or a chain's policy (handle 0), that drops or rejects; `text` is for a person."""

    family: str
    table: str
    chain: str
    hook: str
    handle: int
    text: str

    @property
    def hampers(self) -> bool:
        """Whether it may stop what this machine itself sends, and so the doctor's probes."""
        return self.hook in ("egress", "output", "postrouting") and self.family != "arp"

    @property
    def wants_state(self) -> bool:
        """Whether it drops what conntrack calls INVALID."""
        return "ct state" in self.text and "invalid" in self.text

    @property
    def is_legacy(self) -> bool:
        """Whether it is of the iptables that is not nftables'; its handle is then its number in the chain."""
        return self.table.startswith(legacy.TABLE)

    @property
    def mend(self) -> str:
        """What takes it away."""
        if self.is_legacy:
            return legacy.mend(self.family, self.table, self.chain, self.handle)
        if not self.handle:
            return f"nft add chain {self.family} {self.table} {self.chain} '{{ policy accept; }}'"
        return f"nft delete rule {self.family} {self.table} {self.chain} handle {self.handle}"


def listed() -> list[dict[str, Any]]:
    """What `nft -j list ruleset` says in this namespace, and what it would say of iptables-legacy's rules."""
    return [*_of_nftables(), *legacy.rows()]


def _of_nftables() -> list[dict[str, Any]]:
    """Nothing where there is no nft."""
    if not shutil.which("nft", path=legacy.PATH):
        return []
    try:
        said: list[dict[str, Any]] = json.loads(run(["nft", "-j", "-a", "list", "ruleset"]))["nftables"]
    except (CommandFailed, ValueError, KeyError):
        return []
    return said


def rules() -> Iterator[Rule]:
    """Every dropping rule at a hook of this namespace."""
    yield from parse(listed())


def parse(said: list[dict[str, Any]]) -> Iterator[Rule]:
    """The dropping rules in what `nft -j list ruleset` says."""
    hooks = {place(c): c.get("hook", "") for c in (row["chain"] for row in said if "chain" in row)}
    for row in said:
        chain, rule = row.get("chain"), row.get("rule")
        if chain and chain.get("policy") == "drop":
            yield Rule(*place(chain), chain.get("hook", ""), 0, f"chain {chain['name']} drops what no rule accepts")
        if rule and any("drop" in part or "reject" in part for part in rule["expr"]):
            yield Rule(*place(rule, "chain"), hooks.get(place(rule, "chain"), ""), rule["handle"], text(rule["expr"]))


def place(thing: dict[str, Any], name: str = "name") -> tuple[str, str, str]:
    """Family, table and chain (or set)."""
    return thing["family"], thing["table"], thing[name]


def text(expression: list[dict[str, Any]]) -> str:
    """A rule for a person."""
    return " ".join(word for part in expression for word in _words(part))


def _words(part: dict[str, Any]) -> Iterator[str]:
    """One part of a rule, near enough to how nft writes it."""
    for key, value in part.items():
        if key == "match":
            operator = "" if value["op"] in ("==", "in") else value["op"] + " "
            yield f"{_side(value['left'])} {operator}{_side(value['right'])}"
        elif key == "counter" and isinstance(value, dict):
            yield f"({value.get('packets', 0)} packets)"
        else:
            yield key


def _side(value: Any) -> str:
    if not isinstance(value, dict):
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if "payload" in value:
        return " ".join(str(value["payload"].get(key, "")) for key in ("protocol", "field")).strip()
    if "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    kind, inner = next(iter(value.items()))
    return f"{kind} {inner.get('key', '')}".strip() if isinstance(inner, dict) else str(inner)
