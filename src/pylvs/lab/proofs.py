# SPDX-License-Identifier: GPL-2.0-or-later
"""The experiment: each proof looks at the running lab and reports what it saw."""

from __future__ import annotations

import http.client
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from pylvs.errors import PylvsError
from pylvs.host import neighbours, netns, packets
from pylvs.host.capture import Capture
from pylvs.lab import build, client, listing
from pylvs.lab.build import Done, Watcher
from pylvs.lab.httpd import MEGABYTE
from pylvs.lab.steps import SWITCH, Step, add_destination, command, delete_destination, quiesce_destination
from pylvs.lab.topology import Machine, Topology
from pylvs.model import Endpoint, ForwardingMethod

REQUESTS = 20
HELD = 6
MEGABYTES = 4
ALL_ANSWERS = 0.4  # seconds in which everybody who claims the VIP answers
FIRST_ANSWER = 5.0  # seconds for the first answer where nobody was so quick, as on a busy machine


@dataclass(frozen=True, slots=True)
class Seen:
    """What a proof saw: a sentence, rows behind it, and `why` it is not as it should be ('' when it is)."""

    saw: str
    rows: tuple[str, ...] = ()
    why: str = ""
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.why


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim about the lab, how a person would look, and the look itself."""

    claim: str
    typed: str
    look: Callable[[Topology], Seen]


def carry_out(proof: Proof, lab: Topology) -> Seen:
    """Look; whatever goes wrong in looking is why the proof fails."""
    try:
        return proof.look(lab)
    except (OSError, http.client.HTTPException) as error:
        return Seen("no answer", why=str(error) or type(error).__name__)
    except PylvsError as error:
        return Seen("nothing to see", why=str(error))


def at_client(lab: Topology) -> str:
    return lab.namespace(lab.client.name)


def by_address(lab: Topology) -> dict[str, Machine]:
    """The real servers by the address that their page gives."""
    return {str(machine.address): machine for machine in lab.servers}


def direct(lab: Topology) -> Seen:
    """Every real server answers at its own address."""
    rows, wrong = [], ""
    with netns.inside(at_client(lab)):
        for machine in lab.servers:
            body = client.get(machine.address, lab.port).body.decode().strip()
            rows.append(f"{machine.name}: {body}")
            if body != f"from {machine.address}":
                wrong = f"{machine.name} answered '{body}'"
    return Seen(f"{len(rows)} real servers, each with its own page", tuple(rows), wrong)


def alternates(lab: Topology) -> Seen:
    """The VIP answers, from each real server in turn."""
    with netns.inside(at_client(lab)):
        order = [client.get(lab.vip, lab.port).server for _ in range(REQUESTS)]
    counts = Counter(order)
    expected = {str(machine.address) for machine in lab.real_servers}
    if set(counts) - expected:
        why = f"an answer came from {', '.join(set(counts) - expected)}, which is not in service"
    elif any(first == second for first, second in itertools.pairwise(order)):
        why = f"not in turn: {' '.join(last_part(server) for server in order)}"
    else:
        why = ""
    facts: dict[str, object] = {"order": order, "counts": dict(counts)}
    saw = f"{len(order)} requests, answered by {' '.join(last_part(server) for server in order[:8])} …"
    return Seen(saw, bars(lab, counts), why, facts)


def last_part(server: str) -> str:
    """The end of an address, which is what tells the lab's machines apart."""
    return "." + server.rsplit(".", 1)[-1].rsplit(":", 1)[-1]


def bars(lab: Topology, counts: Counter[str]) -> tuple[str, ...]:
    """A row and a bar for each real server that answered."""
    most = max(counts.values(), default=1)
    names = by_address(lab)
    rows = []
    for server, number in sorted(counts.items()):
        name = names[server].name if server in names else "?"
        rows.append(f"{name:<7} {server:<16} {number:>5}  {'█' * round(30 * number / most)}")
    return tuple(rows)


def vip_owner(lab: Topology) -> Seen:
    """Only the director answers for the VIP, asked on the client's segment."""
    port, director = lab.client.ports[0], lab.director.ports[0]
    with netns.inside(at_client(lab)):
        macs = neighbours.ask(port.interface, lab.vip, port.address.ip, ALL_ANSWERS)
        macs = macs or neighbours.ask(port.interface, lab.vip, port.address.ip, FIRST_ANSWER, enough=1)
    names = _names_by_mac(lab)
    rows = tuple(f"{lab.vip} is at {mac} ({names.get(mac, 'nobody of the lab')})" for mac in macs)
    if not macs:
        why = "nobody answered"
    elif set(macs) != {director.mac}:
        others = sorted({names.get(mac, mac) for mac in macs} - {lab.director.name})
        why = f"{', '.join(others)} answered too; is the VIP hidden there (arp_ignore=1)?"
    else:
        why = ""
    return Seen(f"{len(macs)} answer, from {', '.join(names.get(mac, mac) for mac in macs) or 'nobody'}", rows, why)


def _names_by_mac(lab: Topology) -> dict[str, str]:
    """The machine of each MAC address of the lab."""
    return {port.mac: machine.name for machine in lab.machines for port in machine.ports}


def sockets(lab: Topology) -> Seen:
    """The director has no socket of the connections that it forwards: the real servers have them all."""
    with netns.inside(at_client(lab)), client.held(lab.vip, lab.port, HELD) as answers:
        listed = {m.name: _tcp_sockets(lab, m) for m in (lab.director, *lab.real_servers)}
    rows = tuple(f"{name}: {line}" for name, lines in listed.items() for line in lines[:3])
    rows += () if listed[lab.director.name] else (f"{lab.director.name}: no TCP socket at all",)
    there = sum(len(listed[machine.name]) for machine in lab.real_servers)
    why = ""
    if listed[lab.director.name]:
        why = f"{lab.director.name} has a socket: {listed[lab.director.name][0]}"
    elif there < len(answers):
        why = f"{len(answers)} connections are open, but the real servers show {there}"
    saw = f"{len(answers)} connections open: {len(listed[lab.director.name])} sockets on {lab.director.name}, "
    return Seen(saw + f"{there} on the real servers", rows, why)


def _tcp_sockets(lab: Topology, machine: Machine) -> list[str]:
    """The machine's established connections of the service, as `ss -natp` prints them, blanks squeezed."""
    lines = build.run(lab, machine.name, ["ss", "-Hnatp", "state", "established"]).splitlines()
    return [" ".join(line.split()) for line in lines if f":{lab.port} " in line]


def listed_connections(lab: Topology) -> Seen:
    """`pylvsadm -lnc` has each open connection, with the real server that answered it."""
    with netns.inside(at_client(lab)), client.held(lab.vip, lab.port, HELD) as answers:
        rows = {row.client: row for row in listing.connections(lab)}
    wrong, shown = [], []
    for answer in answers:
        key = str(Endpoint(lab.client.address, answer.cport))
        row = rows.get(key)
        if row is None:
            wrong.append(f"{key} is missing")
            continue
        shown.append(f"{row.protocol} {row.expire:<6} {row.state:<11} {row.client} {row.virtual} {row.real}")
        wrong += _differences(lab, row, answer.server)
    saw = f"{len(shown)} of {len(answers)} open connections listed"
    return Seen(saw, tuple(shown), "; ".join(wrong[:2]))


def _differences(lab: Topology, row: listing.ConnectionRow, server: str) -> list[str]:
    should = {
        "protocol": (row.protocol, "TCP"),
        "state": (row.state, "ESTABLISHED"),
        "virtual service": (row.virtual, str(Endpoint(lab.vip, lab.port))),
        "real server": (row.real, str(Endpoint(ip_address(server), lab.port))),
    }
    found = [f"{row.client}: {what} {is_} instead of {want}" for what, (is_, want) in should.items() if is_ != want]
    minutes, _, seconds = row.expire.partition(":")
    if not (minutes.isdigit() and seconds.isdigit() and int(minutes) * 60 + int(seconds) > 0):
        found.append(f"{row.client}: expiry {row.expire}")
    return found


@dataclass(frozen=True, slots=True)
class Share:
    """What a transfer cost the director: bytes in and out of its interfaces, and who delivered the replies."""

    served: int
    into: int
    out: int
    carriers: Counter[str]

    @property
    def per_byte(self) -> float:
        """Bytes through the director for each byte served."""
        return (self.into + self.out) / 2 / self.served


def measure(lab: Topology) -> Share:
    """Fetch some megabytes through the VIP, and look at the interfaces of director and client."""
    names = _names_by_mac(lab)
    before = _switch_bytes(lab)
    interface = lab.client.ports[0].interface
    with Capture(at_client(lab), interface) as capture, netns.inside(at_client(lab)):
        served = sum(len(client.get(lab.vip, lab.port, "/megabyte").body) for _ in range(MEGABYTES))
        carriers = Counter(
            names.get(frame.source, frame.source)
            for frame in capture.frames()
            if not frame.sent and frame.packet.source == lab.vip and frame.packet.ports[0] == lab.port
        )
    after = _switch_bytes(lab)
    return Share(served, after[0] - before[0], after[1] - before[1], carriers)


def _switch_bytes(lab: Topology) -> tuple[int, int]:
    """Bytes that the switch gave the director and took from it, by the switch's own counters."""
    ends = {build.switch_port(lab.director.name, port) for port in lab.director.ports}
    links = json.loads(build.run(lab, SWITCH, ["ip", "-j", "-s", "link", "show"]))
    stats = [link["stats64"] for link in links if link["ifname"] in ends]
    return sum(s["tx"]["bytes"] for s in stats), sum(s["rx"]["bytes"] for s in stats)


def return_path(lab: Topology) -> Seen:
    """Replies bypass the director (DR, TUN), or all pass it (NAT, FULLNAT)."""
    share = measure(lab)
    rows = tuple(f"{count:>6} reply frames reached the client from {name}" for name, count in share.carriers.items())
    rows += (f"{share.per_byte:.3f} bytes through {lab.director.name} for each byte served",)
    through = share.carriers[lab.director.name]
    direct_frames = share.carriers.total() - through
    why = ""
    if share.served != MEGABYTES * MEGABYTE:
        why = f"{share.served} bytes came of {MEGABYTES * MEGABYTE}"
    elif lab.replies_pass_director and direct_frames:
        why = f"{direct_frames} replies did not come from {lab.director.name}"
    elif not lab.replies_pass_director and (through or share.per_byte > 0.2):
        why = f"{lab.director.name} delivered {through} replies, {share.per_byte:.2f} bytes a byte served"
    elif not share.carriers:
        why = "no reply was captured"
    sent = f"{lab.director.name} sent {share.out / MEGABYTE:.2f} MB"
    facts: dict[str, object] = {
        "per_byte": share.per_byte,
        "carriers": dict(share.carriers),
        "served": share.served,
    }
    return Seen(f"{share.served // MEGABYTE} MB served, of which {sent}", rows, why, facts)


def outer_header(lab: Topology) -> Seen:
    """TUN: between director and router the client's packets are inside another packet."""
    with Capture(lab.namespace("router"), "eth0") as capture, netns.inside(at_client(lab)):
        for _ in lab.real_servers:
            client.get(lab.vip, lab.port)
        pairs = [(frame.packet, frame.packet.inner()) for frame in capture.frames()]
    wrapped = [(outer, inner) for outer, inner in pairs if inner and _asks_for_vip(lab, inner)]
    reals = {machine.address for machine in lab.real_servers}
    rows = tuple(f"{o.source} > {o.target} [ {i.source} > {i.target} ]" for o, i in wrapped[:2])
    why = "" if reals <= {outer.target for outer, _ in wrapped} else "no tunnelled packet to each real server was seen"
    return Seen(f"{len(wrapped)} packets with an outer header passed the router", rows, why)


def _asks_for_vip(lab: Topology, packet: packets.Seen) -> bool:
    return packet.target == lab.vip and packet.ports[1] == lab.port


def spare_in_and_out(lab: Topology, watch: Watcher) -> Seen:
    """The spare goes into service and out of it under traffic, and no request notices."""
    spare, steps = lab.spare, []

    def do(reason: str, typed: str) -> None:
        steps.append(_do(lab, command(lab.director.name, reason, typed), watch))

    with client.Traffic(at_client(lab), lab.vip, lab.port) as traffic:
        why = _await(traffic, str(lab.real_servers[0].address), "before the change")
        if not why:
            do(f"{spare.name} into service", add_destination(lab, spare))
            why = _await(traffic, str(spare.address), f"from {spare.name} in service")
        if not why:
            do(f"no new connections for {spare.name}", quiesce_destination(lab, spare))
            why = _drained(lab, spare)
            do(f"{spare.name} out of service", delete_destination(lab, spare))
            before = traffic.answers[str(spare.address)]
            why = why or _await(traffic, str(lab.real_servers[0].address), "after the change")
            if traffic.answers[str(spare.address)] > before:
                why = why or f"{spare.name} went on answering"
    if traffic.failures:
        why = f"{len(traffic.failures)} of {traffic.total} requests failed: {traffic.failures[0]}"
    saw = f"{traffic.total} requests, {len(traffic.failures)} failed"
    return Seen(saw, bars(lab, traffic.answers), why, {"requests": traffic.total, "failed": len(traffic.failures)})


def _do(lab: Topology, step: Step, watch: Watcher) -> Step:
    start = time.monotonic()
    build.run(lab, step.machine, list(step.argv))
    watch(Done(step, time.monotonic() - start))
    return step


def _await(traffic: client.Traffic, server: str, when: str) -> str:
    return "" if traffic.await_answers(server, 40) else f"{server} did not answer 40 requests {when}"


def _drained(lab: Topology, machine: Machine, patience: float = 30.0) -> str:
    """Wait until a quiesced destination has no active connection; say so if that does not come."""
    real = str(Endpoint(machine.address, lab.port))
    deadline = time.monotonic() + patience
    while True:
        active = [row.active for row in listing.destinations(lab) if row.real == real]
        if active == [0]:
            return ""
        if time.monotonic() > deadline:
            return f"{machine.name} still has active connections {patience:.0f} s after weight 0: {active}"
        time.sleep(0.05)


def proofs(lab: Topology) -> Sequence[Proof]:
    """The proofs for this lab's forwarding method, in the order of the document."""
    url = f"http://{'[' + str(lab.vip) + ']' if lab.options.ipv6 else lab.vip}/"
    first = lab.real_servers[0].address
    asks = f"ndisc6 {lab.vip} eth0" if lab.options.ipv6 else f"arping -I eth0 -c 1 {lab.vip}"
    found = [
        Proof("the real servers answer directly", f"curl http://{first}/", direct),
        Proof(
            "the VIP answers, by each real server in turn",
            f"for i in $(seq {REQUESTS}); do curl {url}; done",
            alternates,
        ),
        Proof("the director alone answers for the VIP", asks, vip_owner),
        Proof("no socket on the director", "ss -natp  # netstat -natp", sockets),
        Proof("the director lists every connection", "pylvsadm -lnc", listed_connections),
        Proof(_return_path_claim(lab), "tcpdump -e -i eth0 src port 80  # on the client", return_path),
    ]
    if lab.options.method is ForwardingMethod.TUN:
        found.append(Proof("an outer header on requests", "tcpdump -i eth0 -v  # on the router", outer_header))
    return found


def _return_path_claim(lab: Topology) -> str:
    return "replies pass the director" if lab.replies_pass_director else "replies bypass the director"
