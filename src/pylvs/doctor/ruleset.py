# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether nftables lets a service's packets through: its rules read as the kernel would go through them.

Of a client nothing is known; so a match may be true, false, or unknown (None), and only what is certain counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from pylvs.doctor.firewall import Rule, place, text
from pylvs.model import Address

IN = ("ingress", "prerouting", "input")
OUT = ("output", "postrouting", "egress")
OTHERS = ("udp", "sctp", "icmp", "icmpv6", "dccp", "arp", "esp", "ah")  # a match in their headers is none of TCP's
DEEP = 16  # chains that call one another, as in the kernel


@dataclass(frozen=True, slots=True)
class Packet:
    """The SYN to a service or, `reply`, the SYN+ACK that answers it."""

    address: Address
    port: int
    reply: bool = False

    def value(self, left: dict[str, Any]) -> Any:
        """What nft's left side is in this packet; None: not known."""
        kind, said = next(iter(left.items()))
        version = self.address.version
        if kind == "payload":
            return self._field(str(said.get("protocol")), str(said.get("field")))
        if kind == "ct" and said.get("key") == "state":
            return "established" if self.reply else "new"
        if kind == "meta":
            return {"l4proto": "tcp", "nfproto": f"ipv{version}", "protocol": "ip" if version == 4 else "ip6"}.get(
                said.get("key")
            )
        return None

    def _field(self, protocol: str, field: str) -> Any:
        ours = "ip" if self.address.version == 4 else "ip6"
        if protocol in OTHERS or (protocol in ("ip", "ip6") and protocol != ours):
            return NEVER
        if field in ("protocol", "nexthdr"):
            return "tcp"
        port, address = ("sport", "saddr") if self.reply else ("dport", "daddr")
        return {port: self.port, address: self.address}.get(field)


NEVER = object()  # there is no such field in it, so that nothing is equal or unequal


class Ruleset:
    """What `nft -j list ruleset` says."""

    def __init__(self, said: list[dict[str, Any]]) -> None:
        self.chains = {place(row["chain"]): row["chain"] for row in said if "chain" in row}
        self.sets = {place(row["set"]): row["set"].get("elem", []) for row in said if "set" in row}
        self.rules: dict[tuple[str, str, str], list[dict[str, Any]]] = {key: [] for key in self.chains}
        for row in said:
            if "rule" in row:
                self.rules.setdefault(place(row["rule"], "chain"), []).append(row["rule"])

    def blocking(self, packet: Packet) -> Iterator[Rule]:
        """The rules, or policies, that certainly drop such a packet; at most one of each chain at a hook."""
        families = ("inet", "netdev", "ip" if packet.address.version == 4 else "ip6")
        for key, chain in self.chains.items():
            if key[0] not in families or chain.get("hook") not in (OUT if packet.reply else IN):
                continue
            verdict = self._walk(key, packet, 0)
            if verdict is None and chain.get("policy") == "drop":
                yield Rule(*key, chain["hook"], 0, f"chain {chain['name']} drops what no rule accepts")
            elif isinstance(verdict, dict):
                where = place(verdict, "chain")
                yield Rule(*where, chain["hook"], verdict["handle"], text(verdict["expr"]))

    def _walk(self, chain: tuple[str, str, str], packet: Packet, depth: int) -> dict[str, Any] | str | None:
        """The rule that drops it; 'accept', also if that is only possible; None: the end is reached."""
        for rule in self.rules.get(chain, []) if depth < DEEP else []:
            certain = self._applies(rule, packet)
            if certain is False:
                continue
            for part in rule["expr"]:
                name, said = next(iter(part.items()))
                if name in ("drop", "reject") and certain:
                    return rule
                if name in ("accept", "queue") or (name == "return" and certain is None):
                    return "accept"
                if name == "vmap" and self._may_accept(said, packet):
                    return "accept"
                if name == "return":
                    return None
                if name in ("jump", "goto"):
                    verdict = self._walk((*chain[:2], said["target"]), packet, depth + 1)
                    if verdict == "accept" or (certain and (verdict is not None or name == "goto")):
                        return verdict
        return None

    def _may_accept(self, vmap: dict[str, Any], packet: Packet) -> bool:
        """Whether a verdict map does anything but drop packets like this one."""
        data = vmap.get("data")
        pairs = data.get("set", []) if isinstance(data, dict) else None
        if pairs is None:
            return True
        value = packet.value(vmap["key"]) if isinstance(vmap.get("key"), dict) else None
        chosen = [verdict for key, verdict in pairs if value is None or self._holds(key, value, ("", ""))]
        return any("accept" in verdict or "jump" in verdict or "goto" in verdict for verdict in chosen)

    def _applies(self, rule: dict[str, Any], packet: Packet) -> bool | None:
        """Whether all matches of a rule hold; what limits or looks up is not known."""
        known: bool | None = True
        for part in rule["expr"]:
            name, said = next(iter(part.items()))
            if name == "match":
                holds = self._match(said, packet, (rule["family"], rule["table"]))
                if holds is False:
                    return False
                known = known if holds else None
            elif name in ("limit", "xt", "quota", "meter", "ct count", "vmap"):
                known = None
        return known

    def _match(self, said: dict[str, Any], packet: Packet, where: tuple[str, str]) -> bool | None:
        left, right, operator = said["left"], said["right"], said["op"]
        if not isinstance(left, dict):
            return None
        if left.get("meta", {}).get("key") in ("iif", "iifname") and operator == "==" and right == "lo":
            return False
        value = packet.value(left)
        if value is NEVER:
            return False
        if value is None or operator not in ("==", "!=", "in"):
            return None
        holds = self._holds(right, value, where)
        return holds if operator != "!=" or holds is None else not holds

    def _holds(self, right: Any, value: Any, where: tuple[str, str]) -> bool | None:
        """Whether a value is nft's right side, or in it."""
        if isinstance(right, str) and right.startswith("@"):
            elements = self.sets.get((*where, right[1:]))
            return None if elements is None else self._holds(elements, value, where)
        if isinstance(right, list):
            return any(self._holds(one, value, where) for one in right)
        if not isinstance(right, dict):
            return bool(str(right) == str(value))
        kind, said = next(iter(right.items()))
        if kind == "set":
            return self._holds(said, value, where)
        if kind == "elem":
            return self._holds(said["val"], value, where)
        if kind == "range" and isinstance(value, int) and all(isinstance(end, int) for end in said):
            return bool(said[0] <= value <= said[1])
        if kind == "prefix" and not isinstance(value, int):
            return value in ip_network(f"{said['addr']}/{said['len']}", strict=False)
        return None
