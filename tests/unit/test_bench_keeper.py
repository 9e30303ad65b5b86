# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing of a bench stays, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pylvs.bench.keeper import PREFIX
from pylvs.host import testbed

# A bench in small: a stage, a named namespace with a program in it, a directory.
BENCH = """
import subprocess, tempfile
from pylvs.bench.keeper import keeping, mine, take_away
from pylvs.bench.main import _ending
from pylvs.bench.packet import KINDS
from pylvs.bench.stage import Stage
from pylvs.host import netns, testbed

with _ending(), keeping():
    try:
        with Stage("kept", 1 << 10, [KINDS["dr"][0]]) as stage:
            testbed.create(mine() + "x")
            tempfile.mkdtemp(prefix=mine())
            with netns.inside(mine() + "x"):
                program = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)
            print(stage.instance.directory, program.pid, flush=True)
            input()
    finally:
        take_away(mine())
"""
PATIENCE = 20.0


@contextmanager
def bench() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", BENCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def left(pid: int, directory: str, program: int) -> list[str]:
    """What there still is of a bench: names, pins, a program."""
    prefix = f"{PREFIX}{pid}-"
    paths = [*Path(tempfile.gettempdir()).glob(f"{prefix}*"), Path(directory) / "live", Path(f"/proc/{program}")]
    return testbed.listing(prefix) + [str(path) for path in paths if path.exists()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_stays_of_a_bench_that_was_ended(how: signal.Signals) -> None:
    with bench() as process:
        assert process.stdout
        directory, program = process.stdout.readline().split()
        assert len(left(process.pid, directory, int(program))) == 4
        process.send_signal(how)
        process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while (there := left(process.pid, directory, int(program))) and time.monotonic() < deadline:
            time.sleep(testbed.POLL)
        assert there == []
