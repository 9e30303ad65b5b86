# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs `pylvsadm`, `pylvsadm-save` and `pylvsadm-restore`: argv, streams, and the real table."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import BinaryIO, TextIO

from pylvs.ipvsadm.run import Session, TableFactory
from pylvs.model import Table

_SAVE_HELP = (
    "{program}: Script to save the IPVS table to stdout.\n"
    "   With the -n option, prints out the table in numeric format.\n"
)


def main(argv: Sequence[str] | None = None, table_factory: TableFactory | None = None) -> int:
    """`pylvsadm`, or `ipvsadm` where a link of that name calls it; the exit status is ipvsadm's."""
    return _run(sys.argv if argv is None else argv, table_factory)


def save_main(argv: Sequence[str] | None = None, table_factory: TableFactory | None = None) -> int:
    """`pylvsadm-save [-n]`; other words are ignored, other options explained, as ipvsadm-save does."""
    program, *words = sys.argv if argv is None else argv
    if any(word.startswith("-") and word != "-n" for word in words):
        sys.stderr.write(_SAVE_HELP.format(program=os.path.basename(program)))
        return 1
    numeric = ["-n"] if "-n" in words else []
    return _run([_sibling(program, "-save"), "-S", *numeric], table_factory)


def restore_main(argv: Sequence[str] | None = None, table_factory: TableFactory | None = None) -> int:
    """`pylvsadm-restore`: clear the table, then `-R` without the lines that begin with `#`.

    The exit status is that of `-R`. As with ipvsadm-restore the table is cleared whatever comes.
    """
    program = _sibling((sys.argv if argv is None else argv)[0], "-restore")
    lines = [line for line in sys.stdin.buffer if not line.startswith(b"#")]
    # the shell's $(…) drops newlines at the end, `echo` puts one back
    text = b"".join(lines).replace(b"\0", b"").rstrip(b"\n") + b"\n"
    with ExitStack() as stack:
        factory = table_factory or _real_table(stack)
        streams = _streams()
        session = Session(_name(program), factory, io.BytesIO(text), *streams)
        session.run(["-C"])
        status = session.run(["-R"])
        streams[0].flush()
        return status


def _run(argv: Sequence[str], table_factory: TableFactory | None) -> int:
    gc.disable()  # a short life of many small objects that no cycle holds
    with ExitStack() as stack:
        factory = table_factory or _real_table(stack)
        stdout, stderr = _streams()
        stdin: BinaryIO = sys.stdin.buffer if sys.stdin is not None else io.BytesIO()
        status = Session(_name(argv[0]), factory, stdin, stdout, stderr).run(argv[1:])
        stdout.flush()
        return status


def _real_table(stack: ExitStack) -> TableFactory:
    """The director of this namespace, closed at the end; a reader that goes away ends the program."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    def open_table() -> Table:
        from pylvs.director import Director

        return stack.enter_context(Director())

    return open_table


def _streams() -> tuple[TextIO, TextIO]:
    """Output and errors that give back the bytes of whatever was typed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    return sys.stdout, sys.stderr


def _name(program: str) -> str:
    name = os.path.basename(program)
    return name if name and name != "__main__.py" else "pylvsadm"


def _sibling(program: str, suffix: str) -> str:
    """`ipvsadm-save` calls itself `ipvsadm` in what it prints, since that is what the script runs."""
    return _name(program).removesuffix(suffix)
