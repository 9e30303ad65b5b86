# SPDX-License-Identifier: GPL-2.0-or-later
"""What the doctor finds: a fault by name, on which machine, the evidence for it and the command that fixes it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pylvs.model import Destination, ServiceKey


class Health(IntEnum):
    """The state of a director or real server; the value is the exit status of `pylvs doctor`."""

    HEALTHY = 0
    DEGRADED = 1
    BROKEN = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault that was found.

    `name` is that of docs/doctor.md, `what` a sentence for a person. `machine` is "director", "this real server", or
    the address (IP or MAC) of another one, on which `fix` is to be run. `health` is what this fault alone makes of the
    service that it concerns; findings are listed by `likelihood`, the greatest first. `service` and `destination` are
    set where the fault is that of one destination.
    """

    name: str
    what: str
    evidence: tuple[str, ...]
    machine: str
    fix: str
    health: Health = Health.DEGRADED
    likelihood: int = 0
    service: ServiceKey | None = None
    destination: Destination | None = None

    def as_json(self) -> dict[str, Any]:
        """The finding as `pylvs doctor --json` has it."""
        return {
            "fault": self.name,
            "what": self.what,
            "evidence": list(self.evidence),
            "machine": self.machine,
            "mend": self.fix,
            "health": self.health.name.lower(),
        }
