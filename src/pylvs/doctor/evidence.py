# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a director and its destinations: values, filled in by the steps of the plan. Nothing here does I/O.

A field that is None or empty was not asked for, or there was nothing. Properties are what follows from one value
alone; what follows from several is in facts.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from pylvs.dataplane.attach import XDP_CATCHES, Attachment
from pylvs.doctor.firewall import Rule
from pylvs.host.capture import Heard
from pylvs.host.machine import Held
from pylvs.host.neighbours import Neighbour
from pylvs.host.probes import ForwardingPath, Reply, Result
from pylvs.host.routes import Route
from pylvs.model import (
    Address,
    DestinationState,
    Endpoint,
    ForwardingMethod,
    Protocol,
    ServiceState,
    Tunnel,
    TunnelType,
)

FEW = 3  # half-open connections at one destination prove nothing yet
SIGNS_OF_LIFE = (Reply.OPEN, Reply.REFUSED, Reply.PROHIBITED, Reply.UNKNOWN_TUNNEL)
REFUSED_XDP = "native XDP was refused"  # `Attachment.why`


@dataclass(frozen=True, slots=True)
class HostState:
    """Addresses, interfaces, routes and sysctls of this machine's network namespace."""

    addresses: tuple[Held, ...] = ()
    interfaces: tuple[str, ...] = ()  # Ethernet, and up
    networks: tuple[IPv4Network | IPv6Network, ...] = ()  # those with a route, the default route's excepted
    sysctls: Mapping[str, int] = field(default_factory=dict)

    def holders(self, address: Address) -> list[Held]:
        """The interfaces that have an address."""
        return [held for held in self.addresses if held.address.ip == address]

    def on_link(self, address: Address) -> str:
        """The interface on whose segment an address is, by the addresses there; '' if it is on none."""
        for held in self.addresses:
            same_family = held.address.version == address.version
            if held.interface != "lo" and same_family and address in held.address.network:
                return held.interface
        return ""

    def interface_of(self, address: Address) -> str:
        """The interface that has an address, or else the one on whose segment it is; '' if there is none."""
        held = [holder.interface for holder in self.holders(address) if holder.interface != "lo"]
        return held[0] if held else self.on_link(address)

    def sysctl(self, name: str) -> int:
        """A sysctl that is a number; 0 where there is none."""
        return self.sysctls.get(name, 0)

    def effective(self, name: str, interface: str) -> int:
        """What arp_ignore or rp_filter amounts to on an interface: the greater of `all` and its own."""
        return max(self.sysctl(f"net.ipv4.conf.{where}.{name}") for where in ("all", interface))


NOWHERE = HostState()


@dataclass(frozen=True, slots=True)
class VipEvidence:
    """One VIP of the director: who answers ARP or neighbour discovery for it."""

    address: Address
    host: HostState = field(default=NOWHERE, repr=False)
    claimed_by: tuple[str, ...] = ()  # MAC addresses, the director's own excepted
    answers: bool | None = None  # whether the director does, asked as by a neighbour; None: it cannot be asked

    @property
    def interface(self) -> str:
        """The interface by which requests arrive; '' if the VIP is on no segment of the director's."""
        return self.host.interface_of(self.address)

    @property
    def held(self) -> list[Held]:
        """Where the director has it."""
        return self.host.holders(self.address)


@dataclass(frozen=True, slots=True)
class DestinationEvidence:
    """One destination of one service, and the replies to the probes of it."""

    service: ServiceState
    state: DestinationState
    host: HostState = field(default=NOWHERE, repr=False)
    vips: frozenset[Address] = frozenset()  # of all services: no probe may have one as its source
    half_open: int = 0  # recent connections in SYN_RECV
    other_states: int = 0  # recent connections in any other state
    route: Route | None = None
    arp_macs: tuple[str, ...] = ()  # who answers ARP for the RIP, asked from the director's address
    arp_probe_macs: tuple[str, ...] = ()  # who answers an ARP probe (RFC 5227: sender 0.0.0.0)
    neighbour: Neighbour | None = None  # the entry of the director's neighbour table
    tcp_to_rip: Result | None = None  # a handshake with RIP:port
    tcp_to_vip: Result | None = None  # a handshake with the VIP by the real forwarding path
    tcp_from_outside: Result | None = None  # NAT: a handshake with RIP:port from another network of the director's
    ping_of_rip: Result | None = None
    ping_of_vip: Result | None = None  # by the forwarding path
    full_ping_of_vip: Result | None = None  # TUN: one that fills the tunnel
    ack_of_vip: Result | None = None  # a bare ACK, which conntrack does not take for INVALID
    ipv6_replies: bool = False  # the same machine replies to a ping by IPv6
    arp_sender: Address | None = None  # DR: the sender of its ARP requests when it replies from the VIP
    other_ports: tuple[int, ...] = ()  # usual ports that accept TCP, where the right one refuses
    meant: Address | None = None  # an address with the same host part that accepts TCP, where this one has no path

    @property
    def address(self) -> Address:
        return self.state.destination.address

    @property
    def vip(self) -> Address | None:
        return self.service.service.key.address

    @property
    def method(self) -> ForwardingMethod:
        return self.state.destination.method

    @property
    def tunnel(self) -> Tunnel:
        return self.state.destination.tunnel

    @property
    def is_tcp(self) -> bool:
        """Whether there is a TCP port to probe: not for UDP, nor for a service of all ports."""
        return self.service.service.key.protocol is Protocol.TCP and self.port != 0

    @property
    def port(self) -> int:
        """Where the real server listens: with DR and TUN that is the service's port."""
        mapped = self.method in (ForwardingMethod.NAT, ForwardingMethod.FULLNAT)
        own = self.state.destination.port if mapped else 0
        return own or self.service.service.key.port

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.address, self.port)

    @property
    def words(self) -> str:
        """What names it to pylvsadm: `-t 192.0.2.1:80 -r 192.0.2.11:80`."""
        return f"{self.service.service.key.option} -r {self.endpoint}"

    @property
    def hidden_vip(self) -> bool:
        """Whether packets reach the real server addressed to the VIP."""
        return self.method in (ForwardingMethod.DR, ForwardingMethod.TUN)

    @property
    def local(self) -> bool:
        """Whether the destination is the director itself."""
        return bool(self.host.holders(self.address))

    @property
    def on_link(self) -> bool:
        """Whether it is on a segment of the director's, with no router between."""
        return self.route is not None and self.route.gateway is None

    @property
    def out_of_reach(self) -> bool:
        """Whether nothing that is forwarded can arrive: there is no route, or DR would have to pass a router."""
        if self.local:
            return False
        return self.route is None or (self.method is ForwardingMethod.DR and not self.on_link)

    @property
    def path(self) -> ForwardingPath | None:
        """The forwarding path for packets to the VIP; None where it is not hidden, or cannot be used."""
        if self.local or self.out_of_reach or self.vip is None:
            return None
        if self.method is ForwardingMethod.DR:
            return ForwardingPath(self.vip, self.address, None, self.vips)
        if self.method is ForwardingMethod.TUN:
            return ForwardingPath(self.vip, self.address, self.tunnel, self.vips)
        return None

    @property
    def outside(self) -> Address | None:
        """An address of the director's that is not on the destination's segment, as clients are not."""
        if self.route is None:
            return None
        near = [held.address.network for held in self.host.addresses if held.interface == self.route.interface]
        for held in self.host.addresses:
            address = held.address.ip
            usable = held.interface not in (self.route.interface, "lo") and address.version == self.address.version
            usable = usable and not address.is_link_local and address not in self.vips
            if usable and not any(address in network for network in near):
                return address
        return None

    @property
    def wrong_mac(self) -> bool:
        """Whether the neighbour table has another MAC address than those that answer."""
        return self.neighbour is not None and bool(self.arp_macs) and self.neighbour.mac not in self.arp_macs

    @property
    def alive(self) -> bool:
        """Whether the machine gives any sign of life."""
        results = (self.tcp_to_rip, self.tcp_to_vip, self.ping_of_vip, self.ping_of_rip)
        return bool(self.arp_macs) or any(replied(result, *SIGNS_OF_LIFE) for result in results)

    @property
    def takes_network_for_its_own(self) -> bool:
        """Whether it seems to take the director's address for one of its own: the VIP is on lo with its network's mask.

        With a strict rp_filter it then answers no ARP request that names the director. Without, its replies go to
        itself: there is no reply by IPv4, and there is one by IPv6 from the same machine.
        """
        if not self.on_link or self.address.version != 4 or not self.hidden_vip:
            return False
        if not self.arp_macs:
            return bool(self.arp_probe_macs)
        silent = replied(self.tcp_to_rip, Reply.SILENT) and replied(self.ping_of_rip, Reply.SILENT)
        return silent and self.ipv6_replies

    @property
    def stuck(self) -> bool:
        """Whether most of its recent connections are half-open, although it answers the director itself."""
        answers = replied(self.tcp_to_vip or self.tcp_to_rip, Reply.OPEN)
        return answers and self.half_open >= FEW and self.half_open > self.other_states

    @property
    def tunnel_overhead(self) -> int:
        """Bytes that the tunnel adds to a packet."""
        gre = 4 if self.tunnel.checksum.value == "nocsum" else 8
        header = {TunnelType.IPIP: 0, TunnelType.GUE: 12, TunnelType.GRE: gre}
        return (20 if self.address.version == 4 else 40) + header[self.tunnel.type]

    @property
    def tunnel_room(self) -> int:
        """Bytes of the largest packet that fits the tunnel, by the MTU of the director's interface."""
        return (self.route.mtu if self.route else 1500) - self.tunnel_overhead


def replied(result: Result | None, *replies: Reply) -> bool:
    """Whether a probe was made and met one of these."""
    return result is not None and result.reply in replies


@dataclass(frozen=True, slots=True)
class Capture:
    """TCP that arrived by itself in some seconds, and frames lost meanwhile behind XDP, by interface."""

    segments: tuple[Heard, ...] = ()
    frames_lost: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecentConnections:
    """Connections seen in the last seconds, by RIP and VIP: those in SYN_RECV, and those in any other state."""

    half_open: Mapping[tuple[Address, Address | None], int] = field(default_factory=dict)
    other_states: Mapping[tuple[Address, Address | None], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DirectorEvidence:
    """A director: its host, its table, its data plane, and what every VIP and destination replied."""

    loaded: bool = False  # a data plane, in this network namespace
    host: HostState = NOWHERE
    services: tuple[ServiceState, ...] = ()
    attachments: tuple[Attachment, ...] = ()  # of every interface, attached or not
    offloads: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)  # interface → name → whether it is fixed
    firewall: tuple[Rule, ...] = ()  # rules that drop or reject
    connections: RecentConnections = field(default_factory=RecentConnections)
    outcomes_before: Mapping[str, int] = field(default_factory=dict)  # packets, before the first probe
    vips: tuple[VipEvidence, ...] = ()
    destinations: tuple[DestinationEvidence, ...] = ()
    capture: Capture | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)  # packets, after the last probe

    @property
    def growth(self) -> dict[str, int]:
        """Packets by outcome from the first probe to the last."""
        return {name: count - self.outcomes_before.get(name, 0) for name, count in self.outcomes.items()}

    @property
    def attached(self) -> list[str]:
        """The interfaces on which the data plane is."""
        return [row.interface for row in self.attachments if row.hooks]

    @property
    def virtual_xdp(self) -> list[str]:
        """Interfaces of virtual machines and containers on which it is at XDP, although their drivers have a catch."""
        return [row.interface for row in self.attachments if "xdp" in row.hooks and row.driver in XDP_CATCHES]

    @property
    def stuck(self) -> bool:
        """Whether most recent connections of all destinations together, or of one alone, are half-open."""
        half_open = sum(one.half_open for one in self.destinations)
        others = sum(one.other_states for one in self.destinations)
        together = half_open >= FEW and half_open > others
        return together or any(one.stuck for one in self.destinations)

    @property
    def forwarding_off(self) -> list[str]:
        """The sysctls that are 0 and without which the data plane finds no route."""
        versions = sorted({one.address.version for one in self.destinations})
        names = [f"net.ipv{version}.conf.lo.forwarding" for version in versions]
        return [name for name in names if not self.host.sysctl(name)]

    def owner(self, mac: str) -> DestinationEvidence | None:
        """The destination with this MAC address."""
        return next((one for one in self.destinations if mac in one.arp_macs + one.arp_probe_macs), None)
