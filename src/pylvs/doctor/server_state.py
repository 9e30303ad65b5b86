# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a real server from inside, joined by `pylvs realserver join` or by hand. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pylvs.doctor.evidence import NOWHERE, HostState
from pylvs.doctor.firewall import Rule
from pylvs.doctor.ruleset import Packet, Ruleset
from pylvs.model import Address
from pylvs.realserver.plan import Finding

Socket = tuple[Address, int]  # where a program listens for TCP; the address is unspecified for any


@dataclass(frozen=True, slots=True)
class VipState:
    """One VIP of a real server, and what `pylvs realserver check` finds of it, by what it looks at."""

    vip: Address
    method: str = "dr"  # or "tun", "nat"; made by hand, it is taken for DR
    interface: str = ""  # by which requests arrive
    gateway: Address | None = None  # NAT: the director
    served_at: Address | None = None  # the destination address of requests here: the VIP, with NAT the machine's own
    on_lo: tuple[Finding, ...] = ()
    arp_sysctls: tuple[Finding, ...] = ()
    arp_reply: tuple[Finding, ...] = ()
    decapsulator: tuple[Finding, ...] = ()
    return_route: tuple[Finding, ...] = ()

    @property
    def hidden(self) -> bool:
        """Whether the VIP has to be on this machine, hidden from its segment."""
        return self.method != "nat"


@dataclass(frozen=True, slots=True)
class RealServerState:
    """A real server's host, the VIPs that it serves, its listening programs and its firewall."""

    host: HostState = NOWHERE
    joins: Mapping[Address, Mapping[str, Any]] = field(default_factory=dict)  # VIP → what was asked of `join`
    vips: tuple[VipState, ...] = ()
    listening: frozenset[Socket] = frozenset()
    ruleset: Ruleset = field(default_factory=lambda: Ruleset([]))
    routes_out: tuple[str, ...] = ()  # `10.0.0.0/8 dev eth1`: by a gateway, or to one host
    rp_filter_drops: int = 0  # TcpExt IPReversePathFilter, since the namespace was made
    requests: frozenset[Socket] | None = None  # destinations of SYNs that arrived while listening

    @property
    def addresses(self) -> list[Address]:
        """VIPs that were joined, and addresses on lo that are not loopback addresses."""
        on_lo = [held.address.ip for held in self.host.addresses if held.interface == "lo"]
        return list(dict.fromkeys([*self.joins, *(address for address in on_lo if not address.is_loopback)]))

    def ports(self, address: Address) -> list[int]:
        """The TCP ports at which somebody listens at this address, or at any."""
        return sorted({port for at, port in self.listening if at.is_unspecified or at == address})

    def rules_against(self, address: Address) -> dict[int, list[Rule]]:
        """By listening port: the rules that drop requests to it, or its replies."""
        found = {port: self._rules(address, port) for port in self.ports(address)}
        return {port: rules for port, rules in found.items() if rules}

    def _rules(self, address: Address, port: int) -> list[Rule]:
        request = Packet(address, port)
        reply = Packet(address, port, reply=True)
        return [*self.ruleset.dropping(request), *self.ruleset.dropping(reply)]

    @property
    def partly_blocked(self) -> bool:
        """Whether some listening ports are blocked and others are not, as somebody may want it."""
        for address in [vip.served_at for vip in self.vips if vip.served_at]:
            if 0 < len(self.rules_against(address)) < len(self.ports(address)):
                return True
        return False
