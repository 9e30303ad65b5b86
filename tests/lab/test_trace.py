# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs trace` and `pylvs top` as a person types them on the director, while a client asks for a page."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pylvs.host import netns
from pylvs.lab import build
from pylvs.lab.topology import METHODS, Options, Topology

PATIENCE = 20.0
pytestmark = pytest.mark.xdist_group("trace")
PYLVS = (sys.executable, "-m", "pylvs")


@pytest.fixture(scope="module", params=["dr", "nat"])
def lab(data_plane: None, request: pytest.FixtureRequest) -> Iterator[Topology]:
    """A lab of two methods: one that rewrites nothing, and one whose replies come back."""
    name = f"t{os.getpid()}"
    yield build.up(Options(name, METHODS[request.param]), lambda done: None)[0]
    build.down(name)


@contextmanager
def director(lab: Topology, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """A command on the director, ended by SIGINT at the latest when the block ends."""
    with netns.inside(lab.namespace("node01")):
        running = subprocess.Popen([*PYLVS, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def typed(lab: Topology, *argv: str) -> subprocess.CompletedProcess[str]:
    with netns.inside(lab.namespace("node01")):
        return subprocess.run([*PYLVS, *argv], capture_output=True, text=True, timeout=60)


def ask(lab: Topology) -> None:
    """One page, as soon as the servers answer."""
    build.run(
        lab, "client", ["curl", "-sf", "--retry", "5", "--retry-all-errors", "-o", "/dev/null", f"http://{lab.vip}/"]
    )


def await_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_page_is_traced(lab: Topology, tmp_path: Path) -> None:
    """Every packet of the client's, its connection's first one as explained before; the capture has both sides."""
    ask(lab)
    explained = json.loads(typed(lab, "trace", "--json", "--explain", str(lab.client.address), f"{lab.vip}:80").stdout)
    file = tmp_path / "page.pcapng"
    with director(lab, "trace", "--json", "--pcap", str(file), "client", str(lab.client.address)) as running:
        assert running.stderr
        assert running.stderr.readline() == "tracing; end it with ^C\n"
        ask(lab)
        await_until(lambda: b"FIN" in file.read_bytes())  # the comments have the lines
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0
    rows = [json.loads(row) for row in out.splitlines()]
    assert errors == f"{len(rows)} packets\n"
    assert (rows[0]["flags"], rows[0]["connection"], rows[0]["outcome"]) == (["SYN"], "new", explained["outcome"])
    assert f"would choose {rows[0]['destination']}" in explained["scheduler"]
    assert [row["connection"] for row in rows].count("new") == 1
    assert any(row["reply"] for row in rows) is (lab.options.method is METHODS["nat"])
    said = subprocess.run(["tcpdump", "-nr", str(file)], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == 2 * len(rows)
    assert any("GET /" in row for row in said)


def test_a_killed_tracer_is_off(lab: Topology) -> None:
    """A few seconds after SIGKILL the data plane traces no more, and the next tracer starts at once."""
    with director(lab, "trace") as running:
        assert running.stderr
        running.stderr.readline()
        running.kill()
    ask(lab)
    done = typed(lab, "trace", "-d", "0.2")
    assert (done.returncode, done.stdout) == (0, "")


def test_lines_count_and_faults(lab: Topology) -> None:
    """`-c` ends by itself; mistakes are one line."""
    with director(lab, "trace", "-c", "1", "outcome", "forward") as running:
        assert running.stderr
        running.stderr.readline()
        ask(lab)
        out, _ = running.communicate(timeout=PATIENCE)
    assert out.count("\n") == 1
    assert "chose" in out
    for argv in (["frob"], ["--rate", "0"], ["--pcap", "/nowhere/x"], ["--explain", "1.1.1.1", "x"]):
        done = typed(lab, "trace", *argv)
        assert (done.returncode, done.stderr.count("\n"), done.stderr[:7]) == (1, 1, "pylvs: ")


def test_top(lab: Topology) -> None:
    """Once as text and as data."""
    ask(lab)
    said = json.loads(typed(lab, "top", "--once", "--json").stdout)
    (service,) = said["services"]
    assert service["service"] == f"-t {lab.vip}:80"
    assert {row["destination"].partition(":")[0] for row in service["destinations"]} == {
        str(server.address) for server in lab.real_servers
    }
    assert said["totals"]["connections"] >= 1
    text = typed(lab, "top", "--count", "2", "--delay", "0.2", "--sort", "name").stdout
    assert text.count("service / destination") == 2
    assert "2 destinations" in text


def test_top_on_a_terminal(lab: Topology) -> None:
    """It is drawn, sorts by a key, ends with q, and the terminal is as before."""
    with netns.inside(lab.namespace("node01")):
        pid, terminal = pty.fork()
        if not pid:
            os.environ |= {"TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
            os.execv(sys.executable, [*PYLVS, "top", "-d", "0.3"])
    drawn = Drawn(terminal)
    drawn.until(f"-t {lab.vip}:80")
    os.write(terminal, b"n")
    drawn.until("sorted by name")
    os.write(terminal, b"n")
    drawn.until("name, reversed")
    os.write(terminal, b"q")
    drawn.until("\x1b[?1049l")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


class Drawn:
    """What a program has written to its terminal."""

    def __init__(self, terminal: int) -> None:
        self.terminal, self.text = terminal, ""

    def until(self, wanted: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.text:
            assert time.monotonic() < deadline, self.text[-2000:]
            if select.select([self.terminal], [], [], 0.2)[0]:
                self.text += os.read(self.terminal, 65536).decode(errors="replace")
