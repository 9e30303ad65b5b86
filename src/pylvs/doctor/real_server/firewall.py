# SPDX-License-Identifier: GPL-2.0-or-later
"""A firewall on the real server drops a service's requests or its replies.

Other ports that it drops may be dropped on purpose: a blocked port counts if no port is let through, or if somebody
asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor import iptables_legacy
from pylvs.doctor.finding import Finding, Health
from pylvs.doctor.firewall import Rule
from pylvs.doctor.server_state import RealServerState
from pylvs.model import Address

LIKELIHOOD = 70


def diagnose(state: RealServerState) -> Iterator[Finding]:
    named: set[Rule] = set()
    for address in [vip.served_at for vip in state.vips if vip.served_at]:
        for port, rules in _blocked(state, address):
            yield from (_finding(address, port, rule) for rule in rules if rule not in named)
            named |= set(rules)


def _blocked(state: RealServerState, address: Address) -> Iterator[tuple[int, list[Rule]]]:
    """The ports of this address that are blocked and should not be, and by which rules."""
    blocked = state.rules_against(address)
    every = len(blocked) == len(state.ports(address))
    for port, rules in blocked.items():
        if every or (state.requests and (address, port) in state.requests):
            yield port, rules


def _finding(address: Address, port: int, rule: Rule) -> Finding:
    return Finding(
        "firewall_on_real_server",
        f"a firewall rule here drops TCP to port {port} of {address} (hook {rule.hook})",
        (str(rule), f"somebody listens at port {port}"),
        "this real server",
        rule.fix if rule.handle else accept(rule, port),
        Health.DEGRADED,
        LIKELIHOOD,
    )


def accept(rule: Rule, port: int) -> str:
    """What lets one port through a chain whose policy drops what no rule accepts."""
    side = "sport" if rule.hook in ("output", "postrouting", "egress") else "dport"
    if rule.is_legacy:
        return iptables_legacy.accept(rule.family, rule.table, rule.chain, side, port)
    return f"nft insert rule {rule.family} {rule.table} {rule.chain} tcp {side} {port} accept"
