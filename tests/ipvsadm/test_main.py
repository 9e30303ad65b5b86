# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs as programs: names, streams that are closed or full, no permission."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from pylvs.errors import NotPermitted, Unsupported
from pylvs.ipvsadm.main import main, restore_main, save_main
from pylvs.model import Table
from tests.ipvsadm.memory import MemoryTable

ROOT = Path(__file__).parents[2]
# a program that works on a table in memory, called by a name
PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from tests.ipvsadm.memory import MemoryTable
from pylvs.ipvsadm import main
sys.exit(main.{function}([{name!r}, *sys.argv[1:]], MemoryTable))
"""


def call(
    *words: str | bytes, name: str = "/usr/sbin/ipvsadm", function: str = "main", shell: str = "", stdin: bytes = b""
) -> tuple[int, bytes, bytes]:
    """(status, output, errors); `shell` redirects."""
    program = PROGRAM.format(root=str(ROOT), name=name, function=function)
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-c", program, *words]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_it_calls_itself_as_it_was_called() -> None:
    """By the last part of the path."""
    assert call("--frob") == (255, b"", b"Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n")
    assert call("-v", name="/opt/pylvsadm")[1].startswith(b"pylvsadm v1.31 ")


def test_bytes_that_are_no_text_come_back_as_they_were() -> None:
    """Here not UTF-8."""
    assert call("-A", "-t", "1.1.1.1:80", b"\xff\xfe")[2] == b"unexpected argument \xff\xfe\n"


@pytest.mark.parametrize("shell", ["<&-", ">&-", "2>&-"])
@pytest.mark.parametrize("words", [("-Ln",), ("-R",), ("-D",), ("-h",)])
def test_closed_streams(shell: str, words: tuple[str, ...]) -> None:
    """No traceback."""
    status, _, errors = call(*words, shell=shell)
    assert status in (0, 2)
    assert b"Traceback" not in errors


def test_a_full_disk_is_told() -> None:
    """In one line."""
    assert call("-Ln", shell=">/dev/full") == (1, b"", b"ipvsadm: No space left on device\n")


def test_save_explains_its_one_option() -> None:
    """As ipvsadm-save does."""
    status, output, errors = call("-x", name="ipvsadm-save", function="save_main")
    assert (status, output) == (1, b"")
    assert errors.startswith(b"ipvsadm-save: Script to save the IPVS table to stdout.\n")


def test_restore_skips_comments() -> None:
    """Which -R would stop at."""
    status, _, errors = call(name="ipvsadm-restore", function="restore_main", stdin=b"# one\n-A -t 1.1.1.1:80\n\n")
    assert (status, errors) == (0, b"")


def test_an_endless_line_ends() -> None:
    """Instead of filling the memory."""
    status, _, errors = call("-R", stdin=b"\0" * (3 << 20))
    assert (status, errors) == (2, b"a line of more than 1048576 bytes\n")


def refused(error: Exception) -> Table:
    raise error


@pytest.mark.parametrize("words", [[], ["-h"], ["-Ln"], ["-A", "-t", "1.1.1.1:80"], ["--frob"]])
def test_without_permission_nothing_is_answered(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Two lines, whatever was asked: those of ipvsadm."""
    assert main(["ipvsadm", *words], lambda: refused(NotPermitted("not root"))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "Can't initialize ipvs: Permission denied (you must be root)"


def test_without_bpf_one_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing."""
    assert main(["ipvsadm", "-Ln"], lambda: refused(Unsupported("this kernel has no BPF"))) == 2
    assert capsys.readouterr().err == "Can't initialize ipvs: this kernel has no BPF\n"


def test_save_writes_what_restore_reads(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the two companions."""
    table = MemoryTable()
    assert main(["ipvsadm", "-A", "-t", "10.0.0.1:80"], lambda: table) == 0
    assert save_main(["ipvsadm-save", "-n"], lambda: table) == 0
    saved = capsys.readouterr().out
    other = MemoryTable()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(saved.encode())))
    assert restore_main(["ipvsadm-restore"], lambda: other) == 0
    assert other.configured() == table.configured()


def test_nothing_is_imported_that_takes_long() -> None:
    """Every command would pay for it (docs/decisions/0010-start-time.md)."""
    slow = {"argparse", "dataclasses", "inspect", "json", "random", "subprocess"}
    code = "import sys, pylvs.ipvsadm.main, pylvs.table.director; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert slow & set(done.stdout.split()) == set()
