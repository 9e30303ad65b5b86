# SPDX-License-Identifier: GPL-2.0-or-later
"""A firewall of the real server's own drops a service's requests, or its replies.

What else it drops is as somebody wanted it: a port counts if none is let through, or if somebody is asking for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor import iptables_legacy as legacy
from pylvs.doctor.finding import Diagnosis, Health
from pylvs.doctor.firewall import Rule
from pylvs.doctor.server_state import Visit
from pylvs.model import Address

LIKELIHOOD = 70


def diagnose(visit: Visit) -> Iterator[Diagnosis]:
    named: set[Rule] = set()
    for address in (found for vip in visit.vips if (found := visit.served_at(vip))):
        ports = sorted({port for here, port in visit.listening if here.is_unspecified or here == address})
        blocked = {port: rules for port in ports if (rules := visit.blocking(address, port))}
        for port, rules in blocked.items():
            if len(blocked) == len(ports) or (address, port) in visit.wanted:
                yield from (_diagnosis(address, port, rule) for rule in rules if rule not in named)
                named |= set(rules)


def _diagnosis(address: Address, port: int, rule: Rule) -> Diagnosis:
    return Diagnosis(
        "firewall_on_real_server",
        f"a firewall rule here drops TCP to port {port} of {address} (hook {rule.hook})",
        (f"{rule.family} table {rule.table}, chain {rule.chain}: {rule.text}", f"somebody listens at port {port}"),
        "this real server",
        rule.mend if rule.handle else accept(rule, port),
        Health.DEGRADED,
        LIKELIHOOD,
    )


def accept(rule: Rule, port: int) -> str:
    """What lets this one service through a chain that drops what no rule accepts."""
    side = "sport" if rule.hook in ("output", "postrouting", "egress") else "dport"
    if rule.is_legacy:
        return legacy.accept(rule.family, rule.table, rule.chain, side, port)
    return f"nft insert rule {rule.family} {rule.table} {rule.chain} tcp {side} {port} accept"
