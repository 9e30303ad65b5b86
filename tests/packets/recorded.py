# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's IPVS did, recorded: sched.json.xz and walk.json.xz beside this file."""

from __future__ import annotations

import json
import lzma
import re
from pathlib import Path
from typing import Any

Case = dict[str, Any]
_MARK = re.compile(r"-A PREROUTING -d (\S+?)(?:/\d+)?(?: -p (\w+))? -j MARK --set-mark (\d+)")


def cases(name: str) -> list[Case]:
    """All recorded cases of a file, in its order."""
    with lzma.open(Path(__file__).parent / f"{name}.json.xz", "rt") as file:
        found: list[Case] = json.load(file)
    return found


def label(case: Case) -> str:
    """Its name, unique with the flags."""
    return str(case["name"]) + (f" [{case['flags']}]" if case.get("flags") else "")


def mark(case: Case) -> int:
    """The firewall mark that netfilter gave every packet of the case to the service, 0 if none."""
    match = _MARK.search(case["pre"])
    return int(match[3]) if match else 0
