# SPDX-License-Identifier: GPL-2.0-or-later
"""What the doctor sees on a real server itself, whether it was prepared by `pylvs realserver join` or by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from pylvs.doctor.firewall import Rule, listed
from pylvs.doctor.ruleset import Packet, Ruleset
from pylvs.host.capture import overhear
from pylvs.host.machine import Machine
from pylvs.model import Address
from pylvs.realserver import joining
from pylvs.realserver.check import Subject

LISTENING = 1.5  # seconds
LISTEN = "0A"  # of /proc/net/tcp
NETSTAT = Path("/proc/thread-self/net/netstat")


@dataclass
class Visit:
    """A real server, looked at from inside."""

    machine: Machine = field(default_factory=Machine)

    @cached_property
    def joins(self) -> dict[Address, dict[str, Any]]:
        return joining.joined()

    @cached_property
    def vips(self) -> list[Address]:
        """What was joined, and what is on lo beside its own."""
        on_lo = [h.address.ip for h in self.machine.addresses if h.interface == "lo" and not h.address.ip.is_loopback]
        return list(dict.fromkeys([*self.joins, *on_lo]))

    def subject(self, vip: Address) -> Subject:
        """The VIP for `pylvs realserver check`; by hand it was made as for DR."""
        said = self.joins.get(vip, {})
        gateway = said.get("gateway")
        route = self.machine.default_route(vip.version)
        card = said.get("interface") or self.machine.on_link(vip) or (route.interface if route else "")
        card = card or (self.machine.cards or [""])[0]
        return Subject(vip, said.get("method", "dr"), card, ip_address(gateway) if gateway else None, self.machine)

    @cached_property
    def ruleset(self) -> Ruleset:
        return Ruleset(listed())

    def blocking(self, address: Address, port: int) -> list[Rule]:
        """The rules that drop requests for a service here, or its replies."""
        packets = Packet(address, port), Packet(address, port, reply=True)
        return [rule for packet in packets for rule in self.ruleset.blocking(packet)]

    @cached_property
    def wanted(self) -> set[tuple[Address, int]]:
        """Which services are asked for just now."""
        heard = overhear(self.machine.cards, LISTENING)
        return {(one.target, one.dport) for one in heard if not one.answer}

    def served_at(self, vip: Address) -> Address | None:
        """The address that packets for the VIP's service have here: with NAT it is the machine's own."""
        subject = self.subject(vip)
        if subject.method != "nat":
            return vip
        held = (h.address.ip for h in self.machine.addresses if h.interface == subject.interface)
        return next((ip for ip in held if ip.version == vip.version), None)

    @cached_property
    def listening(self) -> set[tuple[Address, int]]:
        """Where somebody listens for TCP: address (unspecified for any) and port."""
        return {one for name in ("tcp", "tcp6") for one in _listening(Path(f"/proc/thread-self/net/{name}"))}

    def reverse_path_drops(self) -> int:
        """How many packets rp_filter has dropped since the machine, or the namespace, is up."""
        names, values = [line.split() for line in NETSTAT.read_text().splitlines() if line.startswith("TcpExt:")][:2]
        return int(dict(zip(names, values, strict=True)).get("IPReversePathFilter", 0))


def _listening(path: Path) -> list[tuple[Address, int]]:
    try:
        rows = [line.split() for line in path.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [_endpoint(row[1]) for row in rows if row[3] == LISTEN]


def _endpoint(text: str) -> tuple[Address, int]:
    """`0100007F:0050`: the address in words of the machine's byte order."""
    words, _, port = text.partition(":")
    raw = b"".join(bytes.fromhex(words[at : at + 8])[::-1] for at in range(0, len(words), 8))
    return IPv4Address(raw) if len(raw) == 4 else ip_address(raw), int(port, 16)
