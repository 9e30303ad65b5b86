# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab of the method that a test wants, gone at the end; the doctor called as a person calls it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pylvs
from pylvs.errors import PylvsError
from pylvs.host import netns
from pylvs.lab import build, preflight
from pylvs.lab.topology import METHODS, Options, Topology

PATIENCE = 40.0  # seconds until a mended lab is healthy; half-open connections that last have to grow old


@pytest.fixture(scope="session")
def able() -> None:
    """Skip, in words, where a machine cannot have the lab."""
    try:
        preflight.check()
    except PylvsError as error:
        pytest.skip(str(error))
    for name in ("director", "realserver"):
        if not (Path(pylvs.__file__).parent / f"bpf/{name}.bpf.o").exists():
            pytest.skip(f"no {name}.bpf.o; type: make bpf")


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
    """`pylvs doctor` on a machine of the lab."""
    with netns.inside(lab.namespace(machine)):
        argv = [sys.executable, "-m", "pylvs", "doctor", *more]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def examined(lab: Topology, machine: str = "node01") -> tuple[int, dict[str, Any]]:
    """Its exit status, and what it says."""
    done = doctor(lab, machine, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def await_health(lab: Topology, machine: str = "node01") -> dict[str, Any]:
    """What the doctor says once nothing is wrong any more, or when patience is at its end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        status, said = examined(lab, machine)
        if status == 0 or time.monotonic() > deadline:
            return said


def await_fault(lab: Topology, machine: str = "node01") -> tuple[int, dict[str, Any]]:
    """Its exit status and what it says once it says anything: some faults are seen only when clients have met them."""
    deadline = time.monotonic() + PATIENCE
    while True:
        status, said = examined(lab, machine)
        if status or time.monotonic() > deadline:
            return status, said


def requests(lab: Topology, number: int, patience: float = 1.0) -> list[str]:
    """What came of so many connections of the client to the VIP, each with one request: '' for an answer."""
    with netns.inside(lab.namespace("client")):
        return [_request(lab, patience) for _ in range(number)]


@contextmanager
def trying(lab: Topology, clients: int = 4) -> Iterator[None]:
    """Clients that connect over and over, each for a second at most, while the block runs."""
    over = threading.Event()

    def insist() -> None:
        while not over.is_set():
            over.wait(0.05 if requests(lab, 1) == [""] else 0.0)

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
