# SPDX-License-Identifier: GPL-2.0-or-later
"""The edge on a real server: carries out the steps of the plan, and returns the real server's state as values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from pylvs.doctor import plan
from pylvs.doctor.evidence import HostState
from pylvs.doctor.firewall import listed
from pylvs.doctor.ruleset import Ruleset
from pylvs.doctor.runner import Actions, carry_out
from pylvs.doctor.server_state import RealServerState, Socket, VipState
from pylvs.host import iproute
from pylvs.host.capture import overhear
from pylvs.host.machine import Machine
from pylvs.model import Address
from pylvs.realserver import plan as requirements

NET = Path("/proc/thread-self/net")
LISTEN = "0A"  # TCP_LISTEN (10), as /proc/net/tcp has it


def joined(host: HostState) -> RealServerState:
    """The VIPs of this machine: as much as decides whether it is a real server."""
    return RealServerState(host, requirements.joined())


def examine(state: RealServerState) -> RealServerState:
    """Everything else of the plan."""
    vips = (_vip(state, address) for address in state.addresses)
    examined = tuple(carry_out(plan.SERVER_VIP, vip, VIP_ACTIONS) for vip in vips)
    return carry_out(plan.SERVER, replace(state, vips=examined), ACTIONS)


def _vip(state: RealServerState, vip: Address) -> VipState:
    """The VIP as it was joined."""
    join = state.joins.get(vip, {})
    method = join.get("method", "dr")
    interface = join.get("interface") or _interface(state.host, vip)
    gateway = join.get("gateway")
    return VipState(
        vip,
        method,
        interface,
        ip_address(gateway) if gateway else None,
        _served_at(state.host, vip, interface) if method == "nat" else vip,
    )


def _interface(host: HostState, vip: Address) -> str:
    """The interface by which requests arrive: on the VIP's segment, of the default route, or else the first."""
    route = Machine().default_route(vip.version)
    by_route = route.interface if route else ""
    return host.on_link(vip) or by_route or next(iter(host.interfaces), "")


def _served_at(host: HostState, vip: Address, interface: str) -> Address | None:
    held = (held.address.ip for held in host.addresses if held.interface == interface)
    return next((address for address in held if address.version == vip.version), None)


def _checked(look: Callable[[requirements.Subject], Iterator[requirements.Finding]]) -> Callable[[VipState], object]:
    """What one look of `pylvs realserver check` finds."""
    return lambda vip: tuple(look(requirements.Subject(vip.vip, vip.method, vip.interface, vip.gateway)))


VIP_ACTIONS: Actions[VipState] = {
    "on_lo": _checked(requirements.address),
    "arp_sysctls": _checked(requirements.arp_knobs),
    "arp_reply": _checked(requirements.silence),
    "decapsulator": _checked(requirements.decapsulator),
    "return_route": _checked(requirements.route_back),
}


def _routes_out(_: RealServerState) -> tuple[str, ...]:
    """The IPv4 routes that lead further than an interface's own network, or to one host of it."""
    rows = [row for row in iproute.listed("-4", "route", "show") if row.get("dev", "lo") != "lo"]
    return tuple(f"{row['dst']} dev {row['dev']}" for row in rows if "gateway" in row or "/" not in row["dst"])


def _rp_filter_drops(_: RealServerState) -> int:
    """Packets that rp_filter has dropped: in netstat a line of names is followed by one of values."""
    lines = [line.split() for line in (NET / "netstat").read_text().splitlines() if line.startswith("TcpExt:")]
    names, values = lines[:2]
    return int(dict(zip(names, values, strict=True)).get("IPReversePathFilter", 0))


def _listening(_: RealServerState) -> frozenset[Socket]:
    return frozenset([*_sockets(NET / "tcp"), *_sockets(NET / "tcp6")])


def _sockets(path: Path) -> Iterator[Socket]:
    try:
        rows = [line.split() for line in path.read_text().splitlines()[1:]]
    except OSError:  # no IPv6 here
        return
    for row in rows:
        if row[3] == LISTEN:
            yield _socket(row[1])


def _socket(text: str) -> Socket:
    """`0100007F:0050` is 127.0.0.1:80: 32-bit words in the byte order of the machine, which is little-endian."""
    words, _, port = text.partition(":")
    raw = b"".join(bytes.fromhex(words[at : at + 8])[::-1] for at in range(0, len(words), 8))
    return IPv4Address(raw) if len(raw) == 4 else ip_address(raw), int(port, 16)


def _requests(state: RealServerState) -> frozenset[Socket]:
    """Services that somebody asks for just now."""
    segments = overhear(state.host.interfaces, plan.SERVER_LISTENING)
    return frozenset((one.target, one.dport) for one in segments if not one.answer)


ACTIONS: Actions[RealServerState] = {
    "listening": _listening,
    "ruleset": lambda _: Ruleset(listed()),
    "routes_out": _routes_out,
    "rp_filter_drops": _rp_filter_drops,
    "requests": _requests,
}
