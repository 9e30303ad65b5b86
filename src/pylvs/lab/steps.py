# SPDX-License-Identifier: GPL-2.0-or-later
"""Every step of the build as data: the machine, the reason, what a person would type, what the lab runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pylvs.host.packets import GUE_PORT
from pylvs.lab.httpd import binary
from pylvs.lab.topology import Machine, Port, Topology
from pylvs.model import Address, ForwardingMethod

STATE = Path("/run/pylvs-lab")
SWITCH = "switch"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `argv` runs on the machine; without it the builder makes `machine`, or plugs in `port`."""

    machine: str
    reason: str
    typed: str
    argv: tuple[str, ...] = ()
    port: Port | None = None


def command(machine: str, reason: str, typed: str) -> Step:
    """A step for which the lab runs the very words that a person would type."""
    return Step(machine, reason, typed, tuple(shlex.split(typed)))


def directory(topology: Topology, machine: str = "") -> Path:
    """Where the lab keeps the files of a machine, or its own."""
    return STATE / topology.options.name / machine


def steps(topology: Topology) -> Iterator[Step]:
    """The whole build, in an order in which no machine is ever seen half-configured by another."""
    yield Step(SWITCH, f"a switch for {' and '.join(topology.segments)}, apart from this machine's own network", "")
    for machine in topology.machines:
        yield from _machine(topology, machine)
    for machine in topology.servers:
        yield from _real_server(topology, machine)
    yield from _director(topology)


def _machine(topology: Topology, machine: Machine) -> Iterator[Step]:
    yield Step(machine.name, f"a machine, the {machine.role.value}", f"hostnamectl set-hostname {machine.name}")
    for port in machine.ports:
        yield Step(
            machine.name, f"its interface {port.mac} on the switch", f"ip link set {port.interface} up", port=port
        )
        yield command(
            machine.name, "its address", _add(port.address.ip, port.address.network.prefixlen, port.interface)
        )
    if machine.gateway:
        yield command(machine.name, "its default route", f"ip route add default via {machine.gateway}")
    for network, via in machine.routes:
        yield command(machine.name, f"the route to {network}", f"ip route add {network} via {via}")
    yield from _router(topology, machine)


def _router(topology: Topology, machine: Machine) -> Iterator[Step]:
    """A machine between two segments forwards."""
    if len(machine.ports) > 1:
        knob = "net.ipv6.conf.all.forwarding" if topology.options.ipv6 else "net.ipv4.ip_forward"
        yield command(machine.name, "forward packets between its two interfaces", f"sysctl -qw {knob}=1")


def _add(address: Address, length: int, interface: str) -> str:
    """An IPv6 address skips duplicate detection, which would hold it back for a second."""
    return f"ip addr add {address}/{length} dev {interface}" + (" nodad" if address.version == 6 else "")


def _real_server(topology: Topology, machine: Machine) -> Iterator[Step]:
    if topology.options.mode == "xdp":
        yield _full_checksums(machine)
    if topology.options.method is ForwardingMethod.DR:
        yield from _hidden_vip(topology, machine)
    elif topology.options.method is ForwardingMethod.TUN:
        yield from _tunnel_end(topology, machine)
    yield _httpd(topology, machine)


def _full_checksums(machine: Machine) -> Step:
    reason = "XDP sees packets as on a wire, with their checksums filled in"
    return command(machine.name, reason, "ethtool -K eth0 tx off")


def _hidden_vip(topology: Topology, machine: Machine) -> Iterator[Step]:
    """Packets arrive addressed to the VIP: a real server must have it, yet never claim it on the segment."""
    if not topology.options.ipv6:
        conf = "net.ipv4.conf"
        yield command(
            machine.name,
            "answer ARP only for addresses of the interface that is asked",
            f"sysctl -qw {conf}.eth0.arp_ignore=1 {conf}.all.arp_ignore=1",
        )
        yield command(
            machine.name,
            "never name the VIP as sender in ARP",
            f"sysctl -qw {conf}.eth0.arp_announce=2 {conf}.all.arp_announce=2",
        )
    length = 128 if topology.options.ipv6 else 32
    reason = "the hidden VIP: visible inside, one address wide so that no route to the segment leads to lo"
    yield command(machine.name, reason, _add(topology.vip, length, "lo"))


def _tunnel_end(topology: Topology, machine: Machine) -> Iterator[Step]:
    """The source of the inner packets is not one of the segment, so a strict reverse-path filter would drop them."""
    if not topology.options.ipv6:
        yield command(
            machine.name,
            "packets out of the tunnel do not come from this segment",
            "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0",
        )
    kind = topology.options.tunnel.value.upper()
    reason = f"the hidden VIP, and {kind} unwrapped where the kernel has no device for it"
    typed = f"pylvs realserver join {topology.vip} --method tun --interface eth0"
    yield command(machine.name, reason, typed)


def _httpd(topology: Topology, machine: Machine) -> Step:
    configuration = directory(topology, machine.name) / "httpd.conf"
    page = f"echo 'from {machine.address}' > /var/www/html/index.html"
    return Step(
        machine.name,
        f"the real server's work: Apache httpd, answering 'from {machine.address}'",
        f"apt-get install -y apache2 && {page} && systemctl start apache2",
        (binary(), "-f", str(configuration), "-k", "start"),
    )


def _director(topology: Topology) -> Iterator[Step]:
    """The VIP, the data plane, then the service: clients see a working service or none."""
    options, name = topology.options, topology.director.name
    if options.mode == "xdp":
        yield _full_checksums(topology.client)
    length = topology.director.ports[0].address.network.prefixlen
    yield command(name, "the VIP, where clients look for it", _add(topology.vip, length, "eth0"))
    interfaces = " ".join(port.interface for port in topology.director.ports)
    yield command(
        name,
        f"the data plane on its interfaces, hook {options.mode}",
        f"pylvs attach --mode {options.mode} {interfaces}",
    )
    yield command(name, "the virtual service, scheduled in turn", add_service(topology))
    for machine in topology.real_servers:
        yield command(name, f"{machine.name} into service", add_destination(topology, machine))


def service(topology: Topology) -> str:
    """The virtual service as `pylvsadm` names it."""
    vip = f"[{topology.vip}]" if topology.options.ipv6 else str(topology.vip)
    return f"-t {vip}:{topology.port}"


def add_service(topology: Topology) -> str:
    return f"pylvsadm -A {service(topology)} -s {topology.scheduler}"


def add_destination(topology: Topology, machine: Machine) -> str:
    return f"pylvsadm -a {destination(topology, machine)} {method_words(topology)} -w 1"


def quiesce_destination(topology: Topology, machine: Machine) -> str:
    return f"pylvsadm -e {destination(topology, machine)} {method_words(topology)} -w 0"


def delete_destination(topology: Topology, machine: Machine) -> str:
    return f"pylvsadm -d {destination(topology, machine)}"


def destination(topology: Topology, machine: Machine) -> str:
    """A destination as `pylvsadm` names it; an IPv6 address without a port stands bare, as in ipvsadm."""
    return f"{service(topology)} -r {machine.address}"


def method_words(topology: Topology) -> str:
    """The forwarding method as `pylvsadm` spells it."""
    options = topology.options
    if options.method is ForwardingMethod.TUN and options.tunnel.value != "ipip":
        port = f" --tun-port {GUE_PORT}" if options.tunnel.value == "gue" else ""
        return f"-i --tun-type {options.tunnel.value}{port}"
    return {
        ForwardingMethod.DR: "-g",
        ForwardingMethod.NAT: "-m",
        ForwardingMethod.TUN: "-i",
        ForwardingMethod.FULLNAT: f"--fullnat --local-address {topology.director.address}",
    }[options.method]
