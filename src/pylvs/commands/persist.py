# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs attach --persist`: the director as it is now, as a script that a systemd unit runs at boot."""

from __future__ import annotations

import os
from pathlib import Path

from pylvs.errors import PylvsError
from pylvs.host import systemd as units
from pylvs.ipvsadm.script import script
from pylvs.table.director import Director

SCRIPT = Path("/etc/pylvs/director")
NAME = "pylvs-director.service"
NAMED = Path("/run/netns")  # where `ip netns` keeps the names of network namespaces
COMMENT = f"Run at boot by {NAME}; rewritten by each: pylvs attach --persist"

UNIT = """\
[Unit]
Description=Director: virtual services of pylvs
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={script}
ExecStop={pylvs} detach --unload --keep-persist

[Install]
WantedBy=multi-user.target
"""


def in_own_network() -> bool:
    """Whether this is the machine's own network namespace, and none with a name, as the lab's have."""
    own = os.stat("/proc/thread-self/ns/net")
    return not any(os.path.samestat(own, path.stat()) for path in NAMED.glob("*"))


def write() -> tuple[Path, Path]:
    """Write the script, whole or not at all, and the unit; return where they are. PylvsError in a named namespace."""
    if not in_own_network():
        raise PylvsError("--persist is for the machine's own network, and this network namespace is not")
    with Director() as director, director.instance.locked():
        text = script(director, COMMENT)
    unit = units.write(NAME, UNIT.format(script=SCRIPT, pylvs=units.program()))
    SCRIPT.parent.mkdir(exist_ok=True)
    new = SCRIPT.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o755)
    new.rename(SCRIPT)
    return SCRIPT, unit


def remove() -> list[Path]:
    """Remove script and unit, unless they are another namespace's; return what was removed."""
    if not in_own_network():
        return []
    gone = [path for path in (units.remove(NAME),) if path]
    if SCRIPT.exists():
        SCRIPT.unlink()
        if not any(SCRIPT.parent.iterdir()):
            SCRIPT.parent.rmdir()
        gone.append(SCRIPT)
    return gone
