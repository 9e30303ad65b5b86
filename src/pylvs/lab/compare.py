# SPDX-License-Identifier: GPL-2.0-or-later
"""The forwarding methods side by side: what each costs the director, measured on a small lab of each."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pylvs.errors import PylvsError
from pylvs.lab import build
from pylvs.lab.proofs import measure
from pylvs.lab.topology import METHODS, Options, Topology
from pylvs.model import ForwardingMethod

WHY = {
    ForwardingMethod.DR: "only the MAC changes: the real server has the VIP and answers the client itself",
    ForwardingMethod.NAT: "addresses change: the reply must come back to be changed back",
    ForwardingMethod.TUN: "the packet travels in another, across routers; the real server answers itself",
    ForwardingMethod.FULLNAT: "the client's address changes too: replies come back from any network",
}


@dataclass(frozen=True, slots=True)
class Row:
    """What one method did: who delivered the replies, and bytes through the director for each byte served."""

    method: str
    carriers: tuple[str, ...]
    per_byte: float
    why: str
    failed: str = ""


def compare(like: Options) -> list[Row]:
    """Measure every method: on the lab that is up where it has it, else on one made for this and taken away."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda word: _row(word, like), METHODS))


def _row(word: str, like: Options) -> Row:
    method = METHODS[word]
    try:
        with _lab(word, like) as lab:
            share = measure(lab)
    except (PylvsError, OSError, http.client.HTTPException) as error:
        return Row(word, (), 0.0, WHY[method], str(error) or type(error).__name__)
    return Row(word, tuple(sorted(share.carriers)), share.per_byte, WHY[method])


@contextmanager
def _lab(word: str, like: Options) -> Iterator[Topology]:
    up = build.built(like.name)
    if up and up.options == replace(like, method=METHODS[word]) and build.alive(up):
        yield up
        return
    options = replace(like, name=like.name[:12] + word, method=METHODS[word])
    try:
        yield build.up(options, lambda done: None)[0]
    finally:
        build.down(options.name)
