# SPDX-License-Identifier: GPL-2.0-or-later
"""The edge on a director: carries out the steps of the plan, and returns the evidence as values.

Nothing is left to be read later: once `examine` has returned, nothing more is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address
from itertools import islice
from typing import Any

from pylvs.addresses import unpack
from pylvs.dataplane.arp_self_test import claims
from pylvs.dataplane.attach import Attacher, Attachment
from pylvs.dataplane.instance import Instance
from pylvs.dataplane.loaded import NotThere
from pylvs.doctor import offloads, plan
from pylvs.doctor.evidence import (
    REFUSED_XDP,
    Capture,
    DestinationEvidence,
    DirectorEvidence,
    HostState,
    RecentConnections,
    VipEvidence,
)
from pylvs.doctor.firewall import Rule, rules
from pylvs.doctor.plan import Step, Values
from pylvs.errors import PylvsError
from pylvs.host import neighbours, probes, sysctl
from pylvs.host.capture import overhear
from pylvs.host.machine import Machine
from pylvs.host.probes import ForwardingPath, Reply, Result
from pylvs.host.routes import Route, route_to
from pylvs.model import Address, ServiceState
from pylvs.table import outcomes
from pylvs.table.connections import TCP_STATES
from pylvs.table.director import Director

Actions = Mapping[str, Callable[[Values], Any]]


def carry_out(steps: Sequence[Step[Values]], values: Values, actions: Actions[Values]) -> Values:
    """Take the steps in order, those that are needed; each fills in its field."""
    for step in steps:
        if step.needed(values):
            values = replace(values, **{step.field: actions[step.field](values)})
    return values


def host_state() -> HostState:
    """This machine, read at once."""
    machine = Machine()
    networks = [*machine.networks(4), *machine.networks(6)]
    sysctls = {name: sysctl.number(name) for name in _sysctls(machine.interfaces)}
    return HostState(tuple(machine.addresses), tuple(machine.interfaces), tuple(networks), sysctls)


def _sysctls(interfaces: Sequence[str]) -> Iterator[str]:
    yield "net.ipv4.ip_forward"
    yield "net.ipv6.conf.lo.forwarding"
    for where in ("all", "lo", *interfaces):
        for name in ("accept_local", "arp_ignore", "forwarding", "rp_filter"):
            yield f"net.ipv4.conf.{where}.{name}"


def table(host: HostState) -> DirectorEvidence:
    """The table of this network namespace: as much as decides whether this machine is a director."""
    return carry_out(plan.TABLE, DirectorEvidence(host=host), TABLE_ACTIONS)


def examine(evidence: DirectorEvidence) -> DirectorEvidence:
    """Everything else of the plan."""
    evidence = carry_out(plan.HOST, evidence, HOST_ACTIONS)
    vips = [VipEvidence(vip, evidence.host) for vip in _vips(evidence.services)]
    destinations = list(islice(_destinations(evidence), plan.MOST))
    with ThreadPoolExecutor(plan.PROBERS + 1) as pool:
        listening = pool.submit(carry_out, (plan.CAPTURE_MEANWHILE,), evidence, AFTERWARDS_ACTIONS)
        probed = [pool.submit(carry_out, plan.DESTINATION, one, DESTINATION_ACTIONS) for one in destinations]
        asked = [pool.submit(carry_out, plan.VIP, one, VIP_ACTIONS) for one in vips]
        evidence = replace(
            listening.result(),
            vips=tuple(one.result() for one in asked),
            destinations=tuple(one.result() for one in probed),
        )
    return carry_out(plan.AFTERWARDS, evidence, AFTERWARDS_ACTIONS)


def _vips(services: Sequence[ServiceState]) -> list[Address]:
    """Every VIP once."""
    keys = (service.service.key for service in services)
    return list(dict.fromkeys(key.address for key in keys if key.address))


def _destinations(evidence: DirectorEvidence) -> Iterator[DestinationEvidence]:
    """Those that take new connections, which is not so with weight 0."""
    vips = frozenset(_vips(evidence.services))
    for service in evidence.services:
        for state in service.destinations:
            at = state.destination.address, service.service.key.address
            half_open = evidence.connections.half_open.get(at, 0)
            others = evidence.connections.other_states.get(at, 0)
            if state.destination.weight:
                yield DestinationEvidence(service, state, evidence.host, vips, half_open, others)


def _instance() -> Instance | None:
    try:
        return Instance.open()
    except NotThere:
        return None


def _services(_: DirectorEvidence) -> tuple[ServiceState, ...]:
    with Director() as director:
        return tuple(director.services())


TABLE_ACTIONS: Actions[DirectorEvidence] = {
    "loaded": lambda _: _instance() is not None,
    "services": _services,
}


def _attachments(_: DirectorEvidence) -> tuple[Attachment, ...]:
    return tuple(Attacher(Instance.open()).status())


def _offloads(evidence: DirectorEvidence) -> dict[str, dict[str, bool]]:
    refused = [row.interface for row in evidence.attachments if row.hooks and row.why == REFUSED_XDP]
    return {interface: offloads.merging(offloads.features(interface)) for interface in refused}


def _firewall(_: DirectorEvidence) -> tuple[Rule, ...]:
    return tuple(rules())


def _connections(evidence: DirectorEvidence) -> RecentConnections:
    half_open: Counter[tuple[Address, Address | None]] = Counter()
    others: Counter[tuple[Address, Address | None]] = Counter()
    with Director() as director:
        timeouts = [ticks // director.settings["second"] for ticks in director.settings["tcp_timeout"]]
        longest = dict(zip(TCP_STATES, timeouts, strict=False))
        rows = (row for chunk in director.connection_rows() for row in chunk)
        for row in islice(rows, plan.ROWS):
            _, state, expires, _, cport, vip, _, real, _ = row
            since_last_packet = longest.get(state, 0) - expires
            first = plan.SETTLED if state == "SYN_RECV" else 0
            if cport and first <= since_last_packet < plan.RECENT:
                counts = half_open if state == "SYN_RECV" else others
                counts[unpack(real), unpack(vip)] += 1
    return RecentConnections(half_open, others)


def _outcomes(_: DirectorEvidence) -> dict[str, int]:
    return outcomes.counts(Instance.open())


HOST_ACTIONS: Actions[DirectorEvidence] = {
    "attachments": _attachments,
    "offloads": _offloads,
    "firewall": _firewall,
    "connections": _connections,
    "outcomes_before": _outcomes,
}


def _capture(evidence: DirectorEvidence) -> Capture:
    virtual = evidence.virtual_xdp  # where XDP leaves little to the rest: all of TCP is listened to
    before = {interface: offloads.frames_lost(interface) for interface in virtual}
    segments = overhear(evidence.attached, plan.LISTENING, virtual)
    lost = {interface: offloads.frames_lost(interface) - count for interface, count in before.items()}
    return Capture(tuple(segments), lost)


AFTERWARDS_ACTIONS: Actions[DirectorEvidence] = {"capture": _capture, "outcomes": _outcomes}


def _claimed_by(vip: VipEvidence) -> tuple[str, ...]:
    own = {neighbours.mac_text(neighbours.mac_of(name)) for name in vip.host.interfaces}
    answers = neighbours.ask(vip.interface, vip.address, None, probes.PATIENCE)
    return tuple(mac for mac in answers if mac not in own)


def _answers(vip: VipEvidence) -> bool | None:
    try:
        return claims(vip.interface, [vip.address], plan.SELF_TEST)[vip.address]
    except PylvsError:  # a kernel without TCX
        return None


VIP_ACTIONS: Actions[VipEvidence] = {"claimed_by": _claimed_by, "answers": _answers}


def _route(one: DestinationEvidence) -> Route:
    """The route, in steps that the plan takes only where there is one."""
    assert one.route
    return one.route


def _path(one: DestinationEvidence) -> ForwardingPath:
    assert one.path
    return one.path


def _arp_macs(one: DestinationEvidence) -> tuple[str, ...]:
    route = _route(one)
    return tuple(neighbours.ask(route.interface, one.address, route.source, probes.PATIENCE, 1))


def _arp_probe_macs(one: DestinationEvidence) -> tuple[str, ...]:
    return tuple(neighbours.ask(_route(one).interface, one.address, None, probes.PATIENCE, 1))


def _tcp_to_rip(one: DestinationEvidence) -> Result:
    return probes.connect(one.address, one.port, one.route.source if one.route else None)


def _other_ports(one: DestinationEvidence) -> tuple[int, ...]:
    ports = [port for port in plan.USUAL_PORTS if port != one.port]
    with ThreadPoolExecutor(len(ports)) as pool:
        results = list(pool.map(lambda port: probes.connect(one.address, port), ports))
    return tuple(port for port, result in zip(ports, results, strict=True) if result.reply is Reply.OPEN)


def _arp_sender(one: DestinationEvidence) -> Address | None:
    for _ in range(probes.TRIES):
        unused = probes.free_address(_route(one), one.address, one.vips)
        if unused is None:
            return None
        if sender := probes.announced(_path(one), one.port, unused):
            return sender
    return None


def _meant(one: DestinationEvidence) -> Address | None:
    similar = list(islice(_similar(one), plan.SIMILAR))
    with ThreadPoolExecutor(plan.SIMILAR) as pool:
        results = list(pool.map(lambda address: probes.connect(address, one.port), similar))
    accepting = (address for address, result in zip(similar, results, strict=True) if result.reply is Reply.OPEN)
    return next(accepting, None)


def _similar(one: DestinationEvidence) -> Iterator[Address]:
    """The same host part in each network with a route that no destination of the service has already."""
    taken = {state.destination.address for state in one.service.destinations}
    for network in one.host.networks:
        if network.version != one.address.version or network.num_addresses <= 2:
            continue
        host = int(one.address) & int(network.hostmask)
        found = ip_address(int(network.network_address) | host)
        if found not in taken:
            yield found


DESTINATION_ACTIONS: Actions[DestinationEvidence] = {
    "route": lambda one: route_to(one.address, one.vips),
    "arp_macs": _arp_macs,
    "arp_probe_macs": _arp_probe_macs,
    "neighbour": lambda one: neighbours.known(_route(one).interface, one.address),
    "tcp_to_rip": _tcp_to_rip,
    "tcp_to_vip": lambda one: probes.handshake(_path(one), one.port),
    "tcp_from_outside": lambda one: probes.connect(one.address, one.port, one.outside),
    "ping_of_rip": lambda one: probes.ping_directly(one.address, one.vips),
    "ipv6_replies": lambda one: probes.speaks_ipv6(one.address),
    "ping_of_vip": lambda one: probes.ping(_path(one)),
    "ack_of_vip": lambda one: probes.bare_ack(_path(one), one.port),
    "full_ping_of_vip": lambda one: probes.ping(_path(one), one.tunnel_room),
    "other_ports": _other_ports,
    "arp_sender": _arp_sender,
    "meant": _meant,
}
