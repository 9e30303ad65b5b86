# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of one loaded data plane, as shared memory: what every other module of this package stands on.

A `Memory` belongs to one load. Its layouts are those of the object that was loaded, so that two of them, of two
versions, can be open at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from pylvs.addresses import pack
from pylvs.dataplane.kernel import Map
from pylvs.dataplane.loaded import DataPlane
from pylvs.errors import DataPlaneError, NoSuchService
from pylvs.model import ServiceKey
from pylvs.table.codes import Codes
from pylvs.table.control import Control
from pylvs.table.filter import AddressFilter
from pylvs.table.records import Record, Records, swap16
from pylvs.table.settings import Settings

ABI_VERSION = 8  # of bpf/abi.h
SLOT = struct.Struct("=I")

# A destination's name in its service: its address (16 bytes) and its port in network order.
Name = tuple[bytes, int]


class Memory:
    """Layouts, settings, records and maps of one data plane; DataPlaneError if another version of pylvs loaded it."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self.layouts = plane.layouts
        found = self.layouts.constants.get("ABI_VERSION")
        if found != ABI_VERSION:
            raise DataPlaneError(
                f"the loaded data plane is another pylvs version's (ABI {found}, not {ABI_VERSION});"
                " run: pylvs detach --unload, and make the table anew"
            )
        self.settings = Settings(plane, self.layouts)
        self.records = Records(plane, self.layouts, self.settings)
        self.codes = Codes(self.layouts)
        self.constants = self.layouts.constants  # every enumerator by name
        # by the slot of a service: the generation for which they were read, and its destinations
        self._members: dict[int, tuple[int, dict[Name, int]]] = {}

    @cached_property
    def service(self) -> Record:
        """`struct service`."""
        return Record(self.layouts["service"])

    @cached_property
    def destination(self) -> Record:
        """`struct destination`."""
        return Record(self.layouts["destination"])

    @cached_property
    def services(self) -> Map:
        """The map from `struct service_key` to a service's slot."""
        return self.plane.map("services")

    @cached_property
    def control(self) -> Control:
        """The operations that the data plane does itself."""
        return Control(self.plane, self.layouts)

    @cached_property
    def filter(self) -> AddressFilter:
        """The addresses that matter at all."""
        return AddressFilter(self.plane, self.layouts, self.settings)

    @cached_property
    def _service_key(self) -> Record:
        return Record(self.layouts["service_key"])

    def pack_key(self, key: ServiceKey) -> bytes:
        """A service's key as `struct service_key`."""
        if key.fwmark or key.address is None:
            values: dict[str, Any] = {"family": key.family, "fwmark": key.fwmark}
        else:
            values = {
                "address": pack(key.address),
                "port": swap16(key.port),
                "protocol": int(key.protocol),
                "family": key.address.version,
            }
        return self._service_key.pack(**values)

    def find(self, packed: bytes) -> int | None:
        """Slot of the service with this packed key, or None."""
        raw = self.services.lookup(packed)
        return None if raw is None else int(SLOT.unpack(raw)[0])

    def slot_of(self, key: ServiceKey) -> int:
        """Slot of a service; NoSuchService."""
        slot = self.find(self.pack_key(key))
        if slot is None:
            raise NoSuchService(f"no such service: {key}")
        return slot

    def service_slots(self) -> Iterator[tuple[bytes, int]]:
        """Packed key and slot of every service."""
        for packed, raw in self.services.items():
            yield packed, int(SLOT.unpack(raw)[0])

    def get(self, slot: int, record: Record) -> tuple[Any, ...]:
        """The record in a slot, as the tuple of its fields."""
        return record.unpack_from(*self.records.at(slot))

    def number(self, slot: int, record: Record, name: str) -> int:
        """A field of 4 bytes of the record in a slot, unsigned."""
        words, base = self.records.words_at(slot)
        return words[base + record.word[name]]

    def set_number(self, slot: int, record: Record, name: str, value: int) -> None:
        """Set a field of 4 bytes by one store."""
        words, base = self.records.words_at(slot)
        words[base + record.word[name]] = value & 0xFFFFFFFF

    def chain(self, service: int) -> Iterator[int]:
        """Slots of the service's destinations, newest first."""
        slot = self.number(service, self.service, "first")
        while slot:
            yield slot
            slot = self.number(slot, self.destination, "next")

    def members(self, service: int) -> dict[Name, int]:
        """The service's destinations by name; read again only if the service's generation is another one."""
        generation = self.number(service, self.service, "generation")
        known = self._members.get(service)
        if known is None or known[0] != generation:
            known = generation, self._read_members(service)
            self._members[service] = known
        return known[1]

    def _read_members(self, service: int) -> dict[Name, int]:
        place = self.destination.place
        address, port = place["address"], place["port"]
        found = {}
        for slot in self.chain(service):
            record = self.get(slot, self.destination)
            found[record[address], record[port]] = slot
        return found

    def members_changed(self, service: int, members: dict[Name, int]) -> None:
        """Count the service's generation up, for which `members` is right."""
        generation = self.number(service, self.service, "generation") + 1 & 0xFFFFFFFF
        self.set_number(service, self.service, "generation", generation)
        self._members[service] = generation, members

    def forget_members(self, service: int) -> None:
        """The service is deleted."""
        self._members.pop(service, None)
