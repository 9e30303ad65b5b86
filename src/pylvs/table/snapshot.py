# SPDX-License-Identifier: GPL-2.0-or-later
"""A table at one moment, as lines of names and numbers: what `pylvs top` shows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pylvs.model import Counters, DestinationState, ServiceState
from pylvs.table.director import Director
from pylvs.table.outcomes import counts


@dataclass(frozen=True, slots=True)
class Line:
    """A service (`destination` is '') or one of its destinations: connections, and rates per second."""

    service: str
    destination: str = ""
    method: str = ""
    scheduler: str = ""
    weight: int = 0
    active: int = 0
    inactive: int = 0
    rate: Counters = field(default_factory=Counters)

    @property
    def connections(self) -> int:
        return self.active + self.inactive


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment; `outcomes` are packets per second by name, since the snapshot before."""

    totals: Counters
    rate: Counters
    services: tuple[tuple[Line, tuple[Line, ...]], ...]
    outcomes: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """The snapshot as JSON-serialisable dicts."""
        return {
            "totals": asdict(self.totals),
            "rate": asdict(self.rate),
            "outcomes_per_second": dict(self.outcomes),
            "services": [
                asdict(service) | {"destinations": [asdict(line) for line in destinations]}
                for service, destinations in self.services
            ],
        }


def service_lines(state: ServiceState) -> tuple[Line, tuple[Line, ...]]:
    """A service, with the sums of its destinations, and its destinations."""
    name = state.service.key.option
    members = tuple(_destination_line(name, member) for member in state.destinations)
    service = Line(
        service=name,
        scheduler=state.service.scheduler,
        weight=sum(line.weight for line in members),
        active=sum(line.active for line in members),
        inactive=sum(line.inactive for line in members),
        rate=state.rate,
    )
    return service, members


def _destination_line(service: str, state: DestinationState) -> Line:
    return Line(
        service=service,
        destination=str(state.destination),
        method=state.destination.method.value,
        weight=state.destination.weight,
        active=state.active,
        inactive=state.inactive,
        rate=state.rate,
    )


def rates(before: Mapping[str, int], now: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Packets per second by outcome, for all that were ever counted."""
    return {name: (count - before.get(name, 0)) / seconds for name, count in now.items() if count}


class Watch:
    """Takes snapshots of the table of one director."""

    def __init__(self, director: Director) -> None:
        self.director = director
        self._counted: dict[str, int] | None = None  # packets by outcome at the last look
        self._looked = 0.0  # when that was, monotonic

    def look(self) -> Snapshot:
        """The table as it is now. The first look has no rates of outcomes: they are 0."""
        services = tuple(map(service_lines, self.director.services()))
        totals, rate = self.director.totals()
        return Snapshot(totals, rate, services, self._outcomes())

    def _outcomes(self) -> dict[str, float]:
        if not self.director.instance.loaded:
            return {}
        now = time.monotonic()
        counted = counts(self.director.instance)
        before = counted if self._counted is None else self._counted
        seconds = max(now - self._looked, 1e-3)
        self._counted = counted
        self._looked = now
        return rates(before, counted, seconds)
