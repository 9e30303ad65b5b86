# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs trace`: each packet that the director handles, and why it did what it did; or what it would do."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import BinaryIO

from pylvs.dataplane.instance import Instance
from pylvs.errors import PylvsError
from pylvs.model import Endpoint, Protocol
from pylvs.table.director import Director
from pylvs.trace import explain as explaining
from pylvs.trace.packet import TracedPacket, as_json, line
from pylvs.trace.pcapng import Writer
from pylvs.trace.tracing import Tracing
from pylvs.trace.wanted import BadFilter, parse

RATE = 1000
FOREVER = 10 * 365 * 86400.0


def parser() -> argparse.ArgumentParser:
    """The grammar of `pylvs trace`."""
    top = argparse.ArgumentParser(
        prog="pylvs trace",
        description="Show each packet that the director handles, and why it did what it did.",
        epilog="FILTER is pairs of words, all of which must hold: client ADDRESS[/LENGTH], vip ADDRESS[/LENGTH], "
        "port N, destination RIP[:PORT], protocol tcp|udp|sctp|icmp, outcome NAME[,NAME...] (pass, forward, refuse, "
        "drop, all, or a name of `pylvs outcomes --json`). Without an outcome, packets for no virtual service are left "
        "out.",
    )
    top.add_argument("filter", nargs="*", metavar="FILTER", help="which packets (default: all for virtual services)")
    top.add_argument("--pcap", metavar="FILE", help="write what came in and what went out as pcapng ('-': to stdout)")
    top.add_argument("-c", "--count", type=int, default=0, metavar="N", help="end after N packets")
    top.add_argument("-d", "--duration", type=float, default=FOREVER, metavar="SECONDS", help="end after this time")
    top.add_argument("--rate", type=int, default=RATE, metavar="N", help=f"packets per second and CPU (default {RATE})")
    top.add_argument("-q", "--quiet", action="store_true", help="no lines, only --pcap")
    top.add_argument("--json", action="store_true", help="one JSON object per line")
    top.add_argument(
        "--explain", nargs=2, metavar=("CIP[:PORT]", "VIP:PORT"), help="what would become of a packet; sends none"
    )
    top.add_argument("--protocol", choices=("tcp", "udp", "sctp"), default="tcp", help="with --explain")
    top.add_argument("--mark", type=int, default=0, help="with --explain: a firewall mark that netfilter gives it")
    return top


def run(argv: Sequence[str]) -> int:
    """Trace until told to stop, or explain one packet."""
    options = parser().parse_args(argv)
    if options.explain:
        return explain(options)
    if options.count < 0 or options.rate < 1 or options.duration <= 0:
        raise BadFilter("count, rate and duration must be greater than zero")
    return trace(options)


def explain(options: argparse.Namespace) -> int:
    """Print what would become of the packet that the options describe."""
    if options.filter:
        raise BadFilter("--explain takes no filter")
    client, virtual = map(Endpoint.parse, options.explain)
    protocol = Protocol[options.protocol.upper()]
    explanation = explaining.explain(client, virtual, protocol, options.mark)
    print(json.dumps(explanation.as_json(), indent=2) if options.json else explaining.show(explanation))
    return 0


def trace(options: argparse.Namespace) -> int:
    """Write lines, JSON or a capture file, and at the end, on standard error, how many packets were seen and missed."""
    Instance.open()  # NotThere says what to run
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        director = stack.enter_context(Director())
        names = [name for name in director.layouts.enum("outcome") if name != "OUTCOMES"]  # that is how many
        tracing = Tracing(director, parse(options.filter, names), options.rate)
        log = Log(options, stack)
        follow(tracing, log, options.duration)
    over, lost = tracing.missed
    text = f"{log.seen} packets"
    if over:
        text += f"; {over} more were over the rate"
    if lost:
        text += f"; {lost} more found no room"
    print(text, file=sys.stderr)
    return 0


def follow(tracing: Tracing, log: Log, duration: float) -> None:
    """Log packets as they come, until the time is up, the log has enough of them, or somebody interrupts."""
    try:
        with tracing.on():
            print("tracing; end it with ^C", file=sys.stderr)
            for packet in tracing.packets(time.monotonic() + duration):
                if packet is None:
                    log.flush()
                elif log.take(packet):
                    break
    except KeyboardInterrupt:
        pass
    for packet in tracing.rest():
        log.take(packet)
    log.flush()


class Log:
    """Where packets are written to: lines or JSON on standard output, and a capture file."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self.seen = 0
        self._most = options.count
        self._json = options.json
        self._lines = not options.quiet and options.pcap != "-"
        self._capture = Writer(stack.enter_context(_file(options.pcap))) if options.pcap else None

    def take(self, packet: TracedPacket) -> bool:
        """Write one more packet, unless there are enough; whether there are enough now."""
        if self._most and self.seen >= self._most:
            return True
        self.seen += 1
        text = line(packet)
        if self._lines:
            print(json.dumps(as_json(packet)) if self._json else text)
        if self._capture:
            self._write(self._capture, packet, comment=text.partition(" ")[2])
        return bool(self._most) and self.seen >= self._most

    def _write(self, capture: Writer, packet: TracedPacket, comment: str) -> None:
        """The frame as it came and, if it left, as it left."""
        hook, ns = packet.hook, packet.time
        capture.write(packet.interface, hook, True, ns, packet.before, packet.length, comment)
        if packet.leaves:
            egress = packet.out or packet.interface
            capture.write(egress, hook, False, ns, packet.after, packet.left, packet.outcome)

    def flush(self) -> None:
        """Let everything that was taken be seen."""
        sys.stdout.flush()
        if self._capture:
            self._capture.flush()


def _file(name: str) -> BinaryIO:
    if name == "-":
        return sys.stdout.buffer
    try:
        return open(name, "wb")
    except OSError as error:
        raise PylvsError(f"cannot write {name}: {error.strerror}") from None
