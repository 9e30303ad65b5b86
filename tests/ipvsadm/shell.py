# SPDX-License-Identifier: GPL-2.0-or-later
"""The few shell words that the recorded cases use, played in-process against a table in memory."""

from __future__ import annotations

import io
import shlex
from dataclasses import dataclass, field

from pylvs.errors import NotPermitted
from pylvs.ipvsadm import proc
from pylvs.ipvsadm.run import Session
from pylvs.model import Table
from tests.ipvsadm.memory import MemoryTable

PROC_MODES = "".join(f"444 /proc/net/{name}\n" for name in sorted(proc.FILES))


@dataclass
class Shell:
    """A table and what was printed since the last look."""

    table: MemoryTable = field(default_factory=MemoryTable)
    stdin: str = ""
    out: io.StringIO = field(default_factory=io.StringIO)
    err: io.StringIO = field(default_factory=io.StringIO)

    def run(self, line: str) -> int:
        """The exit status of the last command of a line."""
        words = shlex.split(line)
        if words[:2] == ["unshare", "-n"]:  # a new namespace has no routes, not even of lo
            return Shell(MemoryTable(has_local_routes=False), self.stdin, self.out, self.err).run(words[-1])
        status = 0
        for command in _commands(words):
            status = self._command(command)
        return status

    def _command(self, words: list[str]) -> int:
        if words[0] == "setpriv":
            return self._ipvsadm(words[words.index("ipvsadm") + 1 :], rooted=False)
        if words[0] == "cat":
            self.out.writelines(proc.text(words[1].removeprefix("/proc/net/"), self.table))
            return 0
        if words[0] == "stat":
            self.out.write(PROC_MODES)
            return 0
        if words[0] == "ipvsadm-restore":
            self._ipvsadm(["-C"])
            return self._ipvsadm(["-R"])
        assert words[0] == "ipvsadm", words
        return self._ipvsadm(words[1:])

    def _ipvsadm(self, words: list[str], *, rooted: bool = True) -> int:
        def open_table() -> Table:
            if not rooted:
                raise NotPermitted("not root")
            return self.table

        stdin = io.BytesIO(self.stdin.encode("utf-8", "surrogateescape"))
        return Session("ipvsadm", open_table, stdin, self.out, self.err).run(words)


def _commands(words: list[str]) -> list[list[str]]:
    """Split at `;`, which the cases attach to a word."""
    commands: list[list[str]] = [[]]
    for word in words:
        commands[-1].append(word.removesuffix(";"))
        if word.endswith(";"):
            commands.append([])
    return commands
