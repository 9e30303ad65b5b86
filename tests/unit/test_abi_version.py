# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in the kernel and what is in Python speak of the same structs, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from pylvs.dataplane.instance import Instance
from pylvs.errors import DataPlaneError
from pylvs.table.director import Director
from pylvs.table.memory import ABI_VERSION

ABI = Path(__file__).parents[2] / "src" / "pylvs" / "bpf" / "abi.h"
DIGEST = "547afba3a90cb471"  # of abi.h as it is in this version, without comments and spaces


def test_a_changed_abi_is_another_version() -> None:
    """Whoever changes abi.h counts ABI_VERSION up, there and in table/memory.py, and writes the new digest here."""
    text = re.sub(r"/\*.*?\*/|\s", "", ABI.read_text(), flags=re.DOTALL)
    assert f"ABI_VERSION={ABI_VERSION}}}" in text
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == DIGEST


def test_another_versions_data_plane_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to type; nothing is read or written by structs that may have moved."""
    if os.geteuid() != 0:
        pytest.skip("a director needs root")
    other = SimpleNamespace(layouts=SimpleNamespace(constants={"ABI_VERSION": ABI_VERSION - 1}))
    monkeypatch.setattr(Instance, "current", other)
    with pytest.raises(DataPlaneError, match=r"another pylvs version's .*run: pylvs detach --unload"):
        _ = Director().settings
