# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs drain -t VIP:PORT -r RIP[:PORT]`: no new connections for a destination, and wait until it has none.

The weight becomes 0, as by `pylvsadm -e … -w 0`, and stays so; interrupting the wait changes nothing more.
"""

from __future__ import annotations

import argparse
import json
import sys

from pylvs.errors import PylvsError
from pylvs.model import DestinationState, Endpoint, ServiceKey
from pylvs.table.director import Director
from pylvs.table.drain import Drained, connections, drain

UNITS = {"s": 1, "m": 60, "h": 3600}


class BadArgument(PylvsError):
    """A word of the command line that cannot be read."""


def seconds(text: str) -> float:
    """'90', '90s', '5m' or '1h' in seconds; BadArgument."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    try:
        return float(number) * UNITS[unit]
    except ValueError:
        raise BadArgument(f"no time '{text}'; accepted: seconds, or as 90s, 5m, 1h") from None


def service_key(options: argparse.Namespace) -> ServiceKey:
    """The service that the options name; Unreadable."""
    if options.fwmark is not None:
        family = " IPv6" if options.ipv6 else ""
        return ServiceKey.parse(f"fwmark {options.fwmark}{family}")
    for protocol in ("tcp", "udp", "sctp"):
        if endpoint := getattr(options, protocol):
            return ServiceKey.parse(f"{protocol} {endpoint}")
    raise BadArgument("no service; run with one of -t, -u, --sctp-service or -f")


def show(state: DestinationState) -> None:
    """One line, which the next one overwrites on a terminal until no connection is left."""
    text = f"{state.destination}  {state.active} active, {state.inactive} inactive"
    if sys.stdout.isatty():
        print(f"\r{text:<60}", end="" if connections(state) else "\n", flush=True)
    else:
        print(text, flush=True)


def tell(drained: Drained) -> None:
    """How it ended, for a person."""
    if drained.reset:
        print(f"{drained.reset} connections reset")
    elif drained.remaining:
        print(f"{drained.remaining} connections remain; --reset would end them", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The grammar of `pylvs drain`."""
    top = argparse.ArgumentParser(prog="pylvs drain", description=(__doc__ or "").partition("\n")[0])
    service = top.add_mutually_exclusive_group(required=True)
    service.add_argument("-t", "--tcp-service", dest="tcp", metavar="VIP:PORT")
    service.add_argument("-u", "--udp-service", dest="udp", metavar="VIP:PORT")
    service.add_argument("--sctp-service", dest="sctp", metavar="VIP:PORT")
    service.add_argument("-f", "--fwmark-service", dest="fwmark", metavar="MARK")
    top.add_argument("-6", "--ipv6", action="store_true", help="the mark's IPv6 service")
    top.add_argument("-r", "--real-server", required=True, metavar="RIP[:PORT]")
    top.add_argument("--timeout", default="5m", help="how long to wait, as 90s, 5m, 1h (default: %(default)s)")
    top.add_argument("--reset", action="store_true", help="then reset what is left")
    top.add_argument("--json", action="store_true", help="as JSON, at the end")
    return top


def run(argv: list[str]) -> int:
    """Exit status 0: the destination has no connections any more; 1: some remain; 130: interrupted."""
    options = parser().parse_args(argv)
    key, server, timeout = service_key(options), Endpoint.parse(options.real_server), seconds(options.timeout)
    progress = (lambda _: None) if options.json else show
    try:
        with Director() as director:
            drained = drain(director, key, server, timeout, reset=options.reset, progress=progress)
    except KeyboardInterrupt:
        print("\ninterrupted; the weight stays 0", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps({"remaining": drained.remaining, "reset": drained.reset}))
    else:
        tell(drained)
    return 1 if drained.remaining else 0
