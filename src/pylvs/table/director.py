# SPDX-License-Identifier: GPL-2.0-or-later
"""The director of this network namespace: the table that `pylvsadm` shows and changes, and the Python API.

    from pylvs import Director, Destination, ServiceKey, VirtualService, ...
    with Director() as director:
        director.add_service(VirtualService(ServiceKey(Protocol.TCP, VIP, 80), "rr"))

The table is in the kernel, and any process may change it, unload it, or load a new one. So every read and every change
acts on the data plane that is loaded at that moment; what is kept in between is kept for that data plane only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pylvs import rules
from pylvs.dataplane.kernel import possible_cpus
from pylvs.errors import NoSuchService, PylvsError, ServiceExists
from pylvs.host.locality import Locality
from pylvs.model import (
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
    VirtualService,
)
from pylvs.table import counters, daemons, destinations, journal, services, states
from pylvs.table import replace as whole
from pylvs.table.access import Access
from pylvs.table.connections import Connections
from pylvs.table.settings import TimeoutSettings


class Director(Access):
    """The table of the network namespace in which it was made.

    Nothing is loaded before the first change; until then the table is empty. Raises subclasses of
    `pylvs.errors.TableError` where IPVS in the kernel would refuse, and then changes nothing; NotPermitted without root
    (CAP_SYS_ADMIN, CAP_NET_ADMIN); DataPlaneError if another version of pylvs loaded the data plane.
    """

    def _attach_with_first(self, before: int) -> None:
        """Attach to the interfaces when the first service is there; `before`: how many there were."""
        if before == 0 and self.settings["services"]:
            self._attach()

    def _attach(self) -> None:
        from pylvs.dataplane.attach import Attacher

        Attacher(self.instance).attach_all()

    # --- services and destinations

    def address_types(self) -> AddressTypes:
        """What tells the type of any address, as the routing table is now: only some may be destinations."""
        return Locality().address_type

    def add_service(self, service: VirtualService) -> None:
        """Add a virtual service; ServiceExists, NoSuchScheduler, Invalid."""
        rules.check_key(service.key)
        # IPVS says this before it looks at the rest
        if self.loaded and self.memory.find(self.memory.pack_key(service.key)) is not None:
            raise ServiceExists("service already exists")
        rules.check_service(service)
        with self.changing() as edit:
            before = self.settings["services"]
            services.add(edit, service)
            self._attach_with_first(before)

    def edit_service(self, service: VirtualService) -> None:
        """Change scheduler, flags and persistence of a service; connections stay. NoSuchService, NoSuchScheduler."""
        rules.check_key(service.key)
        with self._changing(service.key) as edit:
            edit.slot_of(service.key)
            rules.check_service(service)
            with journal.written(edit.memory.plane, journal.SERVICE, [(service, ())]):
                services.change(edit, service)

    def delete_service(self, key: ServiceKey) -> None:
        """Delete a service with its destinations; their connections stay, as IPVS has it. NoSuchService."""
        with self._changing(key) as edit:
            services.delete(edit, key)

    def flush(self) -> None:
        """Delete every service."""
        with self.locked():
            if self.loaded:
                services.delete_all(self._begin())

    def add_destination(self, key: ServiceKey, destination: Destination) -> None:
        """Add a destination; NoSuchService, DestinationExists, OutOfRange, Invalid. One that was deleted while its
        connections lived takes them over."""
        (error,) = self.add_destinations(key, (destination,))
        if error is not None:
            raise error

    def add_destinations(self, key: ServiceKey, members: Sequence[Destination]) -> list[PylvsError | None]:
        """Add destinations to one service, each as by `add_destination`: for each None, or why it is not there."""
        try:
            with self._changing(key) as edit:
                return destinations.add_many(edit, key, members)
        except NoSuchService as error:
            return [error] * len(members)

    def edit_destination(self, key: ServiceKey, destination: Destination) -> None:
        """Change a destination; NoSuchService, NoSuchDestination, OutOfRange, Invalid."""
        with self._changing(key) as edit:
            destinations.change(edit, key, destination)

    def delete_destination(self, key: ServiceKey, destination: Destination) -> None:
        """Take a destination out of its service; its connections stay. NoSuchService, NoSuchDestination."""
        with self._changing(key) as edit:
            destinations.delete(edit, key, (destination,))

    def end_connections(self, key: ServiceKey, destination: Destination) -> int:
        """End every connection of a destination, for a client to see as a reset; how many there were. NoSuchService,
        NoSuchDestination."""
        with self._changing(key) as edit:
            return destinations.end_connections(edit, key, destination)

    def replace(self, table: Sequence[ConfiguredService]) -> None:
        """Make the table be this. Everything is checked before anything is changed; then only what differs is touched,
        under one lock, new destinations before old ones go. A destination that goes keeps the connections it has."""
        with self.locked():
            wanted = whole.wanted(table, self.instance, self.address_types())
            with self.changing() as edit:
                before = self.settings["services"]
                whole.check(edit, wanted)
                with journal.written(edit.memory.plane, journal.TABLE, list(wanted.values())):
                    whole.replace(edit, wanted)
                self._attach_with_first(before)

    # --- what is observed

    def service(self, key: ServiceKey) -> ServiceState:
        """One service; NoSuchService."""
        if not self.loaded:
            raise NoSuchService(f"no such service: {key}")
        return self._consistent(lambda memory: states.one(memory, key))

    def services(self, counted: bool = True) -> Iterable[ServiceState]:
        """Every service, in no order; destinations newest first, as in IPVS. All are of one moment: no change of the
        table is seen half made. Not `counted`: counters and rates stay zero, which is faster."""
        if not self.loaded:
            return []
        return self._consistent(lambda memory: states.all_of(memory, counted))

    def service_at(self, slot: int) -> VirtualService:
        """The service of a slot, as a trace has it; nonsense if it was deleted meanwhile."""
        return states.service_at(self.memory, slot)

    def destination_at(self, slot: int) -> DestinationState:
        """The destination of a slot, uncounted."""
        return states.destination_state(self.memory, slot, with_counters=False)

    def next_hop_of(self, key: ServiceKey, destination: Destination) -> dict[str, Any]:
        """What the data plane knows of the next hop to a destination: fields of its record. NoSuchService,
        NoSuchDestination."""
        memory = self.memory
        slot = destinations.find(memory, memory.slot_of(key), destination)
        return dict(zip(memory.destination.names, memory.get(slot, memory.destination), strict=True))

    def tick(self) -> int:
        """The data plane's clock."""
        return self.memory.control.now()

    def totals(self) -> tuple[Counters, Counters]:
        """Counters and rates of all services together, those deleted since included (/proc/net/ip_vs_stats)."""
        return counters.totals(self.memory) if self.loaded else (states.NOTHING, states.NOTHING)

    def cpu_totals(self) -> Sequence[Counters]:
        """Counters of all services together, by CPU (/proc/net/ip_vs_stats_percpu)."""
        return counters.cpu_totals(self.memory) if self.loaded else [Counters()] * possible_cpus()

    def zero(self, key: ServiceKey | None = None) -> None:
        """Start the counters of a service (of everything, with None) from zero. NoSuchService."""
        if key is not None:
            with self._changing(key) as edit:
                counters.zero_service(edit.memory, edit.slot_of(key))
            return
        with self.locked():
            if self.loaded:
                counters.zero_all(self._begin().memory)

    def connections(self) -> Iterator[Connection]:
        """Every entry of the connection table, templates too."""
        return Connections(self.memory).connections() if self.loaded else iter(())

    def connection_rows(self) -> Iterator[Sequence[ConnectionRow]]:
        """Every entry as a plain tuple, in chunks: a million of them in a few seconds."""
        return Connections(self.memory).rows() if self.loaded else iter(())

    def connection_text(self) -> Iterator[bytes]:
        """Every entry as a numeric row of `-Lnc`, in ASCII: blocks of whole rows that the kernel writes."""
        return Connections(self.memory).text() if self.loaded else iter(())

    # --- timeouts, knobs and daemons

    def timeouts(self) -> Timeouts:
        """The timeouts of `--set`, in seconds."""
        return TimeoutSettings(self.settings, self.layouts).read() if self.loaded else Timeouts()

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Set those that are not 0; entries get them at their next packet."""
        with self.changing():
            TimeoutSettings(self.settings, self.layouts).write(timeouts)

    def set_knob(self, name: str, value: int) -> None:
        """Set one of the data plane's knobs, by the kernel's name (see pylvs.table.knobs)."""
        with self.changing() as edit:
            self.settings[name] = value
            services.setting_changed(edit)

    def daemons(self) -> Iterable[SyncDaemon]:
        """The sync daemons that were started; they are remembered and listed, and send nothing."""
        return daemons.running(self.instance)

    def start_daemon(self, daemon: SyncDaemon) -> None:
        """Remember a sync daemon; DaemonError."""
        with self.locked():
            daemons.start(self.instance, daemon, self.services(counted=False))

    def stop_daemon(self, role: str) -> None:
        """Forget a sync daemon; DaemonError (ESRCH) if there is none."""
        with self.locked():
            daemons.stop(self.instance, role)
