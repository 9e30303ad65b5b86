# SPDX-License-Identifier: GPL-2.0-or-later
"""Units of systemd: written, started at boot, and removed again."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from pylvs.errors import PylvsError
from pylvs.host import command

UNITS = Path("/etc/systemd/system")
WANTS = "multi-user.target.wants"


def program(name: str = "pylvs") -> str:
    """The command of one of our programs, `pylvs` or `pylvsadm`, by its full path, as a unit or a script needs it."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found:
        return shlex.quote(found)
    module = {"pylvs": "pylvs", "pylvsadm": "pylvs.ipvsadm"}[name]
    return f"{shlex.quote(sys.executable)} -m {module}"


def write(name: str, text: str) -> Path:
    """Write the unit and enable it, so that it starts at boot; PylvsError without systemd."""
    if not UNITS.is_dir():
        raise PylvsError(f"this machine has no systemd ({UNITS} is not there); put the command into its own start-up")
    path = UNITS / name
    path.write_text(text)
    (UNITS / WANTS).mkdir(exist_ok=True)
    link = UNITS / WANTS / name
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    _reload()
    return path


def remove(name: str) -> Path | None:
    """Disable and remove the unit; return its path, None if there was none."""
    path = UNITS / name
    there = path.exists()
    (UNITS / WANTS / name).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    if there:
        _reload()
    return path if there else None


def _reload() -> None:
    if os.path.isdir("/run/systemd/system"):
        command.run(["systemctl", "daemon-reload"])
