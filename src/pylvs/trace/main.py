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

from pylvs.errors import PylvsError
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
        "drop, all, or a name of `pylvs outcomes --json`). Without an outcome, what is nobody's is left out.",
    )
    top.add_argument("filter", nargs="*", metavar="FILTER", help="which packets (default: all for virtual services)")
    top.add_argument("--pcap", metavar="FILE", help="write what came in and what went out as pcapng ('-': to stdout)")
    top.add_argument("-c", "--count", type=int, default=0, metavar="N", help="end after N packets")
    top.add_argument("-d", "--duration", type=float, default=FOREVER, metavar="SECONDS", help="end after so long")
    top.add_argument("--rate", type=int, default=RATE, metavar="N", help=f"packets a second and CPU (default {RATE})")
    top.add_argument("-q", "--quiet", action="store_true", help="no lines, only --pcap")
    top.add_argument("--json", action="store_true", help="one JSON object a line")
    top.add_argument(
        "--explain", nargs=2, metavar=("CIP[:PORT]", "VIP:PORT"), help="what would become of a packet; sends none"
    )
    top.add_argument("--protocol", choices=("tcp", "udp", "sctp"), default="tcp", help="with --explain")
    top.add_argument("--mark", type=int, default=0, help="with --explain: a firewall mark that netfilter gives it")
    return top


def run(argv: Sequence[str]) -> int:
    """Trace until told to stop, or explain."""
    options = parser().parse_args(argv)
    if options.explain:
        from pylvs.trace.explain import explain, show

        if options.filter:
            raise BadFilter("--explain takes no filter")
        client, virtual = options.explain
        said = explain(client, virtual, options.protocol, options.mark)
        print(json.dumps(said, indent=2) if options.json else show(said))
        return 0
    if options.count < 0 or options.rate < 1 or options.duration <= 0:
        raise BadFilter("count, rate and duration must be greater than zero")
    return trace(options)


def trace(options: argparse.Namespace) -> int:
    """The lines, and the file; what was left out is said at the end, on standard error."""
    from pylvs.dataplane.instance import Instance
    from pylvs.table.director import Director
    from pylvs.trace.tracing import Tracing

    Instance.open()  # NotThere says what to type
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        director = stack.enter_context(Director())
        names = [name for name in director.layouts.enum("outcome") if name != "OUTCOMES"]
        tracing = Tracing(director, parse(options.filter, names), options.rate)
        log = Log(options, stack)
        try:
            with tracing.on():
                print("tracing; end it with ^C", file=sys.stderr)
                for sight in tracing.sights(time.monotonic() + options.duration):
                    if log.take(sight):
                        break
        except KeyboardInterrupt:
            pass
        for sight in tracing.last():
            log.take(sight)
        log.take(None)
    over, lost = tracing.missed
    print(f"{log.seen} packets" + (f"; {over} more were over the rate" if over else "")
          + (f"; {lost} more found no room" if lost else ""), file=sys.stderr)  # fmt: skip
    return 0


class Log:
    """Where packets are written to: lines, data, a capture file."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        from pylvs.trace import pcapng, sight

        self._sight, self.seen, self._most = sight, 0, options.count
        self._json = options.json
        self._lines = not options.quiet and options.pcap != "-"
        self._capture = pcapng.Writer(stack.enter_context(_file(options.pcap))) if options.pcap else None

    def take(self, sight: object) -> bool:
        """One packet more, or None for a pause, when everything is shown; whether that was the last one wanted."""
        if not isinstance(sight, self._sight.Sight):
            sys.stdout.flush()
            if self._capture:
                self._capture.flush()
            return False
        if self._most and self.seen >= self._most:
            return True
        self.seen += 1
        line = self._sight.line(sight)
        if self._lines:
            print(json.dumps(self._sight.document(sight)) if self._json else line)
        if self._capture:
            self._capture.write(
                sight.interface, sight.hook, True, sight.time, sight.before, sight.length, line.partition(" ")[2]
            )
            if sight.leaves:
                out = sight.out or sight.interface
                self._capture.write(out, sight.hook, False, sight.time, sight.after, sight.left, sight.outcome)
        return bool(self._most) and self.seen >= self._most


def _file(name: str) -> BinaryIO:
    if name == "-":
        return sys.stdout.buffer
    try:
        return open(name, "wb")
    except OSError as error:
        raise PylvsError(f"cannot write {name}: {error.strerror}") from None
