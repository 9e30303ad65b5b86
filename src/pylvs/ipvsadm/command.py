# SPDX-License-Identifier: GPL-2.0-or-later
"""The meaning of a command line: frozen values that the parser makes and `run` carries out."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from pylvs.model import Address, Destination, ServiceKey, SyncDaemon, Timeouts, VirtualService
from pylvs.values import frozen


@frozen
class Format:
    """How to list; of stats, rate, thresholds, persistent and tunnels the first that is set wins."""

    numeric: bool = False
    stats: bool = False
    rate: bool = False
    thresholds: bool = False
    persistent: bool = False
    tunnels: bool = False
    exact: bool = False
    sort: bool = True
    json: bool = False


@frozen
class Filter:
    """Which connections to list. None matches everything; so does a port of None."""

    service: tuple[Address, int | None] | None = None
    destination: tuple[Address, int | None] | None = None
    client: IPv4Network | IPv6Network | None = None
    state: str | None = None
    limit: int | None = None

    def everything(self) -> bool:
        """True if it lets all connections through."""
        return self == Filter()


class Command(NamedTuple):
    """One command. `name` is its long option; the other fields are set as the command needs them.

    It is a tuple because restoring a large table makes a hundred thousand of them.
    `key` is None where no service was named; `listing` says what to list: "all", "service", "connection",
    "timeout" or "daemon".
    """

    name: str
    key: ServiceKey | None = None
    service: VirtualService | None = None
    destination: Destination | None = None
    timeouts: Timeouts | None = None
    daemon: SyncDaemon | None = None
    listing: str = ""
    format: Format = Format()
    filter: Filter = Filter()
    atomic: bool = False
    dry_run: bool = False


class Stop(Exception):
    """End the program with this exit status, after `text` on standard error (on standard output if it is 0)."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Misused(Exception):
    """A line that popt refuses: it is reported on standard error with status 255, and `-R` goes on to the next."""
