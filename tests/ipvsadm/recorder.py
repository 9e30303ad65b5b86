# SPDX-License-Identifier: GPL-2.0-or-later
"""A table that only writes down what it is asked to change, as plain JSON values."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from pylvs.model import Destination, ServiceKey, SyncDaemon, Timeouts, VirtualService
from tests.ipvsadm.memory import MemoryTable

Change = list[Any]


def plain(value: Any) -> Any:
    """Enums by value, addresses as text."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, IPv4Address | IPv6Address):
        return str(value)
    return list(map(plain, value)) if isinstance(value, tuple) else value


class Recorder(MemoryTable):
    """`changes` in order; nothing is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []

    def _note(self, name: str, *values: Any) -> None:
        self.changes.append([name, *(plain(asdict(value)) for value in values)])

    def add_service(self, service: VirtualService) -> None:
        self._note("add-service", service)

    def edit_service(self, service: VirtualService) -> None:
        self._note("edit-service", service)

    def delete_service(self, key: ServiceKey) -> None:
        self._note("delete-service", key)

    def flush(self) -> None:
        self._note("clear")

    def add_destination(self, key: ServiceKey, destination: Destination) -> None:
        self._note("add-server", key, destination)

    def edit_destination(self, key: ServiceKey, destination: Destination) -> None:
        self._note("edit-server", key, destination)

    def delete_destination(self, key: ServiceKey, destination: Destination) -> None:
        self.changes.append(["delete-server", plain(asdict(key)), str(destination.address), destination.port])

    def zero(self, key: ServiceKey | None = None) -> None:
        self._note("zero", *([key] if key is not None else []))

    def set_timeouts(self, timeouts: Timeouts) -> None:
        self._note("set", timeouts)

    def start_daemon(self, daemon: SyncDaemon) -> None:
        self._note("start-daemon", daemon)

    def stop_daemon(self, role: str) -> None:
        self.changes.append(["stop-daemon", role])
