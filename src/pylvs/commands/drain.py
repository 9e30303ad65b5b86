# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs drain -t VIP:PORT -r RIP[:PORT]`: no new connections for a destination, and wait until it has none.

The weight becomes 0, as by `pylvsadm -e … -w 0`, and stays so; interrupting the wait changes nothing more.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from pylvs.errors import NoSuchDestination, PylvsError
from pylvs.model import Destination, DestinationState, Protocol, ServiceKey
from pylvs.table.director import Director

UNITS = {"s": 1, "m": 60, "h": 3600}
PROTOCOLS = {"tcp": Protocol.TCP, "udp": Protocol.UDP, "sctp": Protocol.SCTP}


class BadArgument(PylvsError):
    """What was typed cannot be read."""


def seconds(text: str) -> float:
    """'90', '90s', '5m' or '1h'; BadArgument."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    try:
        return float(number) * UNITS[unit]
    except ValueError:
        raise BadArgument(f"no time '{text}'; type seconds, or as 90s, 5m, 1h") from None


def endpoint(text: str) -> tuple[str, int]:
    """'10.0.0.1:80' or '[fd00::1]:80' as address and port, 0 without one; BadArgument."""
    host, _, port = text.rpartition(":") if text.count(":") == 1 or text.startswith("[") else (text, "", "")
    try:
        return str(ip_address((host or text).strip("[]"))), int(port or 0)
    except ValueError:
        raise BadArgument(f"no address '{text}'; type 10.0.0.1:80 or [fd00::1]:80") from None


def service_key(options: argparse.Namespace) -> ServiceKey:
    """The service that the options name."""
    if options.fwmark:
        return ServiceKey(fwmark=options.fwmark, family=6 if options.ipv6 else 4)
    for name, protocol in PROTOCOLS.items():
        if text := getattr(options, name):
            host, port = endpoint(text)
            return ServiceKey(protocol, ip_address(host), port, family=ip_address(host).version)
    raise BadArgument("no service; type one of -t, -u, --sctp-service or -f")


def find(director: Director, key: ServiceKey, server: str) -> DestinationState:
    """The destination as it is now; NoSuchService, NoSuchDestination."""
    host, port = endpoint(server)
    for state in director.service(key).destinations:
        here = state.destination
        if str(here.address) == host and here.port == (port or key.port):
            return state
    raise NoSuchDestination(f"no destination {server} in this service; type: pylvsadm -Ln")


def left(state: DestinationState) -> int:
    """Connections that it still has."""
    return state.active + state.inactive


def watch(director: Director, key: ServiceKey, server: str, until: float) -> Iterator[DestinationState]:
    """The destination once a second, until it has no connections or the time (monotonic) is up."""
    while True:
        state = find(director, key, server)
        yield state
        if not left(state) or time.monotonic() >= until:
            return
        time.sleep(min(1.0, max(0.0, until - time.monotonic())))


def quiesce(director: Director, key: ServiceKey, destination: Destination) -> None:
    """Weight 0, if it is not."""
    if destination.weight:
        director.edit_destination(key, replace(destination, weight=0))


def show(state: DestinationState, last: bool) -> None:
    """One line that is written over while it is not the last, on a terminal."""
    text = f"{state.destination.address}:{state.destination.port}  {state.active} active, {state.inactive} inactive"
    if sys.stdout.isatty():
        print(f"\r{text:<60}", end="\n" if last else "", flush=True)
    else:
        print(text, flush=True)


def drain(options: argparse.Namespace) -> int:
    """Exit status 0: it has no connections any more."""
    key, until = service_key(options), time.monotonic() + seconds(options.timeout)
    with Director() as director:
        state = find(director, key, options.real_server)
        destination = state.destination
        quiesce(director, key, destination)
        for state in watch(director, key, options.real_server, until):
            if not options.json:
                show(state, last=not left(state))
        remaining, ended = left(state), 0
        if remaining and options.reset:
            ended = director.end_connections(key, destination)
    if options.json:
        print(json.dumps({"remaining": remaining - ended, "reset": ended}))
    elif ended:
        print(f"{ended} connections reset")
    elif remaining:
        print(f"{remaining} connections remain; --reset would end them", file=sys.stderr)
    return 0 if remaining == ended else 1


def run(argv: list[str]) -> int:
    """`pylvs drain`."""
    parser = argparse.ArgumentParser(prog="pylvs drain", description=(__doc__ or "").partition("\n")[0])
    service = parser.add_mutually_exclusive_group(required=True)
    service.add_argument("-t", "--tcp-service", dest="tcp", metavar="VIP:PORT")
    service.add_argument("-u", "--udp-service", dest="udp", metavar="VIP:PORT")
    service.add_argument("--sctp-service", dest="sctp", metavar="VIP:PORT")
    service.add_argument("-f", "--fwmark-service", dest="fwmark", type=int, metavar="MARK")
    parser.add_argument("-6", "--ipv6", action="store_true", help="the mark's IPv6 service")
    parser.add_argument("-r", "--real-server", required=True, metavar="RIP[:PORT]")
    parser.add_argument("--timeout", default="5m", help="how long to wait, as 90s, 5m, 1h (default: %(default)s)")
    parser.add_argument("--reset", action="store_true", help="then reset what is left")
    parser.add_argument("--json", action="store_true", help="as data, at the end")
    try:
        return drain(parser.parse_args(argv))
    except KeyboardInterrupt:
        print("\ninterrupted; the weight stays 0", file=sys.stderr)
        return 130
