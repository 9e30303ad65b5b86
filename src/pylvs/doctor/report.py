# SPDX-License-Identifier: GPL-2.0-or-later
"""Examining this machine and reporting what is wrong, as values.

A diagnosis is a module of `pylvs.doctor.diagnoses` (a director's) or `pylvs.doctor.real_server`. It has `LIKELIHOOD`,
by which findings are listed, and `diagnose(evidence)`, a pure function that yields a finding for each machine that has
the fault.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pylvs.doctor import runner, server_runner
from pylvs.doctor.evidence import DirectorEvidence
from pylvs.doctor.finding import Finding, Health
from pylvs.doctor.server_state import RealServerState
from pylvs.errors import NotPermitted, PylvsError
from pylvs.model import ServiceState

DIRECTOR, REAL_SERVER = "pylvs.doctor.diagnoses", "pylvs.doctor.real_server"


@dataclass(frozen=True, slots=True)
class Report:
    """What is wrong with this machine, the likeliest first, and what that was concluded from.

    `roles` are "director" and "realserver"; the evidence of a role that the machine does not have is None.
    """

    roles: tuple[str, ...]
    health: Health
    findings: tuple[Finding, ...]
    director: DirectorEvidence | None = None
    real_server: RealServerState | None = None

    @property
    def checked(self) -> str:
        """What was looked at, in words."""
        parts = []
        if self.director:
            parts.append(
                f"{len(self.director.services)} services, {len(self.director.destinations)} destinations probed"
            )
        if self.real_server:
            parts.append(f"{len(self.real_server.vips)} VIPs of a real server")
        return "; ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """The report as `pylvs doctor --json` has it."""
        findings = [finding.as_json() for finding in self.findings]
        return {"health": self.health.name.lower(), "roles": list(self.roles), "diagnoses": findings}


def diagnose(role: str | None = None) -> Report:
    """Examine this machine as a director and a real server, as far as it is one, or as `role`, one of the two.

    It takes a second or two if nothing is wrong, and some seconds otherwise. NotPermitted without root; PylvsError on a
    machine that is neither.

        >>> report = diagnose()                                     # doctest: +SKIP
        >>> [(finding.name, finding.fix) for finding in report.findings]
    """
    if os.geteuid() != 0:
        raise NotPermitted("the doctor sends frames by hand, so it needs root; run: sudo pylvs doctor")
    host = runner.host_state()
    evidence = runner.table(host)
    state = server_runner.joined(host)
    roles = (role,) if role else tuple(_roles(evidence, state))
    if not roles:
        raise PylvsError("this machine is no director (pylvsadm -A …) and no real server (pylvs realserver join VIP)")
    director = runner.examine(evidence) if "director" in roles else None
    real_server = server_runner.examine(state) if "realserver" in roles else None
    findings = (*found(DIRECTOR, director), *found(REAL_SERVER, real_server))
    return Report(roles, judge(findings, evidence.services), findings, director, real_server)


def _roles(evidence: DirectorEvidence, state: RealServerState) -> Iterator[str]:
    """A VIP on lo that was not joined is a real server's only where it is no VIP of the director on this machine."""
    if evidence.services:
        yield "director"
    balanced = {service.service.key.address for service in evidence.services}
    if any(vip in state.joins or vip not in balanced for vip in state.addresses):
        yield "realserver"


def modules(package: str) -> list[Any]:
    """The diagnoses of a package, the likeliest first."""
    directory = importlib.import_module(package)
    names = sorted(module.name for module in pkgutil.iter_modules(directory.__path__))
    diagnoses = [importlib.import_module(f"{package}.{name}") for name in names]
    return sorted(diagnoses, key=lambda diagnosis: -int(diagnosis.LIKELIHOOD))


def found(package: str, evidence: DirectorEvidence | RealServerState | None) -> list[Finding]:
    """Every finding of a package's diagnoses, the likeliest first; none without evidence."""
    findings: list[Finding] = []
    for diagnosis in modules(package) if evidence else ():
        function: Callable[[object], Iterable[Finding]] = diagnosis.diagnose
        findings += function(evidence)
    return sorted(findings, key=lambda finding: -finding.likelihood)


def judge(findings: Sequence[Finding], services: Sequence[ServiceState]) -> Health:
    """Broken if one fault alone is enough for that, or if no destination of a service is without one."""
    for service in services:
        faulty = {one.destination for one in findings if one.destination and one.service == service.service.key}
        working = {state.destination for state in service.destinations if state.destination.weight} - faulty
        if faulty and not working:
            return Health.BROKEN
    return max((finding.health for finding in findings), default=Health.HEALTHY)
