# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs set` and `pylvs get`: the knobs of `net.ipv4.vs.*`, by the kernel's names, and our own."""

from __future__ import annotations

import argparse
import json

from pylvs.errors import PylvsError
from pylvs.table.director import Director
from pylvs.table.knobs import BY_NAME, KERNEL, KNOBS, OWN, OWN_KNOBS, Knob

# What the data plane has a setting for, by the same name.
IMPLEMENTED = (
    "am_droprate",
    "amemthresh",
    "cache_bypass",
    "clamp_mss",
    "conn_reuse_mode",
    "drop_entry",
    "drop_packet",
    "expire_nodest_conn",
    "expire_quiescent_template",
    "pmtu_disc",
    "schedule_icmp",
    "secure_tcp",
    "sloppy_sctp",
    "sloppy_tcp",
)
_SYNC = "no connections are synchronized"
# Why not, for the others.
REASONS = {
    "backup_only": _SYNC,
    "conntrack": "packets pass before netfilter, which tracks none of them",
    "debug_level": "nothing is logged; see: pylvs outcomes",
    "ignore_tunneled": "packets are balanced as they come in, before any tunnel is taken off",
    "nat_icmp_send": "the director sends no ICMP errors to real servers",
    "run_estimation": "rates are always estimated",
    "snat_reroute": "replies of NAT are always routed by their new source",
}


class NotTunable(PylvsError):
    """A knob that does not exist, has no such value, or does nothing here."""


def _knob(name: str) -> Knob:
    short = name.removeprefix(KERNEL).removeprefix(OWN)
    if short not in BY_NAME:
        raise NotTunable(f"no knob '{name}'; type: pylvs get")
    return BY_NAME[short]


def value_of(director: Director, knob: Knob) -> str:
    """The knob's value as sysctl prints it."""
    if knob.name in IMPLEMENTED and director.instance.loaded:
        return str(director.settings[knob.name])
    return knob.text()


def assign(director: Director, text: str) -> None:
    """NAME=VALUE; NotTunable says what is wrong. A default may always be set."""
    name, equals, value = text.partition("=")
    knob = _knob(name.strip())
    if not equals:
        raise NotTunable(f"'{text}' sets nothing; type: pylvs set {knob.name}=VALUE")
    try:
        values = knob.parse(value)
    except ValueError as error:
        raise NotTunable(str(error)) from None
    if knob.name == "drop_entry" and values == (3,):
        raise NotTunable("drop_entry is not 3 here: a full connection table gives up half-open connections by itself")
    if knob.name in IMPLEMENTED:
        director.set_knob(knob.name, values[0])
    elif values != knob.default:
        raise NotTunable(f"{knob.name} stays {knob.text()}: {REASONS.get(knob.name, _SYNC)}")


def run(argv: list[str]) -> int:
    """`pylvs set NAME=VALUE…`, `pylvs get [NAME…]`."""
    parser = argparse.ArgumentParser(prog=f"pylvs {argv[0]}", description=__doc__)
    if argv[0] == "set":
        parser.add_argument("assignment", nargs="+", metavar="NAME=VALUE")
        assignments = parser.parse_args(argv[1:]).assignment
        with Director() as director:
            for assignment in assignments:
                assign(director, assignment)
        return 0
    parser.add_argument("--json", action="store_true", help="as data")
    parser.add_argument("name", nargs="*")
    options = parser.parse_args(argv[1:])
    knobs = [_knob(name) for name in options.name] or [*KNOBS, *OWN_KNOBS]
    with Director() as director:
        values = {knob.name: value_of(director, knob) for knob in knobs}
    lines = (f"{BY_NAME[name].prefix}{name} = {value}" for name, value in values.items())
    print(json.dumps(values, indent=2) if options.json else "\n".join(lines))
    return 0
