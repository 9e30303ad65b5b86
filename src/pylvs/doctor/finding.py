# SPDX-License-Identifier: GPL-2.0-or-later
"""What a diagnosis is, and how they are found: each is a module of `pylvs.doctor.diagnoses` (or `.real_server`).

Such a module has `LIKELIHOOD`, by which the answer is ordered (greater comes first), and
`diagnose(examination)`, which gives a `Diagnosis` for each machine that has the fault.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Health(IntEnum):
    """The exit status of `pylvs doctor`."""

    HEALTHY = 0
    DEGRADED = 1
    BROKEN = 2


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A fault: its name (of the module), what is wrong, what was seen, on which machine, and what mends it.

    `health` is what this fault alone makes of the service that it concerns.
    """

    fault: str
    what: str
    evidence: tuple[str, ...]
    machine: str
    mend: str
    health: Health = Health.DEGRADED
    likelihood: int = 0
    destination: Any = field(default=None, compare=False, repr=False)  # the Patient that it concerns, if it is one


def modules(package: str) -> list[Any]:
    """The diagnoses of a package, the likeliest first."""
    folder = importlib.import_module(package)
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    return sorted((importlib.import_module(f"{package}.{n}") for n in names), key=lambda m: -int(m.LIKELIHOOD))


def diagnose(package: str, examination: object) -> list[Diagnosis]:
    """Everything that is wrong, the likeliest and worst first."""
    found: list[Diagnosis] = []
    for module in modules(package):
        look: Callable[[object], Iterable[Diagnosis]] = module.diagnose
        found += look(examination)
    return sorted(found, key=lambda d: -d.likelihood)
