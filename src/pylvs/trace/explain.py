# SPDX-License-Identifier: GPL-2.0-or-later
"""What would become of a packet that opens a connection. The data plane's own functions are asked; none is sent."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from pylvs.addresses import pack, unpack
from pylvs.dataplane.attach import Attacher
from pylvs.dataplane.instance import Instance
from pylvs.host.locality import Locality
from pylvs.host.routes import Route, route_to
from pylvs.model import (
    Address,
    AddressType,
    DestinationState,
    Endpoint,
    ForwardingMethod,
    Protocol,
    ServiceFlag,
    ServiceKey,
    ServiceState,
)
from pylvs.table.connections import Entries, Entry
from pylvs.table.director import Director
from pylvs.table.outcomes import MEANINGS
from pylvs.table.records import Record, swap16
from pylvs.trace.packet import endpoint
from pylvs.trace.tracing import interface
from pylvs.trace.wanted import BadFilter

MOST = 20  # connections, and candidates, that are shown
BY_ADDRESS = ("lblc", "lblcr")  # schedulers that remember which destinations had an address
FORWARDS = {
    ForwardingMethod.DR: "FORWARD_DR",
    ForwardingMethod.NAT: "FORWARD_NAT",
    ForwardingMethod.TUN: "FORWARD_TUN",
    ForwardingMethod.FULLNAT: "FORWARD_FULLNAT",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of a packet: the outcome by name and in words, and why, point by point."""

    outcome: str
    meaning: str
    service: ServiceKey | None  # the service that takes it
    destination: Endpoint | None  # where it would go, with the port at which the real server gets it
    points: dict[str, str | list[str]]  # in the order in which the packet meets them: a sentence or several

    def document(self) -> dict[str, Any]:
        """Points, outcome and meaning as a JSON-serialisable dict."""
        return self.points | {"outcome": self.outcome, "meaning": self.meaning}


@dataclass
class Case:
    """One packet, and what the data plane says that it would do with it."""

    director: Director
    client: Address
    cport: int
    virtual: Address
    vport: int
    protocol: Protocol
    mark: int = 0
    answer: dict[str, Any] = field(default_factory=dict)

    def ask(self) -> None:
        """Run the data plane's `explain`."""
        record = Record(self.director.layouts["explain_args"])
        with self.director.instance.syscall_program("explain", record.size) as program:
            record.pack_into(
                program.context,
                0,
                client=pack(self.client),
                virtual=pack(self.virtual),
                cport=swap16(self.cport),
                vport=swap16(self.vport),
                protocol=int(self.protocol),
                family=self.virtual.version,
                mark=self.mark,
            )
            program()
            self.answer = dict(zip(record.names, record.unpack_from(program.context, 0), strict=True))

    @cached_property
    def entries(self) -> Entries:
        return Entries(self.director.memory.plane, self.director.layouts)

    def entry(self, number: int) -> Entry:
        """The entry of a number + 1."""
        return self.entries.at(number - 1)

    @cached_property
    def service(self) -> ServiceState | None:
        """The service, with its destinations."""
        if not self.answer["service"]:
            return None
        return self.director.service(self.director.service_at(self.answer["service"]).key)

    @cached_property
    def remembered(self) -> Entry | None:
        """The entry that decides, if there is one: the connection's, or a persistent client's."""
        number = self.answer["connection"] or self.answer["template"]
        return self.entry(number) if number else None

    @cached_property
    def slot(self) -> int:
        """Of the destination that it would go to, 0: none."""
        if self.remembered:
            return self.remembered.destination
        allowed = self.service and (self.service.service.key.fwmark or self._port_fits)
        persistent = self.service and self.service.service.flags & ServiceFlag.PERSISTENT
        return int(self.answer["destination"]) if allowed or persistent else 0

    @property
    def _port_fits(self) -> bool:
        return self.service is not None and self.service.service.key.port == self.vport

    @cached_property
    def chosen(self) -> DestinationState | None:
        return self.director.destination_at(self.slot) if self.slot else None

    @cached_property
    def local(self) -> bool:
        """Whether the destination is this host."""
        return self.chosen is not None and (
            Locality().address_type(self.chosen.destination.address) is AddressType.LOCAL
        )

    @cached_property
    def way(self) -> Route | None:
        """What the routing table has for the destination."""
        return route_to(self.chosen.destination.address) if self.chosen else None

    @property
    def rport(self) -> int:
        assert self.chosen
        if self.remembered and self.answer["connection"]:
            return swap16(self.remembered.rport)
        keep = self.service and self.service.service.flags & ServiceFlag.PERSISTENT and not self._port_fits
        return self.vport if keep else self.chosen.destination.port or self.vport

    @property
    def outcome(self) -> str:
        """By name."""
        if not self.hooks:
            return "PASS_NOT_OURS"
        if self.service is None and not self.answer["connection"]:
            return "PASS_NOT_OURS"
        if self.chosen is None:
            bypass = self.service and self.service.service.key.fwmark and self.director.settings["cache_bypass"]
            return "PASS_BYPASS" if bypass else "REFUSE_NO_DESTINATION"
        if self.local and self.chosen.destination.method is not ForwardingMethod.NAT:
            return "PASS_LOCAL"
        return FORWARDS[self.chosen.destination.method] if self.way or self.local else "REFUSE_NO_ROUTE"

    @cached_property
    def hooks(self) -> dict[str, tuple[str, ...]]:
        """By which cards it may come in, with the hooks there: the one of the client's route, else all."""
        rows = {row.interface: row.hooks for row in Attacher(self.director.instance).status() if row.hooks}
        card = self.card
        return {card: rows.get(card, ())} if card and rows.get(card) else {} if card else rows

    @cached_property
    def card(self) -> str:
        """Where the client is, by the routing table; '' for nowhere, or this host."""
        way = route_to(self.client)
        return way.interface if way else ""


def explain(client: Endpoint, virtual: Endpoint, protocol: Protocol = Protocol.TCP, mark: int = 0) -> Explanation:
    """What would become of a packet from a client to a VIP that opens a connection; `mark`: netfilter's mark on it.

    Without a client's port all connections of the client are shown. NotThere where nothing is loaded; BadFilter.
    """
    _check(client, virtual)
    Instance.open()
    with Director() as director:
        case = Case(director, client.address, client.port or 0, virtual.address, virtual.port or 0, protocol, mark)
        case.ask()
        return Explanation(
            outcome=case.outcome,
            meaning=MEANINGS[case.outcome],
            service=case.service.service.key if case.service else None,
            destination=Endpoint(case.chosen.destination.address, case.rport) if case.chosen else None,
            points=dict(_points(case)),
        )


def _check(client: Endpoint, virtual: Endpoint) -> None:
    """BadFilter unless both are of one family and the VIP has a port."""
    if virtual.port is None:
        raise BadFilter(f"the VIP {virtual} needs a port, from 1 to 65535; run with: {Endpoint(virtual.address, 80)}")
    if client.address.version != virtual.address.version:
        raise BadFilter(f"{client.address} and {virtual.address} are of two families: no packet has both")


FIRST_PACKETS = {Protocol.TCP: "SYN", Protocol.SCTP: "INIT", Protocol.UDP: "datagram"}


def _points(case: Case) -> Iterator[tuple[str, str | list[str]]]:
    """The points in the order in which the packet meets them."""
    client = endpoint(case.client, case.cport)
    virtual = endpoint(case.virtual, case.vport)
    yield "packet", f"{case.protocol.name} {FIRST_PACKETS[case.protocol]} {client} > {virtual}"
    yield "hook", _hook(case)
    if case.answer["mark"]:
        yield "mark", f"{case.answer['mark']}, by {'--mark' if case.mark else 'pylvs mark'}"
    yield "service", _service(case)
    yield "connection", _connections(case)
    if case.service is None:
        return
    if case.service.service.flags & ServiceFlag.PERSISTENT:
        yield "template", _template(case)
    yield "candidates", list(_candidates(case.service))
    yield "scheduler", _scheduler(case)
    if case.chosen:
        yield "method", _method(case, case.chosen)
        yield "next hop", list(_hops(case, case.chosen))


def _hook(case: Case) -> str:
    """Where it meets the data plane."""
    if not case.hooks:
        ingress = case.card or "the network"
        return f"it comes in by {ingress}, where the data plane is not; run: pylvs attach {case.card}".rstrip()
    places = (f"{interface} at {' and then '.join(hooks)}" for interface, hooks in case.hooks.items())
    return f"it comes in by {', '.join(places)}"


def _service(case: Case) -> str:
    if case.service is None:
        text = "none: no service has this address, port and protocol"
        if case.director.settings["fwmark_services"]:
            text += " (a mark that netfilter gives is only known by --mark)"
        return text
    key = case.service.service.key
    why = "by its firewall mark" if key.fwmark else "by address and port" if key.port else "by address, for all ports"
    return f"{key.option}, scheduler {case.service.service.scheduler}, found {why}"


def _connections(case: Case) -> str | list[str]:
    """The packet's connection if it is known, else those that the client has."""
    if case.answer["connection"]:
        entry = case.entry(case.answer["connection"])
        return f"known: {_entry(case, entry)}"
    raw = pack(case.client)
    live = case.entries.live(case.answer["now"])
    own = (entry for entry in live if entry.client == raw and not case.entries.is_template(entry))
    shown = [_entry(case, entry) for entry in islice(own, MOST + 1)]
    if not shown:
        return "none of this client is in the table"
    if len(shown) > MOST:
        shown[MOST] = "and more"
    head = "of this client, from other ports:" if case.cport else "of this client:"
    return [head, *shown]


def _entry(case: Case, entry: Entry) -> str:
    """`CIP:PORT > VIP:PORT at RIP:PORT, STATE`."""
    real = case.director.destination_at(entry.destination).destination.address
    client = endpoint(unpack(entry.client), swap16(entry.cport))
    virtual = endpoint(unpack(entry.virtual), swap16(entry.vport))
    return f"{client} > {virtual} at {endpoint(real, swap16(entry.rport))}, {case.entries.state(entry)}"


def _template(case: Case) -> str:
    assert case.service
    if not case.answer["template"]:
        return f"none: the scheduler decides, and for {case.service.service.timeout} s a template will remember"
    entry = case.entry(case.answer["template"])
    ticks = (entry.expires - case.answer["now"]) & 0xFFFFFFFF
    left = ticks // case.director.settings["second"]
    real = case.director.destination_at(entry.destination).destination.address
    return f"of {unpack(entry.client)}: it goes to {real}, for {left} s more"


def _candidates(service: ServiceState) -> Iterator[str]:
    """A line for each destination of the service."""
    for state in service.destinations[:MOST]:
        yield _candidate(state)
    if len(service.destinations) > MOST:
        yield f"and {len(service.destinations) - MOST} more"
    if not service.destinations:
        yield "none"


def _candidate(state: DestinationState) -> str:
    there, upper = state.destination, state.destination.upper_threshold
    name = endpoint(there.address, there.port)
    text = f"{name}  weight {there.weight}, {state.active} active, {state.inactive} inactive"
    if upper:
        text += f", threshold {upper}"
    if upper and state.active + state.inactive >= upper:
        text += ": overloaded"
    if not there.weight:
        text += ": quiesced"
    return text


def _scheduler(case: Case) -> str:
    """What the scheduler would choose, or why it is not asked."""
    assert case.service
    name = case.service.service.scheduler
    if case.remembered:
        return f"{name} is not asked"
    if case.chosen is None:
        return f"{name} finds no destination that can take it"
    there = endpoint(case.chosen.destination.address, case.chosen.destination.port)
    text = f"{name} would choose {there}"
    if name in BY_ADDRESS:
        text += ", the least loaded"
        if known := ", ".join(_remembered(case)):
            text += f"; but first what it remembers for {case.virtual}: {known}"
    if name == "twos":
        text += " this time: two are drawn by lot"
    if case.answer["pressed"]:
        other = case.director.destination_at(case.answer["consistent"]).destination.address
        text += f"; where the table is full, the consistent hash {other}"
    return text


def _remembered(case: Case) -> Iterator[str]:
    """lblc, lblcr: the destinations that have this VIP in the scheduler's memory."""
    key = pack(case.virtual) + struct.pack("=II", case.answer["service"], 0)
    raw = case.director.instance.map("localities").lookup(key)
    slots = struct.unpack(f"={len(raw) // 4}I", raw)[:-2] if raw else ()
    for slot in filter(None, slots):
        there = case.director.destination_at(slot).destination
        yield endpoint(there.address, there.port)


def _method(case: Case, chosen: DestinationState) -> str:
    """What the forwarding method makes of the packet."""
    there = chosen.destination
    real = endpoint(there.address, case.rport)
    client = endpoint(case.client, case.cport)
    virtual = endpoint(case.virtual, case.vport)
    match there.method:
        case ForwardingMethod.DR:
            return f"DR: it stays {client} > {virtual}; only the Ethernet addresses and the TTL change"
        case ForwardingMethod.NAT:
            return f"NAT: it becomes {client} > {real}; the reply comes back through here"
        case ForwardingMethod.TUN:
            source = case.way.source if case.way else "?"
            return f"TUN: it goes in {there.tunnel.type.value.upper()} {source} > {there.address}"
        case _:
            own = ", ".join(map(str, there.local_addresses)) or "?"
            return f"FULLNAT: it becomes {own} (a free port) > {real}; the reply comes back through here"


def _hops(case: Case, chosen: DestinationState) -> Iterator[str]:
    """The next hop as the data plane remembers it, and as the routing table has it."""
    if case.local:
        yield "none: the destination is this host"
        return
    if case.service and not case.remembered:
        known = case.director.next_hop_of(case.service.service.key, chosen.destination)
        yield _known(case, known)
    route = case.way
    if route is None:
        yield "the routing table has no route to it"
    else:
        yield f"the routing table: {route.next_hop(chosen.destination.address)} by {route.interface}, MTU {route.mtu}"


def _known(case: Case, known: dict[str, Any]) -> str:
    """The next hop in the record of a destination, and how old it is."""
    if not known["checked"] or not known["ifindex"]:
        return "the data plane has not looked yet: the first packet looks, at the TC hook"
    ticks = (case.answer["now"] - known["checked"]) & 0xFFFFFFFF
    age = ticks / case.director.settings["second"]
    mac = known["neighbour"].hex(":") if any(known["neighbour"]) else "not resolved"
    text = f"the data plane: {unpack(known['gateway'])} ({mac}) by {interface(known['ifindex'])}, {age:.0f} s ago"
    return text if age < 1 else f"{text}; TC looks again"


def show(explanation: Explanation) -> str:
    """The explanation for a person: a column of names, and one of sentences."""
    outcome = f"{explanation.outcome} ({explanation.meaning})"
    lines = []
    for name, text in (explanation.points | {"outcome": outcome}).items():
        sentences = [text] if isinstance(text, str) else text
        for number, sentence in enumerate(sentences):
            lines.append(f"{'' if number else name:<12}{sentence}")
    return "\n".join(lines)
