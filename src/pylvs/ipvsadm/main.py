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
from typing import BinaryIO, NoReturn, TextIO

from pylvs.ipvsadm.run import Session, TableFactory
from pylvs.model import Table

_SAVE_HELP = (
    "{program}: Script to save the IPVS table to stdout.\n"
    "   With the -n option, prints out the table in numeric format.\n"
)


def pylvsadm() -> NoReturn:
    """The program `pylvsadm`."""
    _leave(main())


def pylvsadm_save() -> NoReturn:
    """The program `pylvsadm-save`."""
    _leave(save_main())


def pylvsadm_restore() -> NoReturn:
    """The program `pylvsadm-restore`."""
    _leave(restore_main())


def _leave(status: int) -> NoReturn:
    """End the process at once: that the interpreter takes itself apart first would be a sixth of a short command."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)


def main(argv: Sequence[str] | None = None, table_factory: TableFactory | None = None) -> int:
    """Run `pylvsadm`, or `ipvsadm` where a link of that name was called; the exit status is ipvsadm's."""
    return _run(sys.argv if argv is None else argv, table_factory)


def save_main(argv: Sequence[str] | None = None, table_factory: TableFactory | None = None) -> int:
    """Run `pylvsadm-save [-n]`. As in ipvsadm-save, other words are ignored, and other options print its help."""
    program, *words = sys.argv if argv is None else argv
    if any(word.startswith("-") and word != "-n" for word in words):
        sys.stderr.write(_SAVE_HELP.format(program=os.path.basename(program)))
        return 1
    numeric = ["-n"] if "-n" in words else []
    return _run([_sibling(program, "-save"), "-S", *numeric], table_factory)


def restore_main(argv: Sequence[str] | None = None, table_factory: TableFactory | None = None) -> int:
    """Run `pylvsadm-restore`: clear the table, then `-R` without the lines that begin with `#`.

    The exit status is that of `-R`. As in ipvsadm-restore the table is cleared whatever the input is.
    """
    program = _sibling((sys.argv if argv is None else argv)[0], "-restore")
    lines = [line for line in _stdin() if not line.startswith(b"#")]
    # the shell's $(…) drops newlines at the end, `echo` puts one back
    text = b"".join(lines).replace(b"\0", b"").rstrip(b"\n") + b"\n"
    _run([program, "-C"], table_factory)
    return _run([program, "-R"], table_factory, io.BytesIO(text))


def _run(argv: Sequence[str], table_factory: TableFactory | None, stdin: BinaryIO | None = None) -> int:
    gc.disable()  # the process is short-lived, and none of its many small objects is in a cycle
    stdout, stderr = _output(sys.stdout), _output(sys.stderr)
    with ExitStack() as stack:
        factory = table_factory or _real_table(stack)
        session = Session(_name(argv[0]), factory, stdin or _stdin(), stdout, stderr)
        try:
            status = session.run(argv[1:])
            stdout.flush()
        except OSError as error:
            stderr.write(f"{_name(argv[0])}: {error.strerror or error}\n")
            sys.stdout = None  # so that it is not flushed again at the end
            return 1
        return status


def _real_table(stack: ExitStack) -> TableFactory:
    """What opens the director of this namespace; `stack` closes it. SIGPIPE and SIGINT end the program silently."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def open_table() -> Table:
        from pylvs.table.director import Director

        return stack.enter_context(Director())

    return open_table


def _stdin() -> BinaryIO:
    """Standard input as bytes; empty if it is closed."""
    return sys.stdin.buffer if sys.stdin is not None else io.BytesIO()


def _output(stream: TextIO | None) -> TextIO:
    """An output stream that writes back any bytes of the command line; if it is closed, one that leads nowhere."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    return stream if stream is not None else io.StringIO()


def _name(program: str) -> str:
    name = os.path.basename(program)
    return name if name and name != "__main__.py" else "pylvsadm"


def _sibling(program: str, suffix: str) -> str:
    """The name by which a companion calls itself: `ipvsadm` for `ipvsadm-save`, a script that runs that."""
    return _name(program).removesuffix(suffix)
