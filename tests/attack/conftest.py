# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of every attack, as tests: each finds nothing."""

from __future__ import annotations

import os

import pytest

from pylvs.realserver import decapsulator
from pylvs.table.load import OBJECT

pytest.register_assert_rewrite("tests.packets.plane", "tests.packets.rows")


@pytest.fixture(autouse=True)
def able() -> None:
    """Skip, in words, where no data plane can be attacked."""
    if os.geteuid() != 0:
        pytest.skip("BPF and network namespaces need root")
    for path in (OBJECT, decapsulator.OBJECT):
        if not path.exists():
            pytest.skip(f"no {path.name}; run: make bpf")
