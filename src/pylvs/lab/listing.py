# SPDX-License-Identifier: GPL-2.0-or-later
"""What `pylvsadm` lists on the director, parsed as a person reads it."""

from __future__ import annotations

from dataclasses import dataclass

from pylvs.lab import build
from pylvs.lab.topology import Topology


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """A row of `pylvsadm -lnc`."""

    protocol: str
    expire: str
    state: str
    client: str
    virtual: str
    real: str


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """A destination's row of `pylvsadm -ln`."""

    real: str
    method: str
    weight: int
    active: int
    inactive: int


def connections(lab: Topology) -> list[ConnectionRow]:
    """The connection table, as listed."""
    rows = (line.split() for line in build.run(lab, lab.director.name, ["pylvsadm", "-lnc"]).splitlines()[2:])
    return [ConnectionRow(*fields[:6]) for fields in rows if len(fields) >= 6]


def destinations(lab: Topology) -> list[DestinationRow]:
    """The destinations of the lab's virtual service, as listed."""
    rows = (line.split() for line in build.run(lab, lab.director.name, ["pylvsadm", "-ln"]).splitlines())
    found = [fields for fields in rows if len(fields) == 6 and fields[0] == "->" and fields[3].isdigit()]
    return [DestinationRow(f[1], f[2], int(f[3]), int(f[4]), int(f[5])) for f in found]
