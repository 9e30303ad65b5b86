# SPDX-License-Identifier: GPL-2.0-or-later
"""The director of this network namespace as a shell script that makes it again, but for its connections."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pylvs.dataplane.attach import mode_of
from pylvs.dataplane.instance import Instance
from pylvs.host.interfaces import interfaces
from pylvs.host.systemd import program
from pylvs.ipvsadm.ordering import sort_services
from pylvs.ipvsadm.plan import table_rules
from pylvs.model import ConfiguredService, Timeouts
from pylvs.table import marks
from pylvs.table.director import Director
from pylvs.table.knobs import KNOBS, OWN_KNOBS
from pylvs.table.tuning import value_of

END = "END"  # of the table, within the script


def script(director: Director, comment: str) -> str:
    """The script; it ends at the first command that fails."""
    return "\n".join(("#!/bin/sh -e", f"# {comment}", *commands(director), ""))


def commands(director: Director) -> Iterator[str]:
    """Mode, detached interfaces, knobs, marks, timeouts, table; what is as it is by default is left out."""
    pylvs, pylvsadm = program("pylvs"), program("pylvsadm")
    yield f"{pylvs} attach --mode {mode_of(director.instance).value}"
    if detached := _detached(director.instance):
        yield f"{pylvs} detach {shlex.join(detached)}"
    if changed := _changed_knobs(director):
        yield f"{pylvs} set {shlex.join(changed)}"
    for rule in marks.read(director):
        yield f"{pylvs} mark add {rule}"
    timeouts = director.timeouts()
    if timeouts != Timeouts():
        yield f"{pylvsadm} --set {timeouts.tcp} {timeouts.tcp_fin} {timeouts.udp}"
    yield f"{pylvsadm} -R --atomic <<'{END}'"
    yield from table_rules(_configured(director))
    yield END


def _detached(instance: Instance) -> list[str]:
    """The interfaces that were detached by hand and are there now."""
    names = {f"off-{each.index}": each.name for each in interfaces()}
    return [names[note] for note in sorted(instance.notes()) if note in names]


def _changed_knobs(director: Director) -> list[str]:
    """NAME=VALUE of each knob that is not at its default."""
    values = {knob: value_of(director, knob) for knob in (*KNOBS, *OWN_KNOBS)}
    return [f"{knob.name}={value}" for knob, value in values.items() if value != knob.text()]


def _configured(director: Director) -> Iterator[ConfiguredService]:
    """Destinations in the order in which they were added, which schedulers go by."""
    for state in sort_services(director.services(counted=False)):
        yield state.service, [each.destination for each in reversed(state.destinations)]
