# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs attach --persist`: the director as it is now, as a script of commands that a unit runs at boot."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from pylvs.commands import mark as marks
from pylvs.commands.tuning import value_of
from pylvs.dataplane.attach import mode_of
from pylvs.errors import PylvsError
from pylvs.host import systemd as units
from pylvs.host.interfaces import interfaces
from pylvs.ipvsadm.ordering import sort_services
from pylvs.ipvsadm.plan import table_rules
from pylvs.model import ConfiguredService, Timeouts
from pylvs.table.director import Director
from pylvs.table.knobs import KNOBS, OWN_KNOBS

SCRIPT = Path("/etc/pylvs/director")
NAME = "pylvs-director.service"
NAMED = Path("/run/netns")
END = "END"  # of the table, within the script

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


def commands(director: Director) -> Iterator[str]:
    """What makes the director of this network namespace again, but for its connections."""
    pylvs, pylvsadm, instance = units.program("pylvs"), units.program("pylvsadm"), director.instance
    yield f"{pylvs} attach --mode {mode_of(instance).value}"
    names = {f"off-{each.index}": each.name for each in interfaces()}
    off = [names[note] for note in sorted(instance.notes()) if note in names]
    if off:
        yield f"{pylvs} detach {shlex.join(off)}"
    values = [(knob, value_of(director, knob)) for knob in (*KNOBS, *OWN_KNOBS)]
    changed = [f"{knob.name}={value}" for knob, value in values if value != knob.text()]
    if changed:
        yield f"{pylvs} set {shlex.join(changed)}"
    yield from (f"{pylvs} mark add {rule}" for rule in marks.read(director))
    times = director.timeouts()
    if times != Timeouts():
        yield f"{pylvsadm} --set {times.tcp} {times.tcp_fin} {times.udp}"
    yield "\n".join((f"{pylvsadm} -R --atomic <<'{END}'", *table_rules(_configured(director)), END))


def _configured(director: Director) -> Iterator[ConfiguredService]:
    """Destinations in the order in which they came, which schedulers go by."""
    for state in sort_services(director.services(counted=False)):
        yield state.service, [each.destination for each in reversed(state.destinations)]


def text(director: Director) -> str:
    """The script."""
    head = "#!/bin/sh -e\n# Run at boot by {name}; written anew by each: pylvs attach --persist"
    return "\n".join((head.format(name=NAME), *commands(director), ""))


def in_own_network() -> bool:
    """Whether this is the machine's network, and not one that has a name, as the lab's have."""
    own = os.stat("/proc/thread-self/ns/net")
    return not any(os.path.samestat(own, path.stat()) for path in NAMED.glob("*"))


def write() -> tuple[Path, Path]:
    """Write the script, at once or not at all, and the unit; return where they are."""
    if not in_own_network():
        raise PylvsError("--persist is for the machine's own network, and this network namespace is not")
    with Director() as director, director.instance.locked():
        said = text(director)
    unit = units.write(NAME, UNIT.format(script=SCRIPT, pylvs=units.program()))
    SCRIPT.parent.mkdir(exist_ok=True)
    new = SCRIPT.with_suffix(".new")
    new.write_text(said)
    new.chmod(0o755)
    new.rename(SCRIPT)
    return SCRIPT, unit


def remove() -> list[Path]:
    """Take script and unit away, unless they are another network's; return what there was."""
    if not in_own_network():
        return []
    gone = [path for path in (units.remove(NAME),) if path]
    if SCRIPT.exists():
        SCRIPT.unlink()
        if not any(SCRIPT.parent.iterdir()):
            SCRIPT.parent.rmdir()
        gone.append(SCRIPT)
    return gone
