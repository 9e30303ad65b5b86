# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command line means: frozen values that the parser makes and `run` carries out."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from pylvs.model import Address, Destination, ServiceKey, SyncDaemon, Timeouts, VirtualService
from pylvs.values import frozen


@frozen
class Format:
    """How a listing is to look; of stats, rate, thresholds, persistent and tunnels the first set one wins."""

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
    """Which connections to list; None: all. A port of None: any."""

    service: tuple[Address, int | None] | None = None
    destination: tuple[Address, int | None] | None = None
    client: IPv4Network | IPv6Network | None = None
    state: str | None = None
    limit: int | None = None

    def everything(self) -> bool:
        """True if it lets all connections through."""
        return self == Filter()


class Command(NamedTuple):
    """One command. `name` is its long option; the other fields are set as it needs them.

    It is a tuple because a hundred thousand of them are made in restoring a large table.
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
    """The program ends with this exit status, after `text` on standard error (on output if 0)."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Misused(Exception):
    """A line that popt refuses: reported on standard error, status 255; `-R` goes on to the next line."""
