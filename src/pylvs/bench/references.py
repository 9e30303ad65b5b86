# SPDX-License-Identifier: GPL-2.0-or-later
"""What each row of a result is a ratio to, within the same rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pylvs.bench.result import Key, Samples, key_of
from pylvs.bench.stats import Figure, ratio
from pylvs.bench.targets import BESIDE, INSERT, MILLION, SWAP

FASTEST = ("one cache line", "xdp", 10 * MILLION)  # the rounds of ten million have no swap


def reference(suite: str, row: Mapping[str, Any]) -> Key | None:
    """The row that this one is a ratio to; None where a ratio means nothing, as for bytes."""
    name, hook, count = key_of(row)
    match suite:
        case "packet":
            return _of_packet(name, hook, count)
        case "wire":
            return (name, "direct", 0)
        case "table":
            return ("parse and swap MACs", "table", count) if row["unit"] == "ns" else None
        case "control":
            return ("python -c pass", "command", 0)
    return None


def _of_packet(name: str, hook: str, count: int) -> Key:
    if name.startswith("new, ") or name in ("SYN flood, table full", INSERT[0]):
        return INSERT
    if count == FASTEST[2] or name == BESIDE:
        return FASTEST
    return (SWAP[0], hook, 1)


def beside(suite: str, row: Mapping[str, Any], samples: Samples) -> Figure | None:
    """The ratio to the reference; None if there is none, or it is the row itself."""
    key = reference(suite, row)
    if key is None or key == key_of(row) or len(samples.get(key, ())) != len(row["samples"]):
        return None
    return ratio(row["samples"], samples[key])


def reference_name(suite: str, row: Mapping[str, Any]) -> str:
    """The name of the reference."""
    key = reference(suite, row)
    return key[0] if key and suite != "wire" else "direct"
