# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs doctor`: what is wrong, the likeliest first, with the evidence and the command that mends it."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

from pylvs.doctor.finding import Diagnosis, Health, diagnose
from pylvs.errors import NotPermitted, PylvsError

DIRECTOR, REAL_SERVER = "pylvs.doctor.diagnoses", "pylvs.doctor.real_server"


def parser() -> argparse.ArgumentParser:
    """The grammar of `pylvs doctor`."""
    top = argparse.ArgumentParser(
        prog="pylvs doctor",
        description="Why does the VIP not answer? To be asked on the director, or on a real server.",
        epilog="Exit status: 0 healthy, 1 degraded, 2 broken.",
    )
    top.add_argument("--json", action="store_true", help="as data")
    top.add_argument(
        "--as", dest="role", choices=("director", "realserver"), help="what this machine is (default: seen)"
    )
    return top


def run(argv: Sequence[str]) -> int:
    """Examine this machine and say what is wrong."""
    arguments = parser().parse_args(argv)
    if os.geteuid() != 0:
        raise NotPermitted("the doctor sends frames by hand, so it needs root; type: sudo pylvs doctor")
    roles, found, looked = examine(arguments.role)
    health = judge(found)
    if arguments.json:
        print(json.dumps(_document(roles, found, health), indent=2))
    else:
        show(roles, found, health, looked)
    return int(health)


def examine(role: str | None = None) -> tuple[list[str], list[Diagnosis], str]:
    """The roles this machine has, everything that is wrong with it, and what was looked at, in words."""
    from pylvs.doctor.evidence import Examination
    from pylvs.doctor.server_state import Visit

    examination, visit = Examination(), Visit()
    roles = [role] if role else _roles(examination, visit)
    if not roles:
        raise PylvsError("this machine is no director (pylvsadm -A …) and no real server (pylvs realserver join VIP)")
    found, looked = [], []
    if "director" in roles:
        found += diagnose(DIRECTOR, examination)
        looked.append(f"{len(examination.services)} services, {len(examination.patients)} destinations probed")
    if "realserver" in roles:
        found += diagnose(REAL_SERVER, visit)
        looked.append(f"{len(visit.vips)} VIPs of a real server")
    return roles, found, "; ".join(looked)


def _roles(examination: Any, visit: Any) -> list[str]:
    director = bool(examination.services)
    vips = [vip for vip in visit.vips if vip in visit.joins or vip not in examination.vips]
    return (["director"] if director else []) + (["realserver"] if vips else [])


def judge(found: Sequence[Diagnosis]) -> Health:
    """Broken if one fault alone is enough for that, or if no destination of a service is without one."""
    worst = max((one.health for one in found), default=Health.HEALTHY)
    ill = [one.destination for one in found if one.destination is not None]
    for service in {id(patient.service): patient.service for patient in ill}.values():
        sick = {patient.state.destination for patient in ill if patient.service is service}
        working = {one.destination for one in service.destinations if one.destination.weight} - sick
        if not working:
            return Health.BROKEN
    return worst


def _document(roles: list[str], found: list[Diagnosis], health: Health) -> dict[str, Any]:
    rows = [{"fault": d.fault, "what": d.what, "evidence": [e for e in d.evidence if e], "machine": d.machine,
             "mend": d.mend, "health": d.health.name.lower()} for d in found]  # fmt: skip
    return {"health": health.name.lower(), "roles": roles, "diagnoses": rows}


def show(roles: list[str], found: list[Diagnosis], health: Health, looked: str) -> None:
    """Print it for a person."""
    for number, one in enumerate(found, 1):
        print(f"{number}. {one.what}  [{one.fault}]")
        print(f"   on     {one.machine}")
        for line in one.evidence:
            if line:
                print(f"   seen   {line}")
        print(f"   type   {one.mend}\n")
    print(f"{health.name.lower()}: {looked}" + ("" if found else "; nothing is wrong"))
