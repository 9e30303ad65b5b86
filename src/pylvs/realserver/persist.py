# SPDX-License-Identifier: GPL-2.0-or-later
"""A systemd unit that joins at boot and leaves at shutdown."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from pylvs.errors import PylvsError
from pylvs.model import Address
from pylvs.realserver.machine import command
from pylvs.realserver.plan import Request

UNITS = Path("/etc/systemd/system")
WANTS = "multi-user.target.wants"

UNIT = """\
[Unit]
Description=Real server for the virtual address {vip} ({method})
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={pylvs} realserver join {options}
ExecStop={pylvs} realserver leave {vip} --keep-persist

[Install]
WantedBy=multi-user.target
"""


def name(vip: Address) -> str:
    """The unit's name; a colon would have to be escaped."""
    return f"pylvs-realserver-{str(vip).replace(':', '-')}.service"


def text(request: Request, interface: str) -> str:
    """The unit for this join."""
    options = [str(request.vip), "--method", request.method, "--interface", interface]
    for flag, value in (
        ("--gateway", request.gateway),
        ("--director", request.director),
        ("--tun-type", request.tunnel),
    ):
        options += [flag, str(value)] if value else []
    if request.method == "tun":
        options += ["--tun-port", str(request.gue_port), "--decapsulator", request.decapsulator]
    options += ["--force"] if request.force else []
    return UNIT.format(vip=request.vip, method=request.method, pylvs=_program(), options=shlex.join(options))


def _program() -> str:
    beside = Path(sys.executable).parent / "pylvs"
    found = str(beside) if beside.exists() else shutil.which("pylvs")
    return shlex.quote(found) if found else f"{shlex.quote(sys.executable)} -m pylvs"


def write(request: Request, interface: str) -> Path:
    """Write the unit and have it started at boot."""
    if not UNITS.is_dir():
        raise PylvsError(f"this machine has no systemd ({UNITS} is not there); put the join into its own start-up")
    path = UNITS / name(request.vip)
    path.write_text(text(request, interface))
    (UNITS / WANTS).mkdir(exist_ok=True)
    link = UNITS / WANTS / path.name
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    _reload()
    return path


def remove(vip: Address) -> Path | None:
    """Take the unit away; None if there was none."""
    path = UNITS / name(vip)
    there = path.exists()
    (UNITS / WANTS / path.name).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    if there:
        _reload()
    return path if there else None


def _reload() -> None:
    if os.path.isdir("/run/systemd/system"):
        command(["systemctl", "daemon-reload"])
