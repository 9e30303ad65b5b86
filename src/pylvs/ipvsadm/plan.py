# SPDX-License-Identifier: GPL-2.0-or-later
"""A planned table: commands change it by the kernel's rules, in memory only.

`-R --atomic` makes one of its input, and then replaces the real table by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pylvs import rules
from pylvs.errors import DestinationExists, NoSuchDestination, NoSuchService, ServiceExists
from pylvs.ipvsadm.names import endpoint
from pylvs.ipvsadm.save import destination_options, service_option, service_options
from pylvs.model import Address, AddressTypes, ConfiguredService, Destination, ServiceKey, VirtualService

DestinationKey = tuple[Address, int]


class PlannedService:
    """A service and its destinations in the order in which they were added."""

    __slots__ = ("destinations", "service")

    def __init__(self, service: VirtualService) -> None:
        self.service = service
        self.destinations: dict[DestinationKey, Destination] = {}


class Plan:
    """The half of `pylvs.model.Table` that changes it, in memory."""

    def __init__(self, types: AddressTypes = rules.address_type) -> None:
        self.services_by_key: dict[ServiceKey, PlannedService] = {}
        self.syncing = False
        self._types = types

    def configured(self) -> list[ConfiguredService]:
        """The table as `Table.replace` takes it."""
        return [(each.service, tuple(each.destinations.values())) for each in self.services_by_key.values()]

    def add_service(self, service: VirtualService) -> None:
        if service.key in self.services_by_key:
            raise ServiceExists(f"{service.key.option} is there already")
        rules.check_service(service)
        self.services_by_key[service.key] = PlannedService(rules.normalize_service(service))

    def edit_service(self, service: VirtualService) -> None:
        planned = self.planned(service.key)
        rules.check_service(service)
        planned.service = rules.normalize_service(service)

    def delete_service(self, key: ServiceKey) -> None:
        self.planned(key)
        del self.services_by_key[key]

    def flush(self) -> None:
        self.services_by_key.clear()

    def add_destination(self, key: ServiceKey, destination: Destination) -> None:
        planned = self.planned(key)
        rules.check_fields(destination)
        self._check(key, destination, new=True)
        place = destination.address, destination.port
        if place in planned.destinations:
            raise DestinationExists(f"{destination} is there already")
        planned.destinations[place] = destination

    def edit_destination(self, key: ServiceKey, destination: Destination) -> None:
        planned = self.planned(key)
        rules.check_fields(destination)
        self._check(key, destination, new=False)
        planned.destinations[self._place(planned, destination)] = destination

    def delete_destination(self, key: ServiceKey, destination: Destination) -> None:
        planned = self.planned(key)
        del planned.destinations[self._place(planned, destination)]

    def planned(self, key: ServiceKey) -> PlannedService:
        """The planned service with this key; NoSuchService."""
        try:
            return self.services_by_key[key]
        except KeyError:
            raise NoSuchService(f"no service {key.option}: add it first, with -A") from None

    def _place(self, planned: PlannedService, destination: Destination) -> DestinationKey:
        place = destination.address, destination.port
        if place not in planned.destinations:
            raise NoSuchDestination(f"no destination {destination}")
        return place

    def _check(self, key: ServiceKey, destination: Destination, *, new: bool) -> None:
        rules.check_destination(key, destination, new=new, syncing=self.syncing, types=self._types)


def differences(before: Iterable[ConfiguredService], after: Iterable[ConfiguredService]) -> Iterator[str]:
    """The rules by which two tables differ: `-` lines are to go, `+` lines to come."""
    old, new = table_rules(before), table_rules(after)
    for line in old:
        if line not in new:
            yield f"- {line}\n"
    for line in new:
        if line not in old:
            yield f"+ {line}\n"


def table_rules(configured: Iterable[ConfiguredService]) -> dict[str, None]:
    """All rules of a table in order, with thresholds, which `-S` leaves out."""
    lines: dict[str, None] = {}
    for service, destinations in configured:
        name = _service_name(service.key)
        lines[f"-A {name}{service_options(service)}"] = None
        for there in destinations:
            lines[_destination_rule(name, there)] = None
    return lines


def _service_name(key: ServiceKey) -> str:
    """As in `-S -n`, but for marks above 2147483647: `-S` writes them negative, and `-R` would not read that."""
    return key.option if key.fwmark else service_option(key, numeric=True)


def _destination_rule(name: str, there: Destination) -> str:
    server = endpoint(there.address, there.port, 0, numeric=True)
    upper = f" -x {there.upper_threshold}" if there.upper_threshold else ""
    lower = f" -y {there.lower_threshold}" if there.lower_threshold else ""
    return f"-a {name} -r {server} {destination_options(there)}{upper}{lower}"
