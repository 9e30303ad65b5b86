# SPDX-License-Identifier: GPL-2.0-or-later
"""What would become of a packet that opens a connection: the data plane's own functions are asked, none is sent."""

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
from pylvs.model import Address, DestinationState, Endpoint, ForwardingMethod, Protocol, ServiceFlag, ServiceState
from pylvs.rules import AddressType
from pylvs.table.connections import Entries, Entry
from pylvs.table.director import Director
from pylvs.table.outcomes import MEANINGS
from pylvs.table.records import Record, swap16
from pylvs.trace.sight import endpoint
from pylvs.trace.tracing import interface
from pylvs.trace.wanted import PROTOCOLS, BadFilter

MOST = 20  # connections and candidates that are shown
REMEMBERING = ("lblc", "lblcr")
FORWARDS = {
    ForwardingMethod.DR: "FORWARD_DR",
    ForwardingMethod.NAT: "FORWARD_NAT",
    ForwardingMethod.TUN: "FORWARD_TUN",
    ForwardingMethod.FULLNAT: "FORWARD_FULLNAT",
}


def ends(client: str, virtual: str) -> tuple[Endpoint, Endpoint]:
    """Client and VIP, of one family, the VIP with a port; BadFilter, Unreadable."""
    source = Endpoint.parse(client)
    target = Endpoint.parse(virtual)
    if target.port is None:
        raise BadFilter(f"'{virtual}' needs a port, from 1 to 65535; run with: {Endpoint(target.address, 80)}")
    if source.address.version != target.address.version:
        raise BadFilter(f"{source.address} and {target.address} are of two families: no packet has both")
    return source, target


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
                program.context, 0, client=pack(self.client), virtual=pack(self.virtual), cport=swap16(self.cport),
                vport=swap16(self.vport), protocol=int(self.protocol), family=self.virtual.version, mark=self.mark,
            )  # fmt: skip
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


def explain(client: str, virtual: str, protocol: str, mark: int) -> dict[str, Any]:
    """What would happen, point by point: each a sentence or several. NotThere, BadFilter."""
    source, target = ends(client, virtual)
    Instance.open()
    with Director() as director:
        transport = Protocol(PROTOCOLS[protocol])
        case = Case(director, source.address, source.port or 0, target.address, target.port or 0, transport, mark)
        case.ask()
        return dict(_points(case)) | {"outcome": case.outcome, "meaning": MEANINGS[case.outcome]}


def _points(case: Case) -> Iterator[tuple[str, str | list[str]]]:
    """The points in the order in which the packet meets them."""
    what = "SYN" if case.protocol is Protocol.TCP else "INIT" if case.protocol is Protocol.SCTP else "datagram"
    client, virtual = endpoint(case.client, case.cport), endpoint(case.virtual, case.vport)
    yield "packet", f"{case.protocol.name} {what} {client} > {virtual}"
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
    if not case.hooks:
        card = case.card or "the network"
        return f"it comes in by {card}, where the data plane is not; type: pylvs attach {case.card}".rstrip()
    places = ", ".join(f"{card} at {' and then '.join(hooks)}" for card, hooks in case.hooks.items())
    return f"it comes in by {places}"


def _service(case: Case) -> str:
    if case.service is None:
        marks = (
            " (a mark that netfilter gives is only known by --mark)"
            if case.director.settings["fwmark_services"]
            else ""
        )
        return f"none: no service has this address, port and protocol{marks}"
    key = case.service.service.key
    why = "by its firewall mark" if key.fwmark else "by address and port" if key.port else "by address, for all ports"
    return f"{key.option}, scheduler {case.service.service.scheduler}, found {why}"


def _connections(case: Case) -> str | list[str]:
    """The connection, or those that the client has."""
    if case.answer["connection"]:
        return f"known: {_entry(case, case.entry(case.answer['connection']))}"
    raw = pack(case.client)
    live = case.entries.live(case.answer["now"])
    own = (entry for entry in live if entry.client == raw and not case.entries.is_template(entry))
    there = [_entry(case, entry) for entry in islice(own, MOST + 1)]
    if not there:
        return "none of this client is in the table"
    more = [f"and more than {MOST}"] if len(there) > MOST else []
    return ["of this client, from other ports:" if case.cport else "of this client:", *there[:MOST], *more]


def _entry(case: Case, entry: Entry) -> str:
    real = case.director.destination_at(entry.destination).destination.address
    client = endpoint(unpack(entry.client), swap16(entry.cport))
    virtual = endpoint(unpack(entry.virtual), swap16(entry.vport))
    return f"{client} > {virtual} at {endpoint(real, swap16(entry.rport))}, {case.entries.state(entry)}"


def _template(case: Case) -> str:
    assert case.service
    if not case.answer["template"]:
        return f"none: the scheduler decides, and for {case.service.service.timeout} s a template will remember"
    entry = case.entry(case.answer["template"])
    left = (entry.expires - case.answer["now"] & 0xFFFFFFFF) // case.director.settings["second"]
    real = case.director.destination_at(entry.destination).destination.address
    return f"of {unpack(entry.client)}: it goes to {real}, for {left} s more"


def _candidates(service: ServiceState) -> Iterator[str]:
    for state in service.destinations[:MOST]:
        there = state.destination
        text = f"{endpoint(there.address, there.port)}  weight {there.weight}, {state.active} active, "
        text += f"{state.inactive} inactive"
        upper = there.upper_threshold
        full = upper and state.active + state.inactive >= upper
        yield (
            text
            + (f", threshold {upper}" if upper else "")
            + (": overloaded" if full else "")
            + ("" if there.weight else ": quiesced")
        )
    if len(service.destinations) > MOST:
        yield f"and {len(service.destinations) - MOST} more"
    if not service.destinations:
        yield "none"


def _scheduler(case: Case) -> str:
    assert case.service
    name = case.service.service.scheduler
    if case.remembered:
        return f"{name} is not asked"
    if case.chosen is None:
        return f"{name} finds no destination that can take it"
    there = endpoint(case.chosen.destination.address, case.chosen.destination.port)
    text = f"{name} would choose {there}"
    if name in REMEMBERING:
        known = ", ".join(_remembered(case))
        text += ", the least loaded" + (f"; but first what it remembers for {case.virtual}: {known}" if known else "")
    if name == "twos":
        text += " this time: two are drawn by lot"
    if case.answer["pressed"]:
        other = case.director.destination_at(case.answer["consistent"]).destination.address
        text += f"; where the table is full, the consistent hash {other}"
    return text


def _remembered(case: Case) -> Iterator[str]:
    """lblc, lblcr: the destinations that have had this address."""
    key = pack(case.virtual) + struct.pack("=II", case.answer["service"], 0)
    raw = case.director.instance.map("localities").lookup(key)
    slots = struct.unpack(f"={len(raw) // 4}I", raw)[:-2] if raw else ()
    for slot in filter(None, slots):
        there = case.director.destination_at(slot).destination
        yield endpoint(there.address, there.port)


def _method(case: Case, chosen: DestinationState) -> str:
    there, tunnel = chosen.destination, chosen.destination.tunnel
    real = endpoint(there.address, case.rport)
    client, virtual = endpoint(case.client, case.cport), endpoint(case.virtual, case.vport)
    match there.method:
        case ForwardingMethod.DR:
            return f"DR: it stays {client} > {virtual}; only the Ethernet addresses and the TTL change"
        case ForwardingMethod.NAT:
            return f"NAT: it becomes {client} > {real}; the reply comes back through here"
        case ForwardingMethod.TUN:
            way = case.way
            return f"TUN: it goes in {tunnel.type.value.upper()} {way.source if way else '?'} > {there.address}"
        case _:
            own = ", ".join(map(str, there.local_addresses)) or "?"
            return f"FULLNAT: it becomes {own} (a free port) > {real}; the reply comes back through here"


def _hops(case: Case, chosen: DestinationState) -> Iterator[str]:
    """What the data plane remembers, and what the routing table has."""
    if case.local:
        yield "none: the destination is this host"
        return
    if case.service and not case.remembered:
        known = case.director.next_hop_of(case.service.service.key, chosen.destination)
        yield _known(case, known)
    way = case.way
    if way is None:
        yield "the routing table has no way to it"
    else:
        yield f"the routing table: {way.next_hop(chosen.destination.address)} by {way.interface}, MTU {way.mtu}"


def _known(case: Case, known: dict[str, Any]) -> str:
    if not known["checked"] or not known["ifindex"]:
        return "the data plane has not looked yet: the first packet looks, at the TC hook"
    age = (case.answer["now"] - known["checked"] & 0xFFFFFFFF) / case.director.settings["second"]
    mac = known["neighbour"].hex(":") if any(known["neighbour"]) else "not resolved"
    fresh = "" if age < 1 else "; TC looks again"
    return (
        f"the data plane: {unpack(known['gateway'])} ({mac}) by {interface(known['ifindex'])}, {age:.0f} s ago{fresh}"
    )


def show(said: dict[str, Any]) -> str:
    """For a person."""
    rows = {name: text for name, text in said.items() if name != "meaning"}
    rows["outcome"] = f"{said['outcome']} ({said['meaning']})"
    lines = []
    for name, text in rows.items():
        several = [text] if isinstance(text, str) else text
        lines += [f"{name if not place else '':<12}{one}" for place, one in enumerate(several)]
    return "\n".join(lines)
