# SPDX-License-Identifier: GPL-2.0-or-later
"""A `Table` in memory that obeys `pylvs.rules`: what the command is tested against."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from pylvs import rules
from pylvs.errors import DaemonError, PylvsError
from pylvs.ipvsadm.connections import list_connections, row_of
from pylvs.ipvsadm.plan import Plan, PlannedService
from pylvs.model import (
    Address,
    AddressType,
    AddressTypes,
    ConfiguredService,
    Connection,
    ConnectionRow,
    Counters,
    Destination,
    DestinationState,
    ServiceKey,
    ServiceState,
    SyncDaemon,
    Timeouts,
)

INTERFACES = {"lo": 65536}


class MemoryTable(Plan):
    """`Plan` with what is observed: counters stay zero unless a test sets them."""

    def __init__(self, *, has_local_routes: bool = True) -> None:
        self._has_local_routes = has_local_routes
        super().__init__(self.address_types())
        self.counted: dict[ServiceKey, Counters] = {}
        self.entries: list[Connection] = []
        self._timeouts = Timeouts()
        self._daemons: dict[str, SyncDaemon] = {}

    def address_types(self) -> AddressTypes:
        return self._address_type

    def _address_type(self, address: Address) -> AddressType:
        """Before the first address is set the kernel has no table `local`, and nothing is unicast."""
        if address.version == 4 and not self._has_local_routes:
            return AddressType.BROADCAST
        return rules.address_type(address)

    def locked(self) -> AbstractContextManager[None]:
        return nullcontext()

    def add_destinations(self, key: ServiceKey, destinations: Sequence[Destination]) -> list[PylvsError | None]:
        return [self._refusal(key, destination) for destination in destinations]

    def _refusal(self, key: ServiceKey, destination: Destination) -> PylvsError | None:
        try:
            self.add_destination(key, destination)
        except PylvsError as error:
            return error
        return None

    def service(self, key: ServiceKey) -> ServiceState:
        return self._state(self.planned(key))

    def services(self, counted: bool = True) -> Iterable[ServiceState]:
        return [self._state(planned) for planned in self.services_by_key.values()]

    def _state(self, planned: PlannedService) -> ServiceState:
        newest_first = reversed(planned.destinations.values())
        counted = self.counted.get(planned.service.key, Counters())
        destinations = tuple(DestinationState(each, counters=counted) for each in newest_first)
        return ServiceState(planned.service, destinations, counted)

    def connections(self) -> Iterator[Connection]:
        return iter(self.entries)

    def connection_rows(self) -> Iterator[Sequence[ConnectionRow]]:
        return iter([list(map(row_of, self.entries))])

    def connection_text(self) -> Iterator[bytes]:
        return map(str.encode, list_connections(self.connection_rows(), numeric=True))

    def replace(self, services: Sequence[ConfiguredService]) -> None:
        planned = Plan(self.address_types())
        planned.syncing = self.syncing
        for service, destinations in services:
            planned.add_service(service)
            for destination in destinations:
                planned.add_destination(service.key, destination)
        self.services_by_key = planned.services_by_key

    def zero(self, key: ServiceKey | None = None) -> None:
        if key is None:
            self.counted.clear()
        else:
            self.planned(key)
            self.counted.pop(key, None)

    def timeouts(self) -> Timeouts:
        return self._timeouts

    def set_timeouts(self, timeouts: Timeouts) -> None:
        old = self._timeouts
        self._timeouts = Timeouts(timeouts.tcp or old.tcp, timeouts.tcp_fin or old.tcp_fin, timeouts.udp or old.udp)

    def totals(self) -> tuple[Counters, Counters]:
        return Counters(), Counters()

    def cpu_totals(self) -> Sequence[Counters]:
        return [Counters(), Counters()]

    def start_daemon(self, daemon: SyncDaemon) -> None:
        mtu = INTERFACES.get(daemon.interface)
        rules.check_daemon(daemon, set(self._daemons), mtu is not None, self._mixed())
        self._daemons[daemon.role] = rules.normalize_daemon(daemon, mtu or 1500)
        self.syncing = True

    def stop_daemon(self, role: str) -> None:
        if role not in self._daemons:
            raise DaemonError(f"no {role} daemon runs", errno.ESRCH)
        del self._daemons[role]
        self.syncing = bool(self._daemons)

    def daemons(self) -> Iterable[SyncDaemon]:
        return list(self._daemons.values())

    def _mixed(self) -> bool:
        return any(
            destination.address.version != planned.service.key.family
            for planned in self.services_by_key.values()
            for destination in planned.destinations.values()
        )


def snapshot(table: MemoryTable) -> object:
    """All that is configured, for comparing before and after."""
    return table.configured(), table.timeouts(), sorted(table.daemons(), key=lambda daemon: daemon.role)
