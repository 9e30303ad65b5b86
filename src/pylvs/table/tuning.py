# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading and setting knobs: those that the data plane implements, and why the others stay as they are."""

from __future__ import annotations

from pylvs.errors import PylvsError
from pylvs.table.director import Director
from pylvs.table.knobs import BY_NAME, KERNEL, OWN, Knob

# The knobs that the data plane implements: `struct settings` has a field of the same name.
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
# Why each of the others is not implemented.
REASONS = {
    "backup_only": _SYNC,
    "conntrack": "packets pass before netfilter, which tracks none of them",
    "debug_level": "nothing is logged; see: pylvs outcomes",
    "ignore_tunneled": "packets are balanced as they come in, before any decapsulation",
    "nat_icmp_send": "the director sends no ICMP errors to real servers",
    "run_estimation": "rates are always estimated",
    "snat_reroute": "replies of NAT are always routed by their new source",
}


class NotTunable(PylvsError):
    """There is no such knob, it cannot have this value, or it has no effect here."""


def knob_named(name: str) -> Knob:
    """A knob by its name, with or without `net.ipv4.vs.` or `pylvs.` before it; NotTunable."""
    short = name.removeprefix(KERNEL).removeprefix(OWN)
    if short not in BY_NAME:
        raise NotTunable(f"no knob '{name}'; run: pylvs get")
    return BY_NAME[short]


def value_of(director: Director, knob: Knob) -> str:
    """The knob's value as sysctl prints it."""
    if knob.name in IMPLEMENTED and director.instance.loaded:
        return str(director.settings[knob.name])
    return knob.text()


def assign(director: Director, text: str) -> None:
    """Set a knob, as NAME=VALUE. A default may always be set. NotTunable."""
    name, equals, value = text.partition("=")
    knob = knob_named(name.strip())
    if not equals:
        raise NotTunable(f"'{text}' sets nothing; run: pylvs set {knob.name}=VALUE")
    try:
        values = knob.parse(value)
    except ValueError as error:
        raise NotTunable(str(error)) from None
    if knob.name == "drop_entry" and values == (3,):
        raise NotTunable("drop_entry is not 3 here: a full connection table evicts half-open connections by itself")
    if knob.name in IMPLEMENTED:
        director.set_knob(knob.name, values[0])
    elif values != knob.default:
        raise NotTunable(f"{knob.name} stays {knob.text()}: {REASONS.get(knob.name, _SYNC)}")
