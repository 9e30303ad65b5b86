# SPDX-License-Identifier: GPL-2.0-or-later
"""Command lines, right and wrong, as Debian's ipvsadm 1.31 took them.

`parsed.json` was made by running it with its netlink socket caught: the changes that it asked the kernel for,
standard error and status. `-R` cases have standard input.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from pylvs.ipvsadm.run import Session
from tests.ipvsadm.recorder import Recorder

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "parsed.json").read_text())


def play(case: dict[str, Any]) -> tuple[int, str, list[Any]]:
    """(status, standard error, changes)"""
    table, out, err = Recorder(), io.StringIO(), io.StringIO()
    stdin = io.BytesIO(case.get("stdin", "").encode("utf-8", "surrogateescape"))
    status = Session("ipvsadm", lambda: table, stdin, out, err).run(case["words"])
    return status, err.getvalue(), table.changes


@pytest.mark.parametrize("start", range(0, len(CASES), 100))
def test_cases(start: int) -> None:
    """A hundred at a time."""
    for case in CASES[start : start + 100]:
        assert play(case) == (case["rc"], case["stderr"], case["changes"]), case["words"]
