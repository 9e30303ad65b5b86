# SPDX-License-Identifier: GPL-2.0-or-later
"""A large file through the VIP, down and up, compared by its SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import random
from dataclasses import dataclass
from pathlib import Path

from pylvs.host import netns
from pylvs.lab.httpd import MEGABYTE
from pylvs.lab.steps import directory
from pylvs.lab.topology import Topology

PATIENCE = 60.0  # seconds for one transfer
CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Transfer:
    """Digests of what was sent and of what arrived."""

    size: int
    sent: str
    downloaded: str
    uploaded: str

    @property
    def intact(self) -> bool:
        return self.sent == self.downloaded == self.uploaded


def transfer(lab: Topology, megabytes: int) -> Transfer:
    """Put one file onto every real server, fetch it through the VIP, and upload it through the VIP."""
    original = _original(lab, megabytes)
    for machine in lab.servers:
        (directory(lab, machine.name) / "htdocs/large").unlink(missing_ok=True)
        (directory(lab, machine.name) / "htdocs/large").hardlink_to(original)
        (directory(lab, machine.name) / "htdocs/upload/large").unlink(missing_ok=True)
    with netns.inside(lab.namespace(lab.client.name)):
        downloaded = _download(lab)
        _upload(lab, original)
    arrived = [directory(lab, machine.name) / "htdocs/upload/large" for machine in lab.servers]
    uploaded = [_digest(path) for path in arrived if path.exists()]
    return Transfer(original.stat().st_size, _digest(original), downloaded, uploaded[0] if uploaded else "")


def _original(lab: Topology, megabytes: int) -> Path:
    """A file in which no two blocks are alike, so that lost, doubled or swapped segments show."""
    path = directory(lab) / "large"
    source = random.Random(megabytes)
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(source.randbytes(MEGABYTE))
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(lab: Topology) -> str:
    connection = http.client.HTTPConnection(str(lab.vip), lab.port, timeout=PATIENCE)
    connection.request("GET", "/large")
    digest, response = hashlib.sha256(), connection.getresponse()
    while block := response.read(CHUNK):
        digest.update(block)
    connection.close()
    return digest.hexdigest()


def _upload(lab: Topology, path: Path) -> None:
    connection = http.client.HTTPConnection(str(lab.vip), lab.port, timeout=PATIENCE, blocksize=CHUNK)
    with path.open("rb") as file:
        connection.request("PUT", "/upload/large", file, {"Content-Length": str(path.stat().st_size)})
    response = connection.getresponse()
    response.read()
    connection.close()
    if response.status not in (201, 204):
        raise http.client.HTTPException(f"the upload was answered {response.status} {response.reason}")
