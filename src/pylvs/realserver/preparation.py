# SPDX-License-Identifier: GPL-2.0-or-later
"""What `join` does, decided from the request and a look at the machine; and what it refuses, each in one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Any

from pylvs.errors import PylvsError
from pylvs.host import sysctl
from pylvs.host.machine import Machine
from pylvs.host.packets import GUE_PORT
from pylvs.model import Address
from pylvs.realserver.changes import Change, Decapsulator, DefaultRoute, Device, LoAddress, Sysctl
from pylvs.realserver.plan import HIDING, LOOSE, STRICT

DEVICE = "pylvs-tun"


class Refused(PylvsError):
    """Joining would harm this machine or its network."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. `length` is the VIP's prefix length (None: the right one); `tunnel` is '' for any type."""

    vip: Address
    length: int | None = None
    method: str = "dr"
    interface: str = ""
    gateway: Address | None = None
    director: Address | None = None
    tunnel: str = ""
    gue_port: int = GUE_PORT
    decapsulator: str = "auto"
    force: bool = False

    def words(self) -> dict[str, Any]:
        """The request as a JSON-serialisable dict."""
        return {k: v if isinstance(v, int | None) else str(v) for k, v in asdict(self).items()}


def choose_interface(request: Request, machine: Machine) -> str:
    """The interface that was named; else that of the gateway's or VIP's network, of the default route, or the only one.

    Refused where there is no such one, or where none of these tells.
    """
    there = machine.interfaces
    if request.interface:
        if request.interface not in there:
            raise Refused(
                f"{request.interface} is no Ethernet interface that is up; there are: {', '.join(there) or 'none'}"
            )
        return request.interface
    near = machine.on_link(request.gateway or request.vip)
    route = machine.default_route(request.vip.version)
    for found in (near, route.interface if route else None):
        if found in there:
            return str(found)
    if len(there) == 1:
        return there[0]
    raise Refused(f"which interface do requests come in by? give one: --interface {'|'.join(there) or 'IF'}")


def refusal(request: Request, machine: Machine) -> str:
    """Why this must not be done, before anybody is asked on the network; '' if it may."""
    vip, whole = request.vip, request.vip.max_prefixlen
    if vip.is_multicast or vip.is_loopback or vip.is_unspecified or vip.is_link_local:
        return f"{vip} cannot be a virtual address: it is not unicast, or never leaves this machine or its segment"
    if request.length not in (None, whole):
        return (
            f"{vip}/{request.length} on lo would make the whole network local to this machine, and nothing could "
            f"leave it; a hidden VIP is one address wide: {vip}/{whole}"
        )
    for held in machine.holders(vip):
        if held.interface != "lo":
            return (
                f"{vip} is this machine's own address on {held.interface}, where everybody is told of it; take it off "
                f"there first (ip addr del {held.address} dev {held.interface}), or choose another VIP"
            )
        if held.address.network.prefixlen != whole:
            return f"lo has {held.address}, which makes its whole network local; run: ip addr del {held.address} dev lo"
    return (
        _refused_as_broadcast(vip, machine) or _refused_as_needed(request, machine) or _refused_route(request, machine)
    )


def _refused_as_needed(request: Request, machine: Machine) -> str:
    who = machine.needed.get(str(request.vip))
    if who is None or request.method == "nat":
        return ""
    return f"{request.vip} is {who}, which this machine could not reach any more with it on lo; choose another VIP"


def _refused_as_broadcast(vip: Address, machine: Machine) -> str:
    for held in machine.addresses:
        network = held.address.network
        ends = (network.network_address, network.broadcast_address)
        if isinstance(vip, IPv4Address) and network.prefixlen < 31 and vip in ends:
            return f"{vip} is the network or broadcast address of {network} on {held.interface}"
    return ""


def _refused_route(request: Request, machine: Machine) -> str:
    if request.method != "nat":
        return ""
    if request.gateway is None:
        return "with NAT the replies go back through the director; say which: --gateway DIP"
    if machine.on_link(request.gateway) is None:
        return f"{request.gateway} is on no segment of this machine; --gateway is the director's address on this side"
    if machine.holders(request.gateway):
        return f"{request.gateway} is this machine's own address; --gateway is the director's"
    route = machine.default_route(request.gateway.version)
    if route and route.gateway != request.gateway and not request.force:
        return (
            f"the default route goes by {route.gateway or route.interface}: whoever reaches this machine by it may "
            "be cut off; --force puts the director there (leave brings the old one back)"
        )
    return ""


def refusal_by_answers(request: Request, macs: list[str], director: list[str]) -> str:
    """Why the VIP is not free to be joined, by which MAC addresses answered for it; '' if it is."""
    if request.force or not macs:
        return ""
    if len(set(macs)) > 1:
        who = f"{len(set(macs))} machines ({', '.join(macs)})"
        return f"{request.vip} is answered for by {who}; one of them must give it up"
    if request.director and set(macs) - set(director):
        at = f"is at {', '.join(director)}" if director else "does not answer"
        return f"{request.vip} is in use by {macs[0]}, which is not the director: {request.director} {at}"
    return ""


def changes(request: Request, interface: str, machine: Machine, kernel_device: bool = False) -> Iterator[Change]:
    """What has to be changed, in an order in which there is never a moment in which ARP is answered for the VIP."""
    if request.method == "nat":
        assert request.gateway
        yield DefaultRoute(request.gateway, interface, "replies pass the director, which changes them back")
        return
    if request.vip.version == 4:
        yield from _hiding(interface)
        yield from _reverse_path(interface)
    if request.method == "tun" and kernel_device:
        yield from _device(request, interface, machine)
    yield LoAddress(request.vip, _why_lo(request.vip))
    if request.method == "tun" and not kernel_device:
        yield Decapsulator(request.vip, interface, request.gue_port, "tunnelled packets are unwrapped here")


def _why_lo(vip: Address) -> str:
    hidden = "the hidden VIP: visible inside, one address wide so that no route to the segment leads to lo"
    if vip.version == 4:
        return hidden
    return (
        hidden
        + "; IPv6 answers solicitations only for addresses of the interface that is asked, so lo hides it by itself"
    )


def _hiding(interface: str) -> Iterator[Change]:
    for where in ("all", interface):
        if sysctl.number(f"net.ipv4.conf.{where}.arp_ignore") not in HIDING:
            yield Sysctl(
                f"net.ipv4.conf.{where}.arp_ignore", "1", "answer ARP only for addresses of the interface that is asked"
            )
    for where in ("all", interface):
        if sysctl.number(f"net.ipv4.conf.{where}.arp_announce") != 2:
            yield Sysctl(f"net.ipv4.conf.{where}.arp_announce", "2", "never name the VIP as sender in ARP")


def _reverse_path(interface: str) -> Iterator[Change]:
    """A loose rp_filter is enough where replies leave by another interface, and still stops martians."""
    if sysctl.effective("rp_filter", interface) == STRICT:
        why = "requests may come in by another interface than replies leave by"
        yield Sysctl(f"net.ipv4.conf.{interface}.rp_filter", str(LOOSE), why)


def _device(request: Request, interface: str, machine: Machine) -> Iterator[Change]:
    """The kernel's tunnel device, for IPv4 in IPv4. To rp_filter the packets out of it come from elsewhere."""
    own = next(str(h.address.ip) for h in machine.addresses if h.interface == interface and h.address.version == 4)
    kind = "gre" if request.tunnel == "gre" else "ipip"
    yield Device(DEVICE, f"type {kind} local {own} remote any", "the kernel's tunnel device")
    yield Sysctl(f"net.ipv4.conf.{DEVICE}.rp_filter", str(LOOSE), "packets out of the tunnel come from elsewhere")
