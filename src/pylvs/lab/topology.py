# SPDX-License-Identifier: GPL-2.0-or-later
"""Which machines there are and how they are connected: a description, apart from the code that builds it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_interface

from pylvs.errors import PylvsError
from pylvs.host.machine import IpInterface
from pylvs.model import Address, ForwardingMethod, TunnelType

METHODS = {
    "dr": ForwardingMethod.DR,
    "nat": ForwardingMethod.NAT,
    "tun": ForwardingMethod.TUN,
    "fullnat": ForwardingMethod.FULLNAT,
}


class Role(Enum):
    """What a machine is there for."""

    CLIENT = "client"
    DIRECTOR = "director"
    REAL_SERVER = "real server"
    SPARE = "spare real server"
    ROUTER = "router"


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may choose. `mode` is the data plane's hook: tc, xdp or auto."""

    name: str = "lab"
    method: ForwardingMethod = ForwardingMethod.DR
    mode: str = "tc"
    tunnel: TunnelType = TunnelType.IPIP
    ipv6: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """A network interface, the segment it is plugged into, and its address there."""

    interface: str
    segment: str
    address: IpInterface

    @property
    def mac(self) -> str:
        """A hardware address that shows the IP address: its last four bytes, for IPv6 also its network."""
        packed = self.address.ip.packed
        network = packed[3:4] if self.address.version == 6 else b"\x00"
        return (b"\x02" + network + packed[-4:]).hex(":")


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine; `gateway` is its default route, `routes` are (network, via) beside it."""

    name: str
    role: Role
    ports: tuple[Port, ...]
    gateway: Address | None = None
    routes: tuple[tuple[str, Address], ...] = ()

    @property
    def address(self) -> Address:
        """The address it is known by: that of its first interface."""
        return self.ports[0].address.ip

    @property
    def serves(self) -> bool:
        return self.role in (Role.REAL_SERVER, Role.SPARE)


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole lab. Each segment is a switch; all switches live in one namespace of their own."""

    options: Options
    vip: Address
    segments: tuple[str, ...]
    machines: tuple[Machine, ...]
    port: int = 80
    scheduler: str = "rr"

    def __getitem__(self, name: str) -> Machine:
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise PylvsError(f"no machine '{name}' in the lab; accepted: {', '.join(m.name for m in self.machines)}")

    @property
    def client(self) -> Machine:
        return self.only(Role.CLIENT)

    @property
    def director(self) -> Machine:
        return self.only(Role.DIRECTOR)

    @property
    def spare(self) -> Machine:
        return self.only(Role.SPARE)

    @property
    def real_servers(self) -> tuple[Machine, ...]:
        """Those in service from the start."""
        return tuple(machine for machine in self.machines if machine.role is Role.REAL_SERVER)

    @property
    def servers(self) -> tuple[Machine, ...]:
        """The real servers and the spare."""
        return tuple(machine for machine in self.machines if machine.serves)

    @property
    def replies_pass_director(self) -> bool:
        """NAT and FULLNAT must undo their rewriting; DR and TUN reply straight to the client."""
        return self.options.method in (ForwardingMethod.NAT, ForwardingMethod.FULLNAT)

    @property
    def holds_vip(self) -> bool:
        """Whether a real server has the VIP itself, hidden, because packets reach it addressed to the VIP."""
        return self.options.method in (ForwardingMethod.DR, ForwardingMethod.TUN)

    def only(self, role: Role) -> Machine:
        """The one machine with this role."""
        return next(machine for machine in self.machines if machine.role is role)

    def namespace(self, machine: str) -> str:
        return prefix(self.options.name) + machine


def prefix(name: str) -> str:
    """How the namespaces of the lab of this name begin; no lab's prefix begins another's."""
    if not re.fullmatch(r"[a-z0-9]{1,20}", name):
        raise PylvsError(f"a lab cannot be named '{name}'; type 1 to 20 small letters and digits")
    return f"pylvs-{name}-"


def machine_address(net: int, host: int, ipv6: bool) -> IpInterface:
    """Host `host` of lab network `net` (247 or 248): 192.168.NET.HOST/24 or fd00:NET::HOST/64."""
    return ip_interface(f"fd00:{net}::{host}/64" if ipv6 else f"192.168.{net}.{host}/24")


def topology(options: Options) -> Topology:
    """The machines of the document for DR; NAT, TUN and FULLNAT each get the network that they need."""
    build = {
        ForwardingMethod.DR: _one_segment,
        ForwardingMethod.NAT: _behind_director,
        ForwardingMethod.TUN: _behind_router,
        ForwardingMethod.FULLNAT: _behind_router,
    }[options.method]
    segments, machines = build(options.ipv6)
    return Topology(options, machine_address(247, 100, options.ipv6).ip, segments, machines)


def _servers(net: int, segment: str, ipv6: bool, gateway: Address | None) -> tuple[Machine, ...]:
    roles = {"node02": Role.REAL_SERVER, "node03": Role.REAL_SERVER, "node04": Role.SPARE}
    return tuple(
        Machine(name, role, (Port("eth0", segment, machine_address(net, host, ipv6)),), gateway)
        for host, (name, role) in enumerate(roles.items(), 135)
    )


def _one_segment(ipv6: bool) -> tuple[tuple[str, ...], tuple[Machine, ...]]:
    """DR: director, real servers and client share one segment."""
    client = Machine("client", Role.CLIENT, (Port("eth0", "lan", machine_address(247, 1, ipv6)),))
    director = Machine("node01", Role.DIRECTOR, (Port("eth0", "lan", machine_address(247, 134, ipv6)),))
    return ("lan",), (client, director, *_servers(247, "lan", ipv6, None))


def _behind_director(ipv6: bool) -> tuple[tuple[str, ...], tuple[Machine, ...]]:
    """NAT: the director is the real servers' only gateway, so that it sees every reply."""
    inner = Port("eth1", "back", machine_address(248, 134, ipv6))
    outer = Port("eth0", "front", machine_address(247, 134, ipv6))
    client = Machine(
        "client",
        Role.CLIENT,
        (Port("eth0", "front", machine_address(247, 1, ipv6)),),
        routes=((str(inner.address.network), outer.address.ip),),
    )
    director = Machine("node01", Role.DIRECTOR, (outer, inner))
    return ("front", "back"), (client, director, *_servers(248, "back", ipv6, inner.address.ip))


def _behind_router(ipv6: bool) -> tuple[tuple[str, ...], tuple[Machine, ...]]:
    """TUN and FULLNAT: the real servers are somewhere else, behind a router that knows nothing of LVS."""
    near = Port("eth0", "front", machine_address(247, 254, ipv6))
    far = Port("eth1", "far", machine_address(248, 254, ipv6))
    routes = ((str(far.address.network), near.address.ip),)
    client = Machine("client", Role.CLIENT, (Port("eth0", "front", machine_address(247, 1, ipv6)),), routes=routes)
    director = Machine(
        "node01", Role.DIRECTOR, (Port("eth0", "front", machine_address(247, 134, ipv6)),), routes=routes
    )
    router = Machine("router", Role.ROUTER, (near, far))
    return ("front", "far"), (client, director, router, *_servers(248, "far", ipv6, far.address.ip))
