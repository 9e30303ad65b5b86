# SPDX-License-Identifier: GPL-2.0-or-later
"""Running `pylvs lab` as a person does."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from pylvs.host import testbed
from pylvs.lab.steps import STATE
from pylvs.lab.topology import prefix


def lab(command: str, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """`pylvs lab COMMAND --name NAME …`, its output as text."""
    argv = [sys.executable, "-m", "pylvs", "lab", command, "--name", name, *more]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def document(command: str, name: str, *more: str) -> dict[str, Any]:
    """What the command says with --json; what it says otherwise is the failure's message."""
    done = lab(command, name, "--json", *more)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def leftovers(name: str) -> list[str]:
    """Everything of this lab that is still there."""
    namespaces = testbed.listing(prefix(name))
    marks = [str(pid) for pid in testbed.processes(namespaces, f"{STATE / name}/")]
    return (
        namespaces
        + marks
        + [str(path) for path in STATE.glob(f"{name}/*")]
        + [str(path) for path in STATE.glob(f"{name}.*")]
    )


def failures(said: dict[str, Any]) -> list[tuple[str, str]]:
    """Which proofs of a run failed, and why."""
    return [(proof["claim"], proof["why"]) for proof in said["proofs"] if not proof["ok"]]
