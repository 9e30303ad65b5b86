# SPDX-License-Identifier: GPL-2.0-or-later
"""Carrying out commands: command → table → text. Streams and the table are given to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, TextIO

from pylvs import rules
from pylvs.errors import NotPermitted, PylvsError, TableError
from pylvs.ipvsadm import listing
from pylvs.ipvsadm.command import Command, Format, Misused, Stop
from pylvs.ipvsadm.connections import filtered, list_connections, title
from pylvs.ipvsadm.parse import parse, try_help
from pylvs.ipvsadm.plan import Plan, differences
from pylvs.ipvsadm.quick import batches, quick_command
from pylvs.ipvsadm.restore import command_lines
from pylvs.ipvsadm.save import save_table
from pylvs.ipvsadm.usage import usage, version
from pylvs.model import ConfiguredService, Destination, ServiceKey, ServiceState, Table

TableFactory = Callable[[], Table]

_BLOCK, _LONGEST_LINE = 1 << 16, 1 << 20
REFUSED = 255  # the exit status where the table refuses, or popt
_NOT_ROOT = (
    "Can't initialize ipvs: Permission denied (you must be root)\n"
    "Are you sure that IP Virtual Server is built in the kernel or as module?"
)
# commands that `-R --atomic` accepts: those that change services and destinations
_SHAPING = (
    "add-service",
    "edit-service",
    "delete-service",
    "add-server",
    "edit-server",
    "delete-server",
    "clear",
)


class Session:
    """One run of the program: its name, its streams, its table."""

    def __init__(self, program: str, open_table: TableFactory, stdin: BinaryIO, stdout: TextIO, stderr: TextIO) -> None:
        self.program = program
        self._open_table = open_table
        self._table: Table | None = None
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr

    @property
    def table(self) -> Table:
        """The table, opened when it is first needed; Stop with status 2 if it cannot be."""
        if self._table is None:
            try:
                self._table = self._open_table()
            except NotPermitted:
                raise Stop(2, _NOT_ROOT) from None
            except PylvsError as error:
                raise Stop(2, f"Can't initialize ipvs: {error}") from None
        return self._table

    def run(self, words: Sequence[str]) -> int:
        """Run the program with these words; its exit status.

        As in ipvsadm nothing is answered where the table cannot be opened, not even `-h`.
        """
        try:
            _ = self.table
            return self._process(words, restoring=False) if words else self._list_all()
        except Stop as stop:
            return self._stop(stop)

    def _stop(self, stop: Stop) -> int:
        if stop.status:
            self._complain(stop.text)
        else:
            self._stdout.write(usage(self.program) if stop.text == "help" else version(self.program))
        return stop.status

    def _complain(self, text: str) -> None:
        self._stdout.flush()
        self._stderr.write(text + "\n")

    def _process(self, words: Sequence[str], *, restoring: bool) -> int:
        try:
            command = parse(self.program, words)
        except Misused as error:
            self._complain(str(error))
            return REFUSED
        return self._perform(command, restoring=restoring)

    def _perform(self, command: Command, *, restoring: bool) -> int:
        try:
            return self._execute(command, restoring)
        except PylvsError as error:
            self._complain_of(command.name, error)
        return REFUSED

    def _complain_of(self, command: str, error: PylvsError) -> None:
        self._complain(rules.message(command, error) if isinstance(error, TableError) else str(error))

    def _execute(self, command: Command, restoring: bool) -> int:
        name = command.name
        change = _CHANGES.get(name)
        if change is not None:
            change(self.table, command)
        elif name == "list":
            self._list(command)
        elif name == "save":
            self._save(command)
        elif restoring:  # -R within -R would not end
            try_help(self.program)
        elif command.atomic:
            return self._restore_atomically(command)
        else:
            return self._restore()
        return 0

    def _write(self, blocks: Iterable[str]) -> None:
        self._stdout.writelines(blocks)

    # --- listings ---

    def _list_all(self) -> int:
        self._write(listing.list_table(self.table.services(counted=False), Format()))
        return 0

    def _list(self, command: Command) -> None:
        self._write(self._listed_as_json(command) if command.format.json else self._listed(command))

    def _save(self, command: Command) -> None:
        if command.format.json:
            self._write(self._listed_as_json(command))
        else:
            self._write(save_table(self.table.services(counted=False), command.format.numeric))

    def _listed(self, command: Command) -> Iterable[str]:
        layout = command.format
        if command.listing == "connection":
            return self._connections(command)
        if command.listing == "timeout":
            return listing.list_timeouts(self.table.timeouts())
        if command.listing == "daemon":
            return listing.list_daemons(self.table.daemons())
        if command.key is not None:
            return listing.list_service(self._one(command.key), layout)
        return listing.list_table(self.table.services(counted=layout.stats or layout.rate), layout)

    def _listed_as_json(self, command: Command) -> Iterable[str]:
        from pylvs.ipvsadm import asjson  # only here: to import json takes milliseconds

        if command.listing == "connection":
            return asjson.connections(filtered(self.table.connection_rows(), command.filter))
        if command.listing == "timeout":
            return asjson.timeouts(self.table.timeouts())
        if command.listing == "daemon":
            return asjson.daemons(self.table.daemons())
        if command.name == "save":
            return asjson.services(self.table.services(counted=False), sort=True)
        states = self.table.services() if command.key is None else (self._one(command.key),)
        return asjson.services(states, sort=command.format.sort)

    def _one(self, key: ServiceKey) -> ServiceState:
        try:
            return self.table.service(key)
        except TableError as error:
            raise Stop(1, rules.message("list", error)) from None

    def _connections(self, command: Command) -> Iterator[str]:
        layout = command.format
        yield title(layout.persistent)
        if layout.numeric and command.filter.everything():
            yield from map(bytes.decode, self.table.connection_text())
        else:
            yield from list_connections(filtered(self.table.connection_rows(), command.filter), layout.numeric)

    # --- restoring ---

    def _restore(self) -> int:
        status = 0
        for lines in _arriving(self._stdin):
            with self.table.locked():  # for as many lines as there are, and not while it waits for more
                for batch in batches(lines):
                    if isinstance(batch, tuple):
                        status = self._add_servers(*batch)
                        continue
                    for words in command_lines((batch,)):
                        status = self._process(words, restoring=True)
        return status

    def _add_servers(self, key: ServiceKey, destinations: Sequence[Destination]) -> int:
        errors = self.table.add_destinations(key, destinations)
        for error in filter(None, errors):
            self._complain_of("add-server", error)
        return REFUSED if errors[-1] else 0

    def _restore_atomically(self, command: Command) -> int:
        plan = self._plan()
        if command.dry_run:
            self._write(differences(_configured(self.table.services(counted=False)), plan.configured()))
            return 0
        try:
            self.table.replace(plan.configured())
        except TableError as error:
            raise Stop(1, f"{error}; the table is as it was") from None
        return 0

    def _plan(self) -> Plan:
        """The table that the input makes; the first bad line ends the program."""
        plan = Plan(self.table.address_types())
        for number, line in enumerate(self._stdin, 1):
            command = quick_command(line)
            words = [] if command else next(command_lines((line,)), [])
            if command or (words and words[0][:1] != "#"):
                self._plan_line(plan, command, words, number)
        return plan

    def _plan_line(self, plan: Plan, command: Command | None, words: Sequence[str], number: int) -> None:
        try:
            command = command or parse(self.program, words)
            if command.name not in _SHAPING:
                raise Misused(f"--{command.name} has no place in a table")
            _CHANGES[command.name](plan, command)
        except (Stop, Misused, PylvsError) as error:
            text = str(error).strip() if not isinstance(error, Stop) or error.status else "help"
            raise Stop(1, f"line {number}: {text}; the table is as it was") from None


def _arriving(stdin: BinaryIO) -> Iterator[list[bytes]]:
    """Whole lines as they come, as many as there are at a time; the end without a newline is a line too."""
    rest = b""
    while block := stdin.read1(_BLOCK):  # type: ignore[attr-defined]
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise Stop(2, f"a line of more than {_LONGEST_LINE} bytes")
        if lines:
            yield [line + b"\n" for line in lines]
    if rest:
        yield [rest]


def _configured(states: Iterable[ServiceState]) -> list[ConfiguredService]:
    """What an observed table was configured as: destinations in the order in which they were added."""
    return [(state.service, [each.destination for each in reversed(state.destinations)]) for state in states]


# What each command does to a table, or to a plan of one; the parser has set the fields that it needs.


def _zero(table: Table, command: Command) -> None:
    key = command.key
    nowhere = key is not None and not key.fwmark and not key.port and key.address is not None and not int(key.address)
    table.zero(None if nowhere else key)


_CHANGES: dict[str, Callable[..., None]] = {
    "add-service": lambda table, command: table.add_service(command.service),
    "edit-service": lambda table, command: table.edit_service(command.service),
    "delete-service": lambda table, command: table.delete_service(command.key),
    "clear": lambda table, _: table.flush(),
    "add-server": lambda table, command: table.add_destination(command.key, command.destination),
    "edit-server": lambda table, command: table.edit_destination(command.key, command.destination),
    "delete-server": lambda table, command: table.delete_destination(command.key, command.destination),
    "zero": _zero,
    "set": lambda table, command: table.set_timeouts(command.timeouts),
    "start-daemon": lambda table, command: table.start_daemon(command.daemon),
    "stop-daemon": lambda table, command: table.stop_daemon(command.daemon.role),
}
