# SPDX-License-Identifier: GPL-2.0-or-later
"""The forwarding methods side by side: what each costs the director, measured on a small lab of each."""

from __future__ import annotations

import http.client
from dataclasses import dataclass, replace

from pylvs.errors import PylvsError
from pylvs.lab import build
from pylvs.lab.proofs import measure
from pylvs.lab.topology import METHODS, Options
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
    """Build a lab of each method beside the one that is up, measure it, take it away."""
    return [_row(word, replace(like, name=like.name[:5] + word, method=method)) for word, method in METHODS.items()]


def _row(word: str, options: Options) -> Row:
    try:
        lab, _ = build.up(options, lambda done: None)
        share = measure(lab)
    except (PylvsError, OSError, http.client.HTTPException) as error:
        return Row(word, (), 0.0, WHY[options.method], str(error) or type(error).__name__)
    finally:
        build.down(options.name)
    return Row(word, tuple(sorted(share.carriers)), share.per_byte, WHY[options.method])
