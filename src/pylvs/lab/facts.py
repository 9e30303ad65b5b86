# SPDX-License-Identifier: GPL-2.0-or-later
"""What is true of each machine at this moment."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from pylvs.errors import PylvsError
from pylvs.host import testbed
from pylvs.lab import build, listing
from pylvs.lab.steps import SWITCH
from pylvs.lab.topology import Machine, Topology
from pylvs.model import Endpoint


@dataclass(frozen=True, slots=True)
class Facts:
    """A machine as observed. Packets are those that the switch took from it and gave to it."""

    processes: int
    sent: int
    received: int
    destination: listing.DestinationRow | None = None


def observe(lab: Topology) -> dict[str, Facts]:
    """Look at every machine."""
    links = {link["ifname"]: link["stats64"] for link in json.loads(_links(lab))}
    rows = {row.real: row for row in _destinations(lab)}
    return {machine.name: _facts(lab, machine, links, rows) for machine in lab.machines}


def _links(lab: Topology) -> str:
    return build.run(lab, SWITCH, ["ip", "-j", "-s", "link", "show"])


def _destinations(lab: Topology) -> list[listing.DestinationRow]:
    """None at all where the director's table cannot be read: the picture then shows nobody in service."""
    try:
        return listing.destinations(lab)
    except PylvsError:
        return []


Stats = dict[str, dict[str, dict[str, int]]]


def _facts(lab: Topology, machine: Machine, links: Stats, rows: dict[str, listing.DestinationRow]) -> Facts:
    stats = [links[build.switch_port(machine.name, port)] for port in machine.ports]
    return Facts(
        len(testbed.processes([lab.namespace(machine.name)])),
        sum(s["rx"]["packets"] for s in stats),
        sum(s["tx"]["packets"] for s in stats),
        rows.get(str(Endpoint(machine.address, lab.port))),
    )


def as_json(lab: Topology) -> dict[str, object]:
    """The lab and its facts as data."""
    seen = observe(lab)
    machines = [_machine_json(lab, machine, seen[machine.name]) for machine in lab.machines]
    return {
        "up": True,
        "options": build.words(lab.options),
        "vip": str(lab.vip),
        "port": lab.port,
        "machines": machines,
    }


def _machine_json(lab: Topology, machine: Machine, facts: Facts) -> dict[str, object]:
    ports = [
        {"interface": p.interface, "segment": p.segment, "address": str(p.address), "mac": p.mac} for p in machine.ports
    ]
    named = {"name": machine.name, "role": machine.role.value, "namespace": lab.namespace(machine.name)}
    return {**named, "ports": ports, **asdict(facts)}
