# SPDX-License-Identifier: GPL-2.0-or-later
"""ip(8) of iproute2: what it lists, as data, and many of its commands in one process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pylvs.host import command


def listed(*words: str) -> list[dict[str, Any]]:
    """The rows of `ip -j WORDS`; CommandFailed, as for an interface that is not there."""
    found: list[dict[str, Any]] = json.loads(command.run(["ip", "-j", *words]) or "[]")
    return [row for row in found if row]  # `ip -j` prints `{}` for a row that a filter left out


def batch(*lines: str, keep: Sequence[int] = ()) -> None:
    """Carry out commands of ip, each without the word `ip`; CommandFailed at the first that does not work."""
    command.run(["ip", "-batch", "-"], "\n".join(lines) + "\n", keep=keep)
