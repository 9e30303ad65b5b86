# SPDX-License-Identifier: GPL-2.0-or-later
"""What the client does: HTTP requests, connections held open, and traffic that goes on during changes.

All of it happens in the thread's namespace; callers enter the client's with `netns.inside`.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pylvs.host import netns, testbed
from pylvs.model import Address

TIMEOUT = 10.0  # seconds for one request: far more than it takes, so that a late reply is a failed one


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: its body, and the client's port it came to."""

    body: bytes
    cport: int

    @property
    def server(self) -> str:
        """The address in the page `from ADDRESS`, '?' for another page."""
        words = self.body.decode(errors="replace").split()
        return words[1] if len(words) == 2 and words[0] == "from" else "?"


class Exchange:
    """One HTTP connection, kept open until closed."""

    def __init__(self, address: Address, port: int) -> None:
        self._http = http.client.HTTPConnection(str(address), port, timeout=TIMEOUT)

    def get(self, path: str = "/") -> Answer:
        """Fetch a page; OSError or HTTPException where that fails."""
        self._http.request("GET", path)
        cport = int(self._http.sock.getsockname()[1])
        response = self._http.getresponse()
        if response.status != 200:
            raise http.client.HTTPException(f"answered {response.status} {response.reason}")
        return Answer(response.read(), cport)

    def close(self) -> None:
        self._http.close()


def get(address: Address, port: int, path: str = "/") -> Answer:
    """Fetch a page over a connection of its own."""
    exchange = Exchange(address, port)
    try:
        return exchange.get(path)
    finally:
        exchange.close()


@contextmanager
def held(address: Address, port: int, number: int) -> Iterator[list[Answer]]:
    """So many connections, each answered once and then left open."""
    exchanges = [Exchange(address, port) for _ in range(number)]
    try:
        yield [exchange.get() for exchange in exchanges]
    finally:
        for exchange in exchanges:
            exchange.close()


@dataclass
class Traffic:
    """Steady requests, each over a connection of its own, from a few threads in one namespace.

    Bounded: it ends after `limit` requests or `seconds`; each thread waits `pause` seconds in between.
    """

    namespace: str
    address: Address
    port: int
    limit: int = 6000
    seconds: float = 30.0
    threads: int = 3
    pause: float = 0.005
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Traffic:
        self._workers = [threading.Thread(target=self._work) for _ in range(self.threads)]
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join()

    @property
    def total(self) -> int:
        return self.answers.total() + len(self.failures)

    def await_answers(self, server: str, number: int, patience: float = 30.0) -> bool:
        """Wait until this server has given `number` more answers; False when that does not come."""
        goal, deadline = self.answers[server] + number, time.monotonic() + patience
        while self.answers[server] < goal:
            if self.failures or time.monotonic() > deadline:
                return False
            time.sleep(testbed.POLL)
        return True

    def _work(self) -> None:
        deadline = time.monotonic() + self.seconds
        with netns.inside(self.namespace):
            while not self._stop.is_set() and time.monotonic() < deadline and self.total < self.limit:
                self._one_request()
                self._stop.wait(self.pause)

    def _one_request(self) -> None:
        try:
            self.answers[get(self.address, self.port).server] += 1
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(str(error) or type(error).__name__)
