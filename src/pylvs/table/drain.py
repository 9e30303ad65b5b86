# SPDX-License-Identifier: GPL-2.0-or-later
"""Drain a destination: no new connections for it, and wait until it has none.

The weight becomes 0, as by `pylvsadm -e … -w 0`, and stays 0 however the wait ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pylvs.errors import NoSuchDestination
from pylvs.model import Destination, DestinationState, Endpoint, ServiceKey
from pylvs.table.director import Director

INTERVAL = 1.0  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Drained:
    """How it ended: connections that remain, and connections that were reset. Both are 0 after a quiet end."""

    destination: Destination
    remaining: int
    reset: int = 0


def find(director: Director, key: ServiceKey, server: Endpoint) -> DestinationState:
    """The destination as it is now; without a port, at the service's. NoSuchService, NoSuchDestination."""
    port = server.port or key.port
    for state in director.service(key).destinations:
        if state.destination.address == server.address and state.destination.port == port:
            return state
    raise NoSuchDestination(f"no destination {server} in the service {key}; run: pylvsadm -Ln")


def connections(state: DestinationState) -> int:
    """How many connections a destination has."""
    return state.active + state.inactive


def drain(
    director: Director,
    key: ServiceKey,
    server: Endpoint,
    timeout: float = 300.0,
    *,
    reset: bool = False,
    progress: Callable[[DestinationState], None] = lambda _: None,
) -> Drained:
    """Quiesce a destination and wait until it has no connections, for `timeout` seconds at most.

    `reset` ends what then remains: each client sees a reset. `progress` is called with what is seen at each look.
    Raises NoSuchService, NoSuchDestination.

        drained = drain(director, ServiceKey.parse("tcp://192.0.2.1:80"), Endpoint.parse("192.0.2.11"), timeout=60)
    """
    state = find(director, key, server)
    destination = replace(state.destination, weight=0)
    if state.destination.weight:
        director.edit_destination(key, destination)
    for state in watch(director, key, server, time.monotonic() + timeout):
        progress(state)
    remaining = connections(state)
    if not remaining or not reset:
        return Drained(destination, remaining)
    ended = director.end_connections(key, destination)
    return Drained(destination, remaining - ended, ended)


def watch(director: Director, key: ServiceKey, server: Endpoint, until: float) -> Iterator[DestinationState]:
    """The destination once a second, until it has no connections or the time (monotonic) is up."""
    while True:
        state = find(director, key, server)
        yield state
        left = until - time.monotonic()
        if not connections(state) or left <= 0:
            return
        time.sleep(min(INTERVAL, left))
