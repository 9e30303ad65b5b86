# SPDX-License-Identifier: GPL-2.0-or-later
"""What a firewall does to a service's packets, as nft itself writes the rules down."""

from __future__ import annotations

import json
import os
import subprocess
from ipaddress import ip_address

import pytest

from pylvs.doctor.firewall import parse
from pylvs.doctor.real_server.firewall import accept
from pylvs.doctor.ruleset import Packet, Ruleset

VIP, VIP6 = ip_address("192.0.2.100"), ip_address("2001:db8::100")
LISTED = "nft -f - && nft -j -a list ruleset"

OPEN = "ct state established,related accept; ct state invalid drop; iif lo accept; "
ROWS = [
    ("nothing is dropped", "accept", "", False),
    ("a policy", "drop", "", True),
    ("a policy, and who is already in may go on", "drop", OPEN, True),
    ("the port among others", "drop", OPEN + "tcp dport { 22, 80, 8000-8100 } accept", False),
    ("the port in a range", "drop", "tcp dport 79-81 accept", False),
    ("other ports only", "drop", "tcp dport { 22, 443 } accept", True),
    ("the port in a named set", "drop", "tcp dport @ports accept", False),
    ("a named set without it", "drop", "tcp dport @others accept", True),
    ("the VIP's network", "drop", "ip daddr 192.0.2.0/24 accept", False),
    ("another network", "drop", "ip daddr 10.0.0.0/8 accept", True),
    ("some clients may, and nobody knows which", "drop", "ip saddr 198.51.100.0/24 accept", False),
    ("a card may, and nobody knows which", "drop", 'iifname "eth*" accept', False),
    ("lo is no card of the network", "drop", 'iifname "lo" accept', True),
    ("the port itself", "accept", "tcp dport 80 drop", True),
    ("the port itself, refused", "accept", "tcp dport 80 counter reject with tcp reset", True),
    ("another port", "accept", "tcp dport 3306 drop", False),
    ("all ports but one", "accept", "tcp dport != 80 drop", False),
    ("all ports but another", "accept", "tcp dport != 22 drop", True),
    ("UDP's port of that number", "accept", "udp dport 80 drop", False),
    ("all of TCP", "accept", "meta l4proto tcp drop", True),
    ("all of ICMP", "accept", "meta l4proto { icmp, ipv6-icmp } drop", False),
    ("all of IPv6", "accept", "meta nfproto ipv6 drop", False),
    ("what conntrack does not know", "accept", "ct state invalid drop", False),
    ("what is new", "accept", "ct state new drop", True),
    ("only too much of it", "accept", "limit rate over 10/second drop", False),
    ("accepted before", "accept", "tcp dport 80 accept; tcp dport 80 drop", False),
    ("another chain lets it in", "drop", "meta l4proto tcp jump web", False),
    ("another chain does not", "drop", "meta l4proto tcp jump nothing", True),
    ("another chain drops it", "accept", "jump blocked", True),
    ("a verdict map for states", "drop", "ct state vmap { established : accept, invalid : drop }", True),
    ("a verdict map for ports", "drop", "tcp dport vmap { 80 : accept }", False),
]  # fmt: skip


def ruleset(policy: str, rules: str, hook: str = "input") -> Ruleset:
    """A table with these rules, made and listed by nft in a namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("nftables needs root")
    lines = "\n  ".join(rules.split("; "))
    written = f"""table inet t {{
 set ports {{ type inet_service; flags interval; elements = {{ 80-90 }}; }}
 set others {{ type inet_service; elements = {{ 22, 443 }}; }}
 chain web {{ tcp dport 80 accept; }}
 chain nothing {{ tcp dport 22 accept; return; }}
 chain blocked {{ tcp dport 80 drop; }}
 chain c {{ type filter hook {hook} priority 0; policy {policy};
  {lines}
 }}
}}"""
    done = subprocess.run(["unshare", "-n", "sh", "-c", LISTED], input=written, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Ruleset(json.loads(done.stdout)["nftables"])


@pytest.mark.parametrize(("policy", "rules", "blocked"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_a_request(policy: str, rules: str, blocked: bool) -> None:
    """Dropped for certain, or not."""
    found = list(ruleset(policy, rules).dropping(Packet(VIP, 80)))
    assert bool(found) == blocked
    assert all(rule.hook == "input" and rule.fix for rule in found)


@pytest.mark.parametrize(
    ("rules", "blocked"),
    [("tcp sport 80 drop", True), ("tcp dport 80 drop", False), ("ip saddr 192.0.2.100 drop", True),
     ("ct state new drop", False), ("ct state established drop", True)],
)  # fmt: skip
def test_a_reply(rules: str, blocked: bool) -> None:
    """The same on the way out."""
    listing = ruleset("accept", rules, "output")
    assert bool(list(listing.dropping(Packet(VIP, 80, reply=True)))) == blocked
    assert list(listing.dropping(Packet(VIP, 80))) == []


def test_of_two_families() -> None:
    """A rule for one family is none for the other."""
    listing = ruleset("accept", "ip6 daddr 2001:db8::/32 drop")
    assert [bool(list(listing.dropping(Packet(vip, 80)))) for vip in (VIP, VIP6)] == [False, True]


def test_the_rule_is_named_where_it_is() -> None:
    """Also in a chain that was called, with what takes it away."""
    (rule,) = ruleset("accept", "jump blocked").dropping(Packet(VIP, 80))
    assert (rule.chain, rule.text) == ("blocked", "tcp dport 80 drop")
    assert rule.fix == f"nft delete rule inet t blocked handle {rule.handle}"


def test_a_policy_is_not_thrown_open() -> None:
    """The command against it lets one port in, and no more."""
    (rule,) = ruleset("drop", OPEN).dropping(Packet(VIP, 80))
    assert accept(rule, 80) == "nft insert rule inet t c tcp dport 80 accept"


NFT = [
    {"chain": {"family": "inet", "table": "f", "name": "in", "hook": "input", "policy": "drop"}},
    {"chain": {"family": "netdev", "table": "g", "name": "out", "hook": "egress", "policy": "accept"}},
    {"rule": {"family": "netdev", "table": "g", "chain": "out", "handle": 4, "expr": [
        {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}},
        {"counter": {"packets": 3, "bytes": 120}}, {"drop": None}]}},
    {"rule": {"family": "netdev", "table": "g", "chain": "out", "handle": 5, "expr": [{"accept": None}]}},
]  # fmt: skip


def test_firewall_rules() -> None:
    """A policy and a rule that drop; one that accepts is left out; each knows what takes it away."""
    policy, rule = parse(NFT)
    assert (policy.hook, policy.fix) == ("input", "nft add chain inet f in '{ policy accept; }'")
    assert (rule.hook, rule.text) == ("egress", "tcp dport 80 (3 packets) drop")
    assert rule.fix == "nft delete rule netdev g out handle 4"


@pytest.mark.parametrize(("right", "wants"), [("invalid", True), (["established", "related"], False)])
def test_a_rule_that_drops_what_conntrack_does_not_know(right: object, wants: bool) -> None:
    """Only one that drops INVALID."""
    state = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": right}}
    rule = {"family": "inet", "table": "f", "chain": "in", "handle": 2, "expr": [state, {"drop": None}]}
    assert [one.matches_invalid for one in parse([NFT[0], {"rule": rule}])] == [False, wants]
