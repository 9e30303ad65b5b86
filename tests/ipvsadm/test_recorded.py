# SPDX-License-Identifier: GPL-2.0-or-later
"""Every recorded command line of ipvsadm 1.31 on Linux 6.1 gives the recorded output, status and table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ipvsadm.shell import Shell

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cli.json").read_text())


def without_modprobe(stderr: str) -> str:
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith("modprobe: "))


def rows(text: str) -> list[str]:
    return sorted(text.splitlines())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    """Set-up, command, table afterwards."""
    shell = Shell()
    for line in case["setup"]:
        assert shell.run(line) == 0, line
    assert shell.err.getvalue() == ""
    shell.out.truncate(0)
    shell.out.seek(0)
    shell.stdin = case["stdin"] or ""

    status = shell.run(case["cmd"])

    unordered = "--nosort" in case["cmd"] or "/proc/" in case["cmd"]
    seen, recorded = shell.out.getvalue(), case["stdout"]
    assert (rows(seen) if unordered else seen) == (rows(recorded) if unordered else recorded)
    assert shell.err.getvalue() == without_modprobe(case["stderr"])
    assert status == case["rc"]
    saved = Shell(shell.table)
    assert saved.run("ipvsadm -S -n") == 0
    assert saved.out.getvalue() == case["save_after"]


def test_nosort_keeps_the_kernels_order_of_destinations() -> None:
    """Newest first, whereas the sorted listing goes by address."""
    shell = Shell()
    added = "; ".join(f"ipvsadm -a -t 10.0.0.1:80 -r 10.0.0.{host}" for host in (3, 2, 9))
    shell.run(f"ipvsadm -A -t 10.0.0.1:80; {added}; ipvsadm -Ln --nosort")
    servers = [line.split()[1] for line in shell.out.getvalue().splitlines() if " Route" in line]
    assert servers == ["10.0.0.9:80", "10.0.0.2:80", "10.0.0.3:80"]
