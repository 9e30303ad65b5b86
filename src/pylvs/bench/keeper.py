# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes away what a bench has made when it cannot do so itself, having been killed: a process that outlives it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pylvs.dataplane.instance import Instance, sweep
from pylvs.host import netns, testbed

PREFIX = "pylvs-bench-"
CLEAN = b"clean"  # sent at an orderly end
PATIENCE = 10.0  # seconds until a process that was killed has left its namespace


def mine() -> str:
    """The prefix of all names that this process gives: of namespaces, directories and holders of unnamed namespaces."""
    return f"{PREFIX}{os.getpid()}-"


@contextmanager
def keeping() -> Iterator[None]:
    """Whatever happens meanwhile, nothing stays: when this process ends, the kernel closes the keeper's input."""
    argv = [sys.executable, "-m", __name__]
    keeper = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    assert keeper.stdin
    keeper.stdin.write(mine().encode())
    keeper.stdin.flush()
    try:
        yield
    finally:
        keeper.communicate(CLEAN)


def take_away(prefix: str, mark: str = "") -> None:
    """End the processes in the namespaces of this name or with `mark` in their command line, and take all away."""
    namespaces = testbed.listing(prefix)
    testbed.end(namespaces, mark)
    for name in namespaces:
        testbed.delete(name)
    for directory in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(directory, ignore_errors=True)


def take_away_dead() -> None:
    """What benches left that were killed together with their keepers."""
    names = {*testbed.listing(PREFIX), *(path.name for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))}
    for pid in {name.removeprefix(PREFIX).partition("-")[0] for name in names}:
        if not Path(f"/proc/{pid}").exists():
            take_away(f"{PREFIX}{pid}-")


def _gone(process: Path) -> bool:
    return netns.identity(process / "ns/net") is None


def main() -> None:
    """Wait for the end of the bench whose prefix comes by standard input, and clean up after it."""
    prefix = sys.stdin.read()
    if not prefix or prefix.endswith(CLEAN.decode()):
        return
    bench, deadline = Path("/proc", prefix.removeprefix(PREFIX).rstrip("-")), time.monotonic() + PATIENCE
    while not _gone(bench) and time.monotonic() < deadline:
        time.sleep(testbed.POLL)
    take_away(prefix, prefix)
    own = Instance.here()
    sweep(os.path.dirname(own.directory), own.cookie)


if __name__ == "__main__":
    main()
