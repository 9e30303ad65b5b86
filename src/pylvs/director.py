# SPDX-License-Identifier: GPL-2.0-or-later
"""The director of this network namespace: the table that `pylvsadm` shows and changes, and the Python API.

    from pylvs import Director, Destination, ServiceKey, VirtualService, ...
    with Director() as director:
        director.add_service(VirtualService(ServiceKey(Protocol.TCP, VIP, 80), "rr"))

The table is in the kernel. A `Director` keeps nothing that another process could make untrue: it finds everything
by the maps, and changes them under the instance's lock.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from ipaddress import ip_address
from itertools import islice
from operator import itemgetter
from random import getrandbits
from typing import Any, Self

from pylvs import rules
from pylvs.dataplane import addresses
from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.entries import STATES, Entries
from pylvs.dataplane.instance import Instance
from pylvs.dataplane.kernel import Map, SyscallProgram, possible_cpus
from pylvs.dataplane.records import Record, Records, Settings, swap16
from pylvs.dataplane.trash import AVAILABLE, Trash
from pylvs.errors import (
    DaemonError,
    DataPlaneError,
    DestinationExists,
    NoSuchDestination,
    NoSuchService,
    PylvsError,
    ServiceExists,
    TableFull,
    Unsupported,
)
from pylvs.locality import Locality, beside
from pylvs.model import (
    Address,
    ConfiguredService,
    Connection,
    ConnectionRow,
    Counters,
    Destination,
    DestinationState,
    ForwardingMethod,
    Protocol,
    ServiceFlag,
    ServiceKey,
    ServiceState,
    SyncDaemon,
    Timeouts,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualService,
)

METHODS = (ForwardingMethod.NAT, ForwardingMethod.DR, ForwardingMethod.TUN, ForwardingMethod.FULLNAT)
TUNNELS = (TunnelType.IPIP, TunnelType.GUE, TunnelType.GRE)
CHECKSUMS = (TunnelChecksum.NONE, TunnelChecksum.CSUM, TunnelChecksum.REMCSUM)
NOTHING = Counters()
TRANSLATED = (ForwardingMethod.NAT, ForwardingMethod.FULLNAT)
SCHEDULERS = (
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos", "none",
)  # fmt: skip
ENGINES = ("", "sip")
LOCAL = rules.AddressType.LOCAL
OVERLOAD = 2
NOW, LINK, UNLINK, CHANGED, RESCHEDULE, END, FOLD, SWEEP, SETTING, UNSCHEDULE = range(10)
DESTINATIONS_MAX = 1024
LOCALS_MAX = 4096
ABI_VERSION = 7  # of bpf/abi.h
ROLES = ("master", "backup")

ROWS = 1024
TEMPLATE = 1
FAR = 1 << 23  # seconds: longer than any timeout, so it is over
SWAP = [swap16(number) for number in range(1 << 16)]

_NO_SERVICE = (None, b"", 0)
# by their offsets in `struct destination`
_CONFIGURED = (
    "service", "weight", "flags", "upper", "lower", "port", "method", "tunnel", "address", "tunnel_port", "source",
    "tunnel_flags", "local", "family", "locals", "local_first", "last_weight",
)  # fmt: skip
_OBSERVED = (
    "address", "port", "method", "weight", "upper", "lower", "tunnel", "tunnel_port", "tunnel_flags", "local_first",
    "locals", "active", "inactive", "persistent",
)  # fmt: skip

_KEY = struct.Struct("=16sHBBI")
_SLOT = struct.Struct("=I")


def _pack_key(key: ServiceKey) -> bytes:
    """`struct service_key`."""
    if key.fwmark or key.address is None:
        return _KEY.pack(b"", 0, 0, key.family, key.fwmark)
    return _KEY.pack(addresses.pack(key.address), swap16(key.port), key.protocol, key.address.version, 0)


def _netmask(service: VirtualService) -> bytes:
    """The persistence mask as 16 bytes to be and-ed with a client's address."""
    if rules.family_of(service.key) == 4:
        return b"\xff" * 12 + service.netmask.to_bytes(4, "big")
    return ((1 << 128) - (1 << 128 - service.netmask)).to_bytes(16, "big")


def _name(destination: Destination) -> tuple[Address, int]:
    return destination.address, destination.port


def _record_name(destination: Destination) -> tuple[bytes, int]:
    """The same as the record has it: 16 bytes, and the port in network order."""
    return addresses.pack(destination.address), SWAP[destination.port]


def source_towards(address: Address) -> bytes:
    """The address that this host would send from, asked of the routing table; no packet is sent. Zero: no route."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        try:
            s.connect((str(address), 9))
        except OSError:
            return bytes(16)
        return addresses.pack(ip_address(s.getsockname()[0].partition("%")[0]))


def _row(entry: tuple[Any, ...], real: bytes, entries: Entries, now: int, second: int) -> ConnectionRow:
    _, expires, client, virtual, cport, vport, _, _, rport, state, protocol, flags, _, _, _ = entry
    left = (expires - now & 0xFFFFFFFF) // second
    if flags & TEMPLATE:
        ports = (0xFFFF, 0xFFFF) if flags & entries.invalid else (SWAP[vport], SWAP[rport])
        return (
            protocol,
            entries.state(entry),
            left if left < FAR else 0,
            client,
            0,
            virtual,
            ports[0],
            real,
            ports[1],
        )
    name = STATES[protocol][state] if state < len(STATES[protocol]) else "ERR!"
    return protocol, name, left, client, SWAP[cport], virtual, SWAP[vport], real, SWAP[rport]


class Director:
    """The table of the calling thread's network namespace.

    Nothing is loaded before the first change; until then the table is empty. Raises subclasses of
    `pylvs.errors.TableError` where IPVS in the kernel would refuse, and then changes nothing; NotPermitted without root
    (CAP_SYS_ADMIN, CAP_NET_ADMIN).
    """

    def __init__(self) -> None:
        self.instance = Instance.here()
        self.address_type = Locality().address_type
        self._members: dict[int, tuple[int, dict[tuple[bytes, int], int]]] = {}
        # the service of the last change, as a key, packed, and its slot: good under one lock
        self._last: tuple[ServiceKey | None, bytes, int] = _NO_SERVICE
        self._locked_at: int | None = None  # the data plane's tick when the lock was taken, once it was asked for

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing has to be closed for the table to work on; this lets go of memory."""
        self._members.clear()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other command out while several changes are made. Each change alone does so by itself."""
        with self.instance.locked():
            self._last, self._locked_at = _NO_SERVICE, None
            yield

    @contextmanager
    def locked_once(self) -> Iterator[None]:
        """The lock for one change; nothing of an earlier one is believed unless the lock was held all the time."""
        if self.instance.is_locked:
            yield
            return
        with self.locked():
            yield

    @contextmanager
    def changing(self) -> Iterator[None]:
        """The lock, and a data plane to change: loaded and attached if this is the first change."""
        with self.locked_once():
            if not self.instance.loaded:
                from pylvs.dataplane.open import create

                create(self.instance)
            yield

    def _attach(self) -> None:
        from pylvs.dataplane.attach import Attacher

        Attacher(self.instance).attach_all()

    # --- what is where

    @cached_property
    def layouts(self) -> Layouts:
        """Structs and enums of the loaded data plane; DataPlaneError if another version has loaded it."""
        layouts = self.instance.layouts
        if layouts.constants.get("ABI_VERSION") != ABI_VERSION:
            raise DataPlaneError(
                "the data plane loaded here is another version's; type: pylvs detach --unload, and make the table anew"
            )
        return layouts

    @cached_property
    def settings(self) -> Settings:
        return Settings(self.instance, self.layouts)

    @cached_property
    def _records(self) -> Records:
        return Records(self.instance, self.layouts, self.settings)

    @cached_property
    def _service(self) -> Record:
        return Record(self.layouts["service"])

    @cached_property
    def _destination(self) -> Record:
        return Record(self.layouts["destination"])

    @cached_property
    def _services(self) -> Map:
        return self.instance.map("services")

    @cached_property
    def _trash(self) -> Trash:
        return Trash(self.instance, self.layouts, self._records, self.settings)

    @property
    def _tick(self) -> int:
        """The data plane's clock, as it was when it was first asked for under this lock."""
        if self._locked_at is None:
            self._locked_at = self._run(NOW)
        return self._locked_at

    @cached_property
    def _control(self) -> SyscallProgram:
        return self.instance.syscall_program("control", self.layouts["control_args"].size)

    def _run(self, operation: int, service: int = 0, destination: int = 0) -> int:
        """Run the data plane's `control`; its tick."""
        control = self._control
        struct.pack_into("=III", control.context, 0, operation, service, destination)
        control()
        return int(_SLOT.unpack_from(control.context, 16)[0])

    def _slot_of(self, key: ServiceKey) -> int:
        known, _, slot = self._last
        if known is key and self.instance.is_locked:
            return slot
        packed = _pack_key(key)
        raw = self._services.lookup(packed) if self.instance.loaded else None
        if raw is None:
            raise NoSuchService(f"no such service: {key}")
        slot = int(_SLOT.unpack(raw)[0])
        self._last = key, packed, slot
        return slot

    def _get(self, slot: int, record: Record) -> tuple[Any, ...]:
        return record.unpack_from(*self._records.at(slot))

    def _number(self, slot: int, record: Record, name: str) -> int:
        words, base = self._records.words_at(slot)
        return words[base + record.word[name]]

    def _set_number(self, slot: int, record: Record, name: str, value: int) -> None:
        words, base = self._records.words_at(slot)
        words[base + record.word[name]] = value & 0xFFFFFFFF

    def _chain(self, service: int) -> Iterator[int]:
        """Slots of the service's destinations, newest first."""
        slot = self._number(service, self._service, "first")
        while slot:
            yield slot
            slot = self._number(slot, self._destination, "next")

    def _destinations(self, service: int) -> dict[tuple[bytes, int], int]:
        """The service's destinations by address and port (network order), known from last time if nothing changed."""
        generation = self._number(service, self._service, "generation")
        known = self._members.get(service)
        if known is None or known[0] != generation:
            members = {}
            address, port = self._destination.place["address"], self._destination.place["port"]
            for slot in self._chain(service):
                record = self._get(slot, self._destination)
                members[record[address], record[port]] = slot
            self._members[service] = known = generation, members
        return known[1]

    def _changed(self, service: int, members: dict[tuple[bytes, int], int]) -> None:
        words, base = self._records.words_at(service)
        place = base + self._service.word["generation"]
        generation = words[place] = words[place] + 1 & 0xFFFFFFFF
        self._members[service] = generation, members

    def _count_services(self, key: ServiceKey, step: int) -> None:
        if key.fwmark:
            self.settings["fwmark_services"] += step
        elif not key.port:
            self.settings["port_zero_services"] += step
        self.settings["services"] += step

    def _filter(self, raw: bytes, real: bool) -> None:
        """Let the data plane look at packets to (or, of a real server, from) this address."""
        bit = addresses.filter_bit(raw, real) % (1 << 16)
        self._filter_memory[bit // 8] |= 1 << bit % 8

    def _may_be_virtual(self, raw: bytes) -> bool:
        bit = addresses.filter_bit(raw, False) % (1 << 16)
        return bool(self._filter_memory[bit // 8] >> bit % 8 & 1)

    def _source_towards(self, address: Address) -> bytes:
        """The address to send from, as the routing table says; where that is the VIP, as IPv6's rules may well have it,
        another one of the same interface."""
        source = source_towards(address)
        if address.version == 4 or not self._may_be_virtual(source):
            return source
        own = (addresses.pack(other) for other in beside(ip_address(source)))
        return next((raw for raw in own if not self._may_be_virtual(raw)), source)

    @cached_property
    def _filter_memory(self) -> memoryview:
        from pylvs.dataplane.mapped import MappedArray

        return MappedArray(self.instance.map("filter")).memory

    # --- services

    def add_service(self, service: VirtualService) -> None:
        """Add a virtual service; ServiceExists, NoSuchScheduler, Invalid."""
        rules.check_key(service.key)
        key = _pack_key(service.key)
        # IPVS says this before it looks at the rest
        if self.instance.loaded and self._services.lookup(key) is not None:
            raise ServiceExists("service already exists")
        rules.check_service(service)
        with self.changing():
            if self._services.lookup(key) is not None:
                raise ServiceExists("service already exists")
            slot = self._allocate(self._records.uncount)
            self._write_service(slot, service)
            self._run(RESCHEDULE, slot, SCHEDULERS.index(service.scheduler))
            if service.key.address is not None and not service.key.fwmark:
                self._filter(addresses.pack(service.key.address), real=False)
            self._services.update(key, _SLOT.pack(slot))
            self._count_services(service.key, 1)
            if self.settings["services"] == 1:
                self._attach()

    def _write_service(self, slot: int, service: VirtualService) -> None:
        key = service.key
        self._service.pack_into(
            *self._records.at(slot),
            scheduler=SCHEDULERS.index(service.scheduler),
            flags=int(service.flags | ServiceFlag.HASHED),
            address=addresses.pack(key.address) if key.address is not None else b"",
            netmask=_netmask(service),
            fwmark=key.fwmark,
            timeout=service.timeout * self.settings["second"],
            timeout_seconds=service.timeout,
            port=swap16(key.port),
            protocol=int(key.protocol),
            family=rules.family_of(key),
            pe=ENGINES.index(service.persistence_engine),
            generation=getrandbits(32),  # not that of the service that had the slot before
        )

    def edit_service(self, service: VirtualService) -> None:
        """Change scheduler, flags and persistence of a service; connections stay. NoSuchService, NoSuchScheduler."""
        rules.check_key(service.key)
        with self.locked_once():
            slot = self._slot_of(service.key)
            rules.check_service(service)
            memory, base = self._records.at(slot)
            record, offset = self._service, self._service.offset
            old = self._number(slot, record, "scheduler")
            new = SCHEDULERS.index(service.scheduler)
            memory[base + offset["netmask"] : base + offset["netmask"] + 16] = _netmask(service)
            for name, value in (
                ("flags", int(service.flags | ServiceFlag.HASHED)),
                ("timeout", service.timeout * self.settings["second"]),
                ("timeout_seconds", service.timeout),
                ("pe", ENGINES.index(service.persistence_engine)),
            ):
                self._set_number(slot, record, name, value)
            if new != old:
                self._run(RESCHEDULE, slot, new)

    def delete_service(self, key: ServiceKey) -> None:
        """Delete a service with its destinations; their connections stay, as IPVS has it. NoSuchService."""
        with self.locked_once():
            self._delete_services({_pack_key(key): self._slot_of(key)})
            self._count_services(key, -1)

    def flush(self) -> None:
        """Delete every service."""
        if not self.instance.loaded:
            return
        with self.locked_once():
            for name in ("services", "fwmark_services", "port_zero_services"):
                self.settings[name] = 0
            self._delete_services({key: int(_SLOT.unpack(slot)[0]) for key, slot in self._services.items()})

    def _delete_services(self, slots: dict[bytes, int], available: bool = False) -> None:
        """Delete services by key. `available`: their connections go on."""
        if not slots:
            return
        self._last = _NO_SERVICE
        for key in slots:
            self._services.delete(key)
        now = self._run(FOLD, *slots.values() if len(slots) == 1 else ())
        self._trash.orphan(set(slots.values()))
        for key, slot in slots.items():
            self._trash.throw(key, list(self._chain(slot)), now, available=available, orphaned=True)
            self._run(UNSCHEDULE, slot)
            self._members.pop(slot, None)
            self._records.retire_service(slot, now)

    # --- destinations

    def add_destination(self, key: ServiceKey, destination: Destination) -> None:
        """Add a destination; NoSuchService, DestinationExists, OutOfRange, Invalid. One that was deleted while its
        connections lived takes them over."""
        (error,) = self.add_destinations(key, (destination,))
        if error is not None:
            raise error

    def add_destinations(self, key: ServiceKey, destinations: Sequence[Destination]) -> list[PylvsError | None]:
        """Add destinations to one service, each as by `add_destination`: for each None, or why it is not there."""
        with self.locked_once():
            try:
                service = self._slot_of(key)
            except NoSuchService as error:
                return [error] * len(destinations)
            return self._add_members(service, destinations, lambda each: self._checked(key, each, new=True))

    def _add_members(
        self, service: int, destinations: Iterable[Destination], checked: Callable[[Destination], Destination]
    ) -> list[PylvsError | None]:
        """Add destinations to the service just looked for."""
        members = self._destinations(service)
        chain: list[int] = []
        errors: list[PylvsError | None] = []
        try:
            for destination in destinations:
                try:
                    self._add_member(service, checked(destination), members, chain)
                    errors.append(None)
                except PylvsError as error:
                    errors.append(error)
        finally:
            self._link(service, members, chain)
        return errors

    def _add_member(
        self, service: int, destination: Destination, members: dict[tuple[bytes, int], int], chain: list[int]
    ) -> None:
        """Write the record of a new destination, for `_link`."""
        name = _record_name(destination)
        if name in members:
            raise DestinationExists("destination already exists")
        if len(members) >= DESTINATIONS_MAX:
            raise TableFull(f"a service takes {DESTINATIONS_MAX} destinations at most")
        slot = self._trash.take_back(self._last[1], *name, service)
        if slot:
            self._write_destination(slot, service, destination, name, new=True)
        else:
            slot = self._allocate(self._records.zero)
            self._new_destination(slot, service, destination, name)
        members[name] = slot
        chain.append(slot)

    def _link(self, service: int, members: dict[tuple[bytes, int], int], chain: list[int]) -> None:
        """Put new destinations into the service's list, in this order."""
        if chain:
            for slot, following in zip(chain, [*chain[1:], 0], strict=True):
                self._set_number(slot, self._destination, "next", following)
            self._run(LINK, service, chain[0])
            self._changed(service, members)

    def _checked(self, key: ServiceKey, destination: Destination, new: bool) -> Destination:
        rules.check_fields(destination)
        destination = rules.normalize_destination(key, destination)
        # all that a sync daemon forbids is a tunnel between families
        mixed = destination.method is ForwardingMethod.TUN and destination.address.version != rules.family_of(key)
        syncing = mixed and any(True for _ in self.daemons())
        rules.check_destination(key, destination, new=new, syncing=syncing, types=self.address_type)
        return destination

    def _allocate(self, renew: Callable[[int], None]) -> int:
        """A slot with a zero record: of one used before, if that is long enough ago, with its counters renewed."""
        slot = self._trash.reusable(self._tick) if self.settings["first_retired"] or self.settings["trashed"] else 0
        if not slot:
            return self._records.allocate()
        self._records.clear(slot)
        renew(slot)
        return slot

    def _configured(self, service: int, destination: Destination, name: tuple[bytes, int]) -> tuple[Any, ...]:
        """What was configured, in the order of _CONFIGURED; `name`: address and port as the record has them."""
        method, tunnel, weight = destination.method, destination.tunnel, destination.weight
        source, first, count = b"", 0, 0
        if method in TRANSLATED:
            self._filter(name[0], real=True)
        if method is ForwardingMethod.TUN:
            source = self._source_towards(destination.address)
        if method is ForwardingMethod.FULLNAT:
            first, count = self._locals(destination)
        return (
            service, weight, AVAILABLE, destination.upper_threshold, destination.lower_threshold, name[1],
            METHODS.index(method), TUNNELS.index(tunnel.type), name[0], SWAP[tunnel.port], source,
            CHECKSUMS.index(tunnel.checksum), self.address_type(destination.address) is LOCAL,
            destination.address.version, count, first, weight,
        )  # fmt: skip

    def _new_destination(self, slot: int, service: int, destination: Destination, name: tuple[bytes, int]) -> None:
        """Write a record that nobody has seen yet, in one go."""
        memory, base = self._records.at(slot)
        self._whole_destination.pack_into(memory, base, *self._configured(service, destination, name))

    @cached_property
    def _whole_destination(self) -> struct.Struct:
        return self._destination.packer(_CONFIGURED)

    def _write_destination(
        self, slot: int, service: int, destination: Destination, name: tuple[bytes, int], new: bool
    ) -> None:
        """Write what is configured, field by field, and the flags last: counts and next hop beside it belong to the
        data plane. What is as it was is left alone."""
        record, (memory, base) = self._destination, self._records.at(slot)
        old, place = record.unpack_from(memory, base), record.place
        fields = dict(zip(_CONFIGURED, self._configured(service, destination, name), strict=True))
        flags = old[place["flags"]] | AVAILABLE
        if not destination.upper_threshold or destination.upper_threshold > old[place["upper"]]:
            flags &= ~OVERLOAD
        if not new and not destination.weight:
            del fields["last_weight"]  # mh goes by the last one that was not 0
        if destination.method is not ForwardingMethod.TUN:
            del fields["source"]
        del fields["flags"]
        for field, value in (fields | {"flags": flags}).items():
            if old[place[field]] != value:
                record.store(memory, base, field, value)

    def _sources(self, destination: Destination) -> bytes:
        """The addresses that FULLNAT sends from, 16 bytes each; Unsupported if there is none."""
        raw = b"".join(addresses.pack(address) for address in destination.local_addresses)
        raw = raw or self._source_towards(destination.address)
        if not any(raw):
            raise Unsupported(
                f"no route to {destination.address}, so FULLNAT has no source; type --local-address ADDRESS"
            )
        return raw

    def _locals(self, destination: Destination) -> tuple[int, int]:
        """Index of the first of FULLNAT's local addresses, and how many. Those that are there already are used again:
        connections know theirs by its index, so none is ever changed."""
        raw = self._sources(destination)
        first, number = self.settings["next_local"], len(raw) // 16
        known = self._pools[: first * 16].tobytes()
        for place in range(first - number + 1):
            if known.startswith(raw, place * 16):
                return place, number
        if first + number > LOCALS_MAX:
            raise TableFull(f"there is room for {LOCALS_MAX} local addresses of FULLNAT")
        self._pools[first * 16 : (first + number) * 16] = raw
        self.settings["next_local"] = first + number
        return first, number

    @cached_property
    def _pools(self) -> memoryview:
        from pylvs.dataplane.mapped import MappedArray

        return MappedArray(self.instance.map("local_addresses")).memory

    def edit_destination(self, key: ServiceKey, destination: Destination) -> None:
        """Change a destination; NoSuchService, NoSuchDestination, OutOfRange, Invalid."""
        with self.locked_once():
            service = self._slot_of(key)
            destination = self._checked(key, destination, new=False)
            slot = self._member(service, destination)
            name = _record_name(destination)
            self._write_destination(slot, service, destination, name, new=False)
            self._run(CHANGED, service, slot)

    def _member(self, service: int, destination: Destination) -> int:
        try:
            return self._destinations(service)[_record_name(destination)]
        except KeyError:
            raise NoSuchDestination("no such destination") from None

    def delete_destination(self, key: ServiceKey, destination: Destination) -> None:
        """Take a destination out of its service; its connections stay. NoSuchService, NoSuchDestination."""
        with self.locked_once():
            self._delete_destinations(key, (destination,))

    def _delete_destinations(
        self, key: ServiceKey, destinations: Sequence[Destination], available: bool = False
    ) -> None:
        """Take destinations out of a service. `available`: their connections go on."""
        service = self._slot_of(key)
        slots = [self._member(service, destination) for destination in destinations]
        if not slots:
            return
        now = self._run(FOLD, service)  # what they counted is their service's, also when they are gone
        for slot in slots:
            self._run(UNLINK, service, slot)
        self._trash.throw(_pack_key(key), slots, now, available=available, orphaned=False)
        members = self._destinations(service)
        for destination in destinations:
            del members[_record_name(destination)]
        self._changed(service, members)

    def end_connections(self, key: ServiceKey, destination: Destination) -> int:
        """End every connection of a destination, for a client to see as a reset; how many there were. NoSuchService,
        NoSuchDestination."""
        with self.locked_once():
            service = self._slot_of(key)
            self._run(END, service, self._member(service, destination))
            return int(struct.unpack_from("=i", self._control.context, 12)[0])

    # --- the whole table at once

    def replace(self, services: Sequence[ConfiguredService]) -> None:
        """Make the table be this. Everything is checked before anything is changed; then only what differs is touched,
        under one lock, new destinations before old ones go. A destination that goes keeps the connections it has."""
        wanted = {service.key: self._wanted(service, members) for service, members in services}
        with self.changing():
            for _, members in wanted.values():
                for member in members:
                    if member.method is ForwardingMethod.FULLNAT:
                        self._sources(member)
            present = {state.service.key: state for state in self.services(counted=False)}
            for key, (service, members) in wanted.items():
                self._replace_service(present.get(key), service, members)
            gone = {key: self._slot_of(key) for key in present.keys() - wanted.keys()}
            self._delete_services({_pack_key(key): slot for key, slot in gone.items()}, available=True)
            for key in gone:
                self._count_services(key, -1)

    def _wanted(
        self, service: VirtualService, members: Iterable[Destination]
    ) -> tuple[VirtualService, list[Destination]]:
        """A service and its destinations in their normal form, checked."""
        rules.check_service(service)
        checked = [self._checked(service.key, member, new=True) for member in members]
        if len(checked) > DESTINATIONS_MAX:
            raise TableFull(f"a service takes {DESTINATIONS_MAX} destinations at most")
        if len({_name(member) for member in checked}) < len(checked):
            raise DestinationExists("a destination is there twice")
        return rules.normalize_service(service), checked

    def _replace_service(
        self, present: ServiceState | None, service: VirtualService, members: list[Destination]
    ) -> None:
        if present is None:
            self.add_service(service)
        elif present.service != service:
            self.edit_service(service)
        old = {_name(m.destination): m.destination for m in present.destinations} if present else {}
        new, changed = [], []
        for member in members:
            known = old.pop(_name(member), None)
            if known is None:
                new.append(member)
            elif known != member:
                changed.append(member)
        gone = list(old.values())
        if len(members) + len(gone) > DESTINATIONS_MAX:  # no room for both
            self._delete_destinations(service.key, gone, available=True)
            gone = []
        for error in filter(None, self._add_members(self._slot_of(service.key), new, lambda each: each)):
            raise error
        for member in changed:
            self.edit_destination(service.key, member)
        self._delete_destinations(service.key, gone, available=True)

    # --- what is observed

    def service(self, key: ServiceKey) -> ServiceState:
        """One service; NoSuchService."""
        slot = self._slot_of(key)
        self._run(SWEEP)
        self._run(FOLD, slot)
        return self._service_state(slot)

    def services(self, counted: bool = True) -> Iterable[ServiceState]:
        """Every service, in no order; destinations newest first, as in IPVS. Not `counted`: counters and rates stay
        zero, which is faster."""
        if not self.instance.loaded:
            return
        self._run(SWEEP)
        if counted:
            self._run(FOLD)
        for _, slot in self._services.items():
            yield self._service_state(int(_SLOT.unpack(slot)[0]), counted)

    def service_at(self, slot: int) -> VirtualService:
        """The service of a slot, as a trace has it; nonsense if it was deleted meanwhile."""
        return self._service_from(self._get(slot, self._service))

    def destination_at(self, slot: int) -> DestinationState:
        """The destination of a slot, uncounted."""
        return self._destination_state(slot, counted=False)

    def next_hop_of(self, key: ServiceKey, destination: Destination) -> dict[str, Any]:
        """What the data plane knows of the way there: fields of the record. NoSuchService, NoSuchDestination."""
        record = self._get(self._member(self._slot_of(key), destination), self._destination)
        return dict(zip(self._destination.names, record, strict=True))

    def tick(self) -> int:
        """The data plane's clock."""
        return self._run(NOW)

    def _observed(self, slot: int, counted: bool = True) -> tuple[Counters, Counters]:
        if not counted:
            return NOTHING, NOTHING
        return Counters(*self._records.counted(slot)), Counters(*self._records.rates(slot))

    def _service_state(self, slot: int, counted: bool = True) -> ServiceState:
        service = self._service_from(self._get(slot, self._service))
        destinations = tuple(self._destination_state(member, counted) for member in self._chain(slot))
        return ServiceState(service, destinations, *self._observed(slot, counted))

    def _service_from(self, record: tuple[Any, ...]) -> VirtualService:
        values = dict(zip(self._service.names, record, strict=True))
        if values["fwmark"]:
            key = ServiceKey(fwmark=values["fwmark"], family=values["family"])
        else:
            address = addresses.unpack(values["address"])
            key = ServiceKey(Protocol(values["protocol"]), address, swap16(values["port"]), family=address.version)
        mask = int.from_bytes(values["netmask"], "big")
        return VirtualService(
            key,
            SCHEDULERS[values["scheduler"]],
            ServiceFlag(values["flags"]),
            values["timeout_seconds"],
            mask & 0xFFFFFFFF if values["family"] == 4 else mask.bit_count(),
            ENGINES[values["pe"]],
        )

    def _destination_state(self, slot: int, counted: bool) -> DestinationState:
        address, port, method, weight, upper, lower, *rest = self._observed_fields(self._get(slot, self._destination))
        tunnel, tunnel_port, tunnel_flags, first, count, active, inactive, persistent = rest
        destination = Destination(
            addresses.unpack(address),
            SWAP[port],
            METHODS[method],
            weight,
            upper,
            lower,
            self._tunnel(tunnel, tunnel_port, tunnel_flags),
            self._local_addresses(first, count) if count else (),
        )
        return DestinationState(destination, active, inactive, persistent, *self._observed(slot, counted))

    @cached_property
    def _observed_fields(self) -> itemgetter[tuple[Any, ...]]:
        return itemgetter(*(self._destination.place[name] for name in _OBSERVED))

    @staticmethod
    @lru_cache
    def _tunnel(kind: int, port: int, flags: int) -> Tunnel:
        return Tunnel(TUNNELS[kind], swap16(port), CHECKSUMS[flags])

    def _local_addresses(self, first: int, count: int) -> tuple[Address, ...]:
        table = self.instance.map("local_addresses")
        indices = range(first, first + count)
        return tuple(addresses.unpack(table.lookup(_SLOT.pack(index)) or bytes(16)) for index in indices)

    def totals(self) -> tuple[Counters, Counters]:
        """Counters and rates of all services together, those deleted since included (/proc/net/ip_vs_stats)."""
        if not self.instance.loaded:
            return NOTHING, NOTHING
        self._run(FOLD)
        return self._observed(0)

    def cpu_totals(self) -> Sequence[Counters]:
        """Counters of all services together, by CPU (/proc/net/ip_vs_stats_percpu)."""
        if not self.instance.loaded:
            return [Counters()] * possible_cpus()
        return [Counters(*sums) for sums in self._records.counted_by_cpu()]

    def zero(self, key: ServiceKey | None = None) -> None:
        """Start the counters of a service (of everything, with None) from zero. NoSuchService."""
        if key is None and not self.instance.loaded:
            return
        with self.instance.locked():
            one = 0 if key is None else self._slot_of(key)
            self._run(FOLD, one)
            if one:
                self._zero(one)
                return
            for _, slot in self._services.items():
                self._zero(int(_SLOT.unpack(slot)[0]))
            self._records.zero(0)

    def _zero(self, service: int) -> None:
        self._records.zero(service)
        for slot in self._chain(service):
            self._records.zero(slot)

    def connections(self) -> Iterator[Connection]:
        """Every entry of the connection table, templates too."""
        if not self.instance.loaded:
            return
        entries, now, second = Entries(self.instance, self.layouts), self._run(NOW), self.settings["second"]
        reals: dict[int, Address] = {}
        address = self._destination.place["address"]
        for entry in entries.raw(now):
            slot = entry[6]
            if slot not in reals:
                reals[slot] = addresses.unpack(self._get(slot, self._destination)[address])
            yield self._connection(entry, reals[slot], entries, ((entry[1] - now) & 0xFFFFFFFF) / second)

    def _connection(self, entry: tuple[Any, ...], real: Address, entries: Entries, expires: float) -> Connection:
        template, invalid = bool(entry[11] & entries.template), bool(entry[11] & entries.invalid)
        return Connection(
            Protocol(entry[10]),
            addresses.unpack(entry[2]),
            swap16(entry[4]),
            addresses.unpack(entry[3]),
            65535 if invalid else swap16(entry[5]),
            real,
            65535 if invalid else swap16(entry[8]),
            entries.state(entry),
            expires if expires < 1 << 30 else 0.0,
            template=template,
            method=METHODS[entry[12]],
        )

    def connection_rows(self) -> Iterator[Sequence[ConnectionRow]]:
        """The same as `connections`, in chunks of plain tuples: a million of them in a second or two."""
        if not self.instance.loaded:
            return
        entries, now, second = Entries(self.instance, self.layouts), self._run(NOW), self.settings["second"]
        reals: dict[int, bytes] = {}
        address = self._destination.place["address"]
        raw = entries.raw(now)
        while chunk := list(islice(raw, ROWS)):
            for slot in {entry[6] for entry in chunk} - reals.keys():
                reals[slot] = self._get(slot, self._destination)[address]
            yield [_row(entry, reals[entry[6]], entries, now, second) for entry in chunk]

    def connection_text(self) -> Iterator[bytes] | None:
        """All of `connections` as numeric rows of `-Lnc`, in blocks; None where the kernel cannot write them."""
        if not self.instance.loaded:
            return None
        from pylvs.dataplane.listing import connection_text

        maps = self.instance.map("connections"), self.instance.map("records")
        try:
            return connection_text(*maps, now=self._run(NOW), second=self.settings["second"])
        except DataPlaneError:
            return None

    # --- timeouts and daemons

    def timeouts(self) -> Timeouts:
        """The timeouts of `--set`, in seconds."""
        if not self.instance.loaded:
            return Timeouts()
        second = self.settings["second"]
        tcp, udp = self.settings["tcp_timeout"], self.settings["udp_timeout"]
        return Timeouts(tcp[1] // second, tcp[4] // second, udp[0] // second)

    def set_timeouts(self, timeouts: Timeouts) -> None:
        """Set those that are not 0; entries get them at their next packet."""
        with self.changing():
            second = self.settings["second"]
            tcp, udp = list(self.settings["tcp_timeout"]), list(self.settings["udp_timeout"])
            tcp[1], tcp[4] = timeouts.tcp * second or tcp[1], timeouts.tcp_fin * second or tcp[4]
            udp[0] = timeouts.udp * second or udp[0]
            self.settings["tcp_timeout"], self.settings["udp_timeout"] = tuple(tcp), tuple(udp)

    def set_knob(self, name: str, value: int) -> None:
        """Set one of the data plane's knobs, by the kernel's name (see pylvs.tuning)."""
        with self.changing():
            self.settings[name] = value
            for _, slot in self._services.items():  # a scheduler may go by it
                self._run(SETTING, int(_SLOT.unpack(slot)[0]))

    def daemons(self) -> Iterable[SyncDaemon]:
        """The sync daemons that were started; they are remembered and listed, and send nothing."""
        for role in ROLES:
            if note := self.instance.note(f"sync-{role}"):
                values = json.loads(note)
                group = values.pop("group")
                yield SyncDaemon(**values, group=ip_address(group) if group else None)

    def start_daemon(self, daemon: SyncDaemon) -> None:
        """Remember a sync daemon; DaemonError."""
        from pylvs.dataplane.multicast import mtu_of, try_multicast

        with self.instance.locked():
            interfaces = [name for _, name in socket.if_nameindex()]
            running = {running.role for running in self.daemons()}
            rules.check_daemon(daemon, running, daemon.interface in interfaces, self._has_mixed_families())
            daemon = rules.normalize_daemon(daemon, mtu_of(daemon.interface))
            try_multicast(daemon)
            values = asdict(replace(daemon, group=None)) | {"group": str(daemon.group) if daemon.group else ""}
            self.instance.remember(f"sync-{daemon.role}", json.dumps(values))

    def _has_mixed_families(self) -> bool:
        return any(
            member.destination.address.version != rules.family_of(state.service.key)
            for state in self.services()
            for member in state.destinations
        )

    def stop_daemon(self, role: str) -> None:
        """Forget a sync daemon; DaemonError (ESRCH) if there is none."""
        import errno

        with self.instance.locked():
            if role not in {daemon.role for daemon in self.daemons()}:
                raise DaemonError("no daemon is running", errno.ESRCH)
            self.instance.remember(f"sync-{role}", None)
