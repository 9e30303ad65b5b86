# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab of the method that a test wants, gone at the end; the doctor as a person runs it, and as a call."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pylvs
from pylvs.doctor import diagnose
from pylvs.errors import PylvsError
from pylvs.host import netns
from pylvs.lab import build, preflight
from pylvs.lab.topology import METHODS, Options, Topology

PATIENCE = 120.0  # seconds until a fixed lab is healthy: connections that stayed half-open have to grow old
PAUSE = 0.5  # seconds between two examinations
ANSWER = 10.0  # seconds for a request that is answered at once, on a machine that has much else to do


@pytest.fixture(scope="session")
def able() -> None:
    """Skip, and say why, where a machine cannot have the lab."""
    try:
        preflight.check()
    except PylvsError as error:
        pytest.skip(str(error))
    for name in ("director", "realserver"):
        if not (Path(pylvs.__file__).parent / f"bpf/{name}.bpf.o").exists():
            pytest.skip(f"no {name}.bpf.o; run: make bpf")


class Labs:
    """The lab that is up, one at a time; asked for another one, it is built anew."""

    def __init__(self) -> None:
        self.name = f"d{os.getpid()}"

    def up(self, method: str, **more: Any) -> Topology:
        options = replace(Options(self.name, METHODS[method]), **more)
        return build.up(options, lambda done: None)[0]


@pytest.fixture(scope="session")
def labs(able: None) -> Iterator[Labs]:
    made = Labs()
    yield made
    build.down(made.name)


def doctor(lab: Topology, machine: str = "node01", *more: str) -> subprocess.CompletedProcess[str]:
    """`pylvs doctor` on a machine of the lab, as a person runs it."""
    with netns.inside(lab.namespace(machine)):
        argv = [sys.executable, "-m", "pylvs", "doctor", *more]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def printed(lab: Topology, machine: str = "node01") -> tuple[int, dict[str, Any]]:
    """The exit status of `pylvs doctor --json`, and what it prints."""
    done = doctor(lab, machine, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def examined(lab: Topology, machine: str = "node01") -> tuple[int, dict[str, Any]]:
    """What `printed` gives, by a call in this process, which takes half a second less of a CPU."""
    with netns.inside(lab.namespace(machine)):
        report = diagnose()
    return int(report.health), report.as_json()


def await_health(lab: Topology, machine: str = "node01") -> dict[str, Any]:
    """What the doctor reports once nothing is wrong any more, or when patience is at its end."""
    return _awaited(lab, machine, lambda status: status == 0)[1]


def await_fault(lab: Topology, machine: str = "node01") -> tuple[int, dict[str, Any]]:
    """What it reports once anything is wrong: some faults are seen only when clients have met them."""
    return _awaited(lab, machine, lambda status: status != 0)


def _awaited(lab: Topology, machine: str, enough: Callable[[int], bool]) -> tuple[int, dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE
    while True:
        status, report = examined(lab, machine)
        if enough(status) or time.monotonic() > deadline:
            return status, report
        time.sleep(PAUSE)


def requests(lab: Topology, number: int, patience: float = 1.0) -> list[str]:
    """The results of so many connections of the client to the VIP, each with one request: '' for an answer."""
    with netns.inside(lab.namespace("client")):
        return [_request(lab, patience) for _ in range(number)]


@contextmanager
def trying(lab: Topology, clients: int = 4) -> Iterator[None]:
    """Clients that connect over and over, each for a second at most, while the block runs."""
    over = threading.Event()

    def insist() -> None:
        while not over.is_set():
            over.wait(0.2 if requests(lab, 1) == [""] else 0.0)

    threads = [threading.Thread(target=insist) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _request(lab: Topology, patience: float) -> str:
    try:
        with socket.create_connection((str(lab.vip), lab.port), patience) as one:
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return "" if one.recv(100) else "closed"
    except OSError as error:
        return str(error) or type(error).__name__
