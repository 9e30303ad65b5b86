# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal of what was joined in a network namespace, and what was there before; written before each change.

The file is named after the namespace's cookie and holds the boot's id: one of another boot no longer holds, for
sysctls, addresses and routes begin anew with the machine.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pylvs.errors import NotPermitted
from pylvs.host import netns
from pylvs.realserver.changes import Change, from_words, to_words

FOLDER = Path("/run/pylvs")
BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class Entry:
    """One change, what was there before it, and the VIPs that need it."""

    change: Change
    before: str
    vips: list[str]


@dataclass
class Journal:
    """Everything that `leave` needs. `joins`: options of each join, by VIP."""

    path: Path
    joins: dict[str, dict[str, Any]] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)

    def find(self, change: Change) -> Entry | None:
        """The entry of the same change, whoever needed it first."""
        key = _identity(change)
        return next((entry for entry in self.entries if _identity(entry.change) == key), None)

    def save(self) -> None:
        """Write it whole or not at all; an empty journal is no file."""
        if not self.joins and not self.entries:
            self.path.unlink(missing_ok=True)
            return
        document = {
            "boot": boot(),
            "joins": self.joins,
            "entries": [{"change": to_words(e.change), "before": e.before, "vips": e.vips} for e in self.entries],
        }
        new = self.path.with_suffix(".new")
        with new.open("w") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.path)


def _identity(change: Change) -> str:
    return json.dumps({key: value for key, value in to_words(change).items() if key not in ("why", "value")})


def boot() -> str:
    """The kernel's id of this boot."""
    return BOOT.read_text().strip()


def where() -> Path:
    """The journal's file of the calling thread's network namespace."""
    return FOLDER / f"realserver-{netns.cookie()}.json"


def read() -> Journal:
    """The journal of this namespace; empty if there is none, or only one of another boot."""
    journal = Journal(where())
    try:
        document = json.loads(journal.path.read_text())
    except (OSError, ValueError):
        return journal
    if document["boot"] != boot():
        return journal
    journal.joins = document["joins"]
    journal.entries = [Entry(from_words(e["change"]), e["before"], e["vips"]) for e in document["entries"]]
    return journal


@contextmanager
def locked() -> Iterator[Journal]:
    """Hold the journal, one process at a time, to change it; NotPermitted without root."""
    try:
        FOLDER.mkdir(mode=0o755, exist_ok=True)
        lock = os.open(where().with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        raise NotPermitted(
            "this changes addresses and sysctls, so it needs root; run: sudo pylvs realserver …"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield read()
    finally:
        os.close(lock)


def sweep() -> None:
    """Remove the journals of namespaces that are gone."""
    files = [path for path in FOLDER.glob("realserver-*") if path.stem.partition("-")[2].isdigit()]
    if not files:
        return
    alive = netns.live_cookies()
    for path in files:
        if alive is not None and int(path.stem.partition("-")[2]) not in alive:
            path.unlink(missing_ok=True)
