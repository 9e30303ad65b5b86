# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a measurement was made."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from pylvs.host import command


def environment() -> dict[str, str]:
    """CPU, memory, kernel, compiler and commit, as far as they can be found out."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return {
        "cpu": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} CPUs, {memory} GiB",
        "kernel": platform.release(),
        "clang": _first_line("clang", "--version"),
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit, and whether the sources differ from it; the report that is being written does not count."""
    source = str(Path(__file__).parents[1])
    commit = _first_line("git", "-C", source, "describe", "--always", "--exclude=*")
    changed = _first_line("git", "-C", source, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}-dirty" if changed and changed != "unknown" else commit


def _first_line(*argv: str) -> str:
    try:
        output = command.run(argv)
    except command.CommandFailed:
        return "unknown"
    return (output.splitlines() or [""])[0]
