# SPDX-License-Identifier: GPL-2.0-or-later
"""What would become of a packet that opens a connection: the data plane's own functions are asked, none is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from itertools import islice
from typing import Any

from pylvs.dataplane.addresses import pack, unpack
from pylvs.dataplane.attach import Attacher
from pylvs.dataplane.entries import Entries
from pylvs.dataplane.instance import Instance
from pylvs.dataplane.records import Record, swap16
from pylvs.director import Director
from pylvs.doctor import probes
from pylvs.doctor.examination import service_words
from pylvs.model import Address, DestinationState, ForwardingMethod, Protocol, ServiceFlag, ServiceState
from pylvs.outcomes import MEANINGS
from pylvs.rules import AddressType
from pylvs.trace.sight import endpoint
from pylvs.trace.tracing import interface
from pylvs.trace.wanted import PROTOCOLS, BadFilter

MOST = 20  # connections and candidates that are shown


def address_and_port(text: str, need: bool) -> tuple[Address, int]:
    """'10.0.0.1', '10.0.0.1:80' or '[fd00::1]:80'; BadFilter. `need`: a port must be there."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not text.startswith("[")) or text.endswith("]"):
        host, port = text, ""
    try:
        address = ip_address(host.strip("[]"))
        number = int(port or 0)
    except ValueError:
        raise BadFilter(f"no address '{text}'; type 10.0.0.1:80 or [fd00::1]:80") from None
    if (need and not port) or not 0 <= number < 1 << 16:
        raise BadFilter(f"'{text}' needs a port, from 1 to 65535; type {endpoint(address, 80)}")
    return address, number


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
        at = self.constants["EXPLAIN_AT"]
        frame = bytearray(at + record.size)
        record.pack_into(
            frame, at, client=pack(self.client), virtual=pack(self.virtual), cport=swap16(self.cport),
            vport=swap16(self.vport), protocol=int(self.protocol), family=self.virtual.version, mark=self.mark,
        )  # fmt: skip
        with self.director.instance.program("explain") as program:
            done = program.test_run(bytes(frame))
        self.answer = dict(zip(record.names, record.unpack_from(done.data, at), strict=True))

    @cached_property
    def constants(self) -> dict[str, int]:
        return self.director.layouts.constants

    def says(self, flag: str) -> bool:
        """Whether the answer has this flag of `enum explain_flag`."""
        return bool(self.answer["flags"] & self.constants[flag])

    @cached_property
    def entries(self) -> Entries:
        return Entries(self.director.instance, self.director.layouts)

    def entry(self, number: int) -> tuple[Any, ...]:
        """The entry of a number + 1."""
        return self.entries.record.unpack_from(self.entries.table.memory, (number - 1) * self.entries.record.size)

    @cached_property
    def service(self) -> ServiceState | None:
        """The service, with its destinations."""
        if not self.answer["service"]:
            return None
        return self.director.service(self.director.service_at(self.answer["service"]).key)

    @property
    def is_remembered(self) -> bool:
        """Whether a connection decides, or a persistent client's template."""
        return bool(self.answer["connection"] or self.answer["template"])

    @cached_property
    def chosen(self) -> DestinationState | None:
        """The destination that it would go to."""
        slot = self.answer["destination"]
        return self.director.destination_at(slot) if slot else None

    @cached_property
    def local(self) -> bool:
        """Whether the destination is this host."""
        return self.chosen is not None and (
            self.director.address_type(self.chosen.destination.address) is AddressType.LOCAL
        )

    @cached_property
    def way(self) -> probes.Way | None:
        """What the routing table has for the destination."""
        return probes.way_to(self.chosen.destination.address) if self.chosen else None

    @property
    def rport(self) -> int:
        return swap16(self.answer["rport"])

    @property
    def outcome(self) -> str:
        """By name; a packet that meets no hook is not ours."""
        names = {number: name for name, number in self.director.layouts.enum("outcome").items()}
        return names[self.answer["outcome"]] if self.hooks else "PASS_NOT_OURS"

    @cached_property
    def hooks(self) -> dict[str, tuple[str, ...]]:
        """By which interfaces it may come in, with the hooks there: the one of the client's route, else all."""
        rows = {row.interface: row.hooks for row in Attacher(self.director.instance).status() if row.hooks}
        card = self.card
        return {card: rows.get(card, ())} if card and rows.get(card) else {} if card else rows

    @property
    def card(self) -> str:
        """The interface towards the client, by the routing table; '' for none, or this host itself."""
        return interface(self.answer["ingress"])


def explain(client: str, virtual: str, protocol: str, mark: int) -> dict[str, Any]:
    """What would happen, point by point: each a sentence or several. NotThere, BadFilter."""
    (cip, cport), (vip, vport) = address_and_port(client, need=False), address_and_port(virtual, need=True)
    if cip.version != vip.version:
        raise BadFilter(f"{cip} and {vip} are of two families: no packet has both")
    Instance.open()
    with Director() as director:
        case = Case(director, cip, cport, vip, vport, Protocol(PROTOCOLS[protocol]), mark)
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
    return f"{service_words(case.service)}, scheduler {case.service.service.scheduler}, found {why}"


def _connections(case: Case) -> str | list[str]:
    """The connection, or those that the client has."""
    if case.answer["connection"]:
        return f"known: {_entry(case, case.entry(case.answer['connection']))}"
    raw = pack(case.client)
    own = (e for e in case.entries.raw(case.answer["now"]) if e[2] == raw and not e[11] & case.entries.template)
    there = [_entry(case, entry) for entry in islice(own, MOST + 1)]
    if not there:
        return "none of this client is in the table"
    more = [f"and more than {MOST}"] if len(there) > MOST else []
    return ["of this client, from other ports:" if case.cport else "of this client:", *there[:MOST], *more]


def _entry(case: Case, entry: tuple[Any, ...]) -> str:
    real = case.director.destination_at(entry[6]).destination.address
    ends = [endpoint(unpack(entry[2]), swap16(entry[4])), endpoint(unpack(entry[3]), swap16(entry[5]))]
    return f"{' > '.join(ends)} at {endpoint(real, swap16(entry[8]))}, {case.entries.state(entry)}"


def _template(case: Case) -> str:
    assert case.service
    if not case.answer["template"]:
        return f"none: the scheduler decides, and for {case.service.service.timeout} s a template will remember"
    entry = case.entry(case.answer["template"])
    left = (entry[1] - case.answer["now"] & 0xFFFFFFFF) // case.director.settings["second"]
    real = case.director.destination_at(entry[6]).destination.address
    return f"of {unpack(entry[2])}: it goes to {real}, for {left} s more"


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
    if case.is_remembered:
        return f"{name} is not asked"
    if case.chosen is None:
        return f"{name} finds no destination that can take it"
    there = endpoint(case.chosen.destination.address, case.chosen.destination.port)
    text = f"{name} would choose {there}"
    if case.says("EXPLAIN_REMEMBERS"):
        known = ", ".join(_remembered(case))
        text += ", the least loaded" + (f"; but first what it remembers for {case.virtual}: {known}" if known else "")
    if case.says("EXPLAIN_RANDOM"):
        text += " this time: two are drawn by lot"
    if case.says("EXPLAIN_PRESSED"):
        other = case.director.destination_at(case.answer["consistent"]).destination.address
        text += f"; where the table is full, the consistent hash {other}"
    return text


def _remembered(case: Case) -> Iterator[str]:
    """The destinations that have served this address."""
    for slot in filter(None, memoryview(case.answer["remembered"]).cast("I")):
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
    if case.service and not case.is_remembered:
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
