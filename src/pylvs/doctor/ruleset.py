# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether nftables lets a service's packets through: its rules evaluated in the kernel's order.

Little is known of a packet, and nothing of its client. So a match is true, false or unknown (None), and a rule counts
only if it drops the packet for certain. The names in the rows of nft are those of libnftables-json(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from pylvs.doctor.firewall import Rule, dropping, place, policy
from pylvs.model import Address

INGRESS_HOOKS = ("ingress", "prerouting", "input")
EGRESS_HOOKS = ("output", "postrouting", "egress")
OTHER_PROTOCOLS = ("udp", "sctp", "icmp", "icmpv6", "dccp", "arp", "esp", "ah")  # TCP has no field of their headers
DEPTH = 16  # of chains that call one another (NFT_JUMP_STACK_SIZE)
UNCERTAIN = ("limit", "xt", "quota", "meter", "ct count", "vmap")
ABSENT = object()  # the value of a field that the packet does not have: it neither equals nor differs

Chain = tuple[str, str, str]  # family, table, name
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Packet:
    """The SYN to a service at an address and port or, as `reply`, the SYN+ACK from there."""

    address: Address
    port: int
    reply: bool = False

    def value(self, left: Row) -> Any:
        """The left side of a match in this packet: a value, ABSENT, or None if it is not known."""
        kind, what = next(iter(left.items()))
        if kind == "payload":
            return self._field(str(what.get("protocol")), str(what.get("field")))
        if kind == "ct" and what.get("key") == "state":
            return "established" if self.reply else "new"
        if kind == "meta":
            return self._meta().get(what.get("key"))
        return None

    def _meta(self) -> dict[str, str]:
        version = self.address.version
        return {"l4proto": "tcp", "nfproto": f"ipv{version}", "protocol": "ip" if version == 4 else "ip6"}

    def _field(self, protocol: str, field: str) -> Any:
        own = "ip" if self.address.version == 4 else "ip6"
        if protocol in OTHER_PROTOCOLS or (protocol in ("ip", "ip6") and protocol != own):
            return ABSENT
        if field in ("protocol", "nexthdr"):
            return "tcp"
        port, address = ("sport", "saddr") if self.reply else ("dport", "daddr")
        return {port: self.port, address: self.address}.get(field)


class Ruleset:
    """The rows of `nft -j list ruleset`: chains, sets and rules."""

    def __init__(self, rows: list[Row]) -> None:
        self.chains = {place(row["chain"]): row["chain"] for row in rows if "chain" in row}
        self.sets = {place(row["set"]): row["set"].get("elem", []) for row in rows if "set" in row}
        self.rules: dict[Chain, list[Row]] = {key: [] for key in self.chains}
        for row in rows:
            if "rule" in row:
                self.rules.setdefault(place(row["rule"], "chain"), []).append(row["rule"])

    def dropping(self, packet: Packet) -> Iterator[Rule]:
        """The rules or policies that drop such a packet for certain; at most one for each chain at a hook."""
        families = ("inet", "netdev", "ip" if packet.address.version == 4 else "ip6")
        hooks = EGRESS_HOOKS if packet.reply else INGRESS_HOOKS
        for key, chain in self.chains.items():
            if key[0] in families and chain.get("hook") in hooks:
                verdict = self._chain(key, packet, 0)
                if isinstance(verdict, dict):
                    yield dropping(verdict, chain["hook"])
                elif verdict is None and chain.get("policy") == "drop":
                    yield policy(chain)

    def _chain(self, chain: Chain, packet: Packet, depth: int) -> Row | str | None:
        """The verdict of a chain: the rule that drops the packet, "accept" if that is possible, None at its end."""
        for rule in self.rules.get(chain, []) if depth < DEPTH else []:
            certain = self._applies(rule, packet)
            if certain is False:
                continue
            verdict = self._rule(rule, packet, certain is True, depth)
            if verdict == "return":
                return None
            if verdict is not None:
                return verdict
        return None

    def _rule(self, rule: Row, packet: Packet, certain: bool, depth: int) -> Row | str | None:
        """The verdict of a rule that applies, or (not `certain`) may apply; "return" ends its chain, None does not."""
        for part in rule["expr"]:
            name, what = next(iter(part.items()))
            if name in ("drop", "reject") and certain:
                return rule
            if name in ("accept", "queue") or (name == "vmap" and self._may_accept(what, packet)):
                return "accept"
            if name == "return":
                return "return" if certain else "accept"
            if name in ("jump", "goto"):
                verdict = self._chain((rule["family"], rule["table"], what["target"]), packet, depth + 1)
                if verdict == "accept" or (certain and verdict is not None):
                    return verdict
                if certain and name == "goto":
                    return "return"
        return None

    def _may_accept(self, vmap: Row, packet: Packet) -> bool:
        """Whether a verdict map may do anything but drop this packet."""
        data = vmap.get("data")
        if not isinstance(data, dict):
            return True
        value = packet.value(vmap["key"]) if isinstance(vmap.get("key"), dict) else None
        verdicts = [verdict for key, verdict in data.get("set", []) if value is None or self._holds(key, value)]
        return any("accept" in verdict or "jump" in verdict or "goto" in verdict for verdict in verdicts)

    def _applies(self, rule: Row, packet: Packet) -> bool | None:
        """Whether all matches of a rule hold; a limit or a lookup makes that unknown."""
        applies: bool | None = True
        for part in rule["expr"]:
            name, what = next(iter(part.items()))
            if name == "match":
                holds = self._match(what, packet, place(rule, "chain"))
                if holds is False:
                    return False
                applies = applies if holds else None
            elif name in UNCERTAIN:
                applies = None
        return applies

    def _match(self, match: Row, packet: Packet, chain: Chain) -> bool | None:
        left, right, operator = match["left"], match["right"], match["op"]
        if not isinstance(left, dict):
            return None
        if operator == "==" and right == "lo" and left.get("meta", {}).get("key") in ("iif", "iifname"):
            return False
        value = packet.value(left)
        if value is ABSENT:
            return False
        if value is None or operator not in ("==", "!=", "in"):
            return None
        holds = self._holds(right, value, chain)
        if holds is None:
            return None
        return holds if operator != "!=" else not holds

    def _holds(self, right: Any, value: Any, chain: Chain = ("", "", "")) -> bool | None:
        """Whether a value equals the right side of a match, or is in it."""
        if isinstance(right, str) and right.startswith("@"):
            elements = self.sets.get((*chain[:2], right[1:]))
            return None if elements is None else self._holds(elements, value, chain)
        if isinstance(right, list):
            return any(self._holds(one, value, chain) for one in right)
        if isinstance(right, dict):
            return self._in(right, value, chain)
        return bool(str(right) == str(value))

    def _in(self, right: Row, value: Any, chain: Chain) -> bool | None:
        """Whether a value is in a set, an element, a range or a prefix."""
        kind, what = next(iter(right.items()))
        if kind == "set":
            return self._holds(what, value, chain)
        if kind == "elem":
            return self._holds(what["val"], value, chain)
        if kind == "range" and isinstance(value, int) and all(isinstance(end, int) for end in what):
            return bool(what[0] <= value <= what[1])
        if kind == "prefix" and not isinstance(value, int):
            return value in ip_network(f"{what['addr']}/{what['len']}", strict=False)
        return None
