# SPDX-License-Identifier: GPL-2.0-or-later
"""The systemd unit that joins at boot and leaves at shutdown."""

from __future__ import annotations

import shlex
from pathlib import Path

from pylvs.host import systemd
from pylvs.model import Address
from pylvs.realserver.preparation import Request

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
    """The name of the unit; a colon in it would have to be escaped."""
    return f"pylvs-realserver-{str(vip).replace(':', '-')}.service"


def path(vip: Address) -> Path:
    """Where the unit is, or would be."""
    return systemd.UNITS / name(vip)


def text(request: Request, interface: str) -> str:
    """The text of the unit for this join."""
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
    return UNIT.format(vip=request.vip, method=request.method, pylvs=systemd.program(), options=shlex.join(options))


def write(request: Request, interface: str) -> Path:
    """Write the unit and have it started at boot."""
    return systemd.write(name(request.vip), text(request, interface))


def remove(vip: Address) -> Path | None:
    """Take the unit away; None if there was none."""
    return systemd.remove(name(vip))
