# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of nftables, and of both kinds of iptables, that drop packets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pylvs.doctor import iptables_legacy
from pylvs.host.command import CommandFailed, run


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, or a chain's policy (handle 0), that drops or rejects; `text` is for a person.

    With iptables-legacy the handle is the rule's number in its chain.
    """

    family: str
    table: str
    chain: str
    hook: str
    handle: int
    text: str

    def __str__(self) -> str:
        hook = f" (hook {self.hook})" if self.hook else ""
        return f"{self.family} table {self.table}, chain {self.chain}{hook}: {self.text}"

    @property
    def drops_what_is_sent(self) -> bool:
        """Whether it may drop what this machine itself sends, and so the doctor's probes."""
        return self.hook in ("egress", "output", "postrouting") and self.family != "arp"

    @property
    def matches_invalid(self) -> bool:
        """Whether it drops what conntrack calls INVALID."""
        return "ct state" in self.text and "invalid" in self.text

    @property
    def is_legacy(self) -> bool:
        """Whether it is of iptables-legacy."""
        return self.table.startswith(iptables_legacy.TABLE)

    @property
    def fix(self) -> str:
        """The command that removes it."""
        if self.is_legacy:
            return iptables_legacy.remove(self.family, self.table, self.chain, self.handle)
        if not self.handle:
            return f"nft add chain {self.family} {self.table} {self.chain} '{{ policy accept; }}'"
        return f"nft delete rule {self.family} {self.table} {self.chain} handle {self.handle}"


def listed() -> list[dict[str, Any]]:
    """The rows of `nft -j list ruleset` in this network namespace, with those of iptables-legacy in the same form."""
    return [*_nftables(), *iptables_legacy.rows()]


def _nftables() -> list[dict[str, Any]]:
    """No rows where there is no nft."""
    if not shutil.which("nft", path=iptables_legacy.PATH):
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(run(["nft", "-j", "-a", "list", "ruleset"]))["nftables"]
    except (CommandFailed, ValueError, KeyError):
        return []
    return rows


def rules() -> Iterator[Rule]:
    """Every dropping rule at a hook of this network namespace."""
    yield from parse(listed())


def parse(rows: list[dict[str, Any]]) -> Iterator[Rule]:
    """The dropping rules and policies in the rows of `nft -j list ruleset`."""
    hooks = {place(row["chain"]): row["chain"].get("hook", "") for row in rows if "chain" in row}
    for row in rows:
        chain = row.get("chain", {})
        if chain.get("policy") == "drop":
            yield policy(chain)
        if _drops(row.get("rule", {})):
            yield dropping(row["rule"], hooks.get(place(row["rule"], "chain"), ""))


def _drops(rule: dict[str, Any]) -> bool:
    return any("drop" in part or "reject" in part for part in rule.get("expr", []))


def policy(chain: dict[str, Any]) -> Rule:
    """The policy of a chain, as a rule."""
    return Rule(*place(chain), chain.get("hook", ""), 0, f"chain {chain['name']} drops what no rule accepts")


def dropping(rule: dict[str, Any], hook: str) -> Rule:
    """A row `rule` of nft that drops packets at a hook."""
    return Rule(*place(rule, "chain"), hook, rule["handle"], text(rule["expr"]))


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
            yield f"{_operand(value['left'])} {operator}{_operand(value['right'])}"
        elif key == "counter" and isinstance(value, dict):
            yield f"({value.get('packets', 0)} packets)"
        else:
            yield key


def _operand(value: Any) -> str:
    """One side of a match."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    if not isinstance(value, dict):
        return str(value)
    if "payload" in value:
        return " ".join(str(value["payload"].get(key, "")) for key in ("protocol", "field")).strip()
    if "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    kind, inner = next(iter(value.items()))
    return f"{kind} {inner.get('key', '')}".strip() if isinstance(inner, dict) else str(inner)
