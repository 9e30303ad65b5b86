# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab of the tests' own, apart from one that a person has up, and gone afterwards whatever happens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylvs.errors import PylvsError
from pylvs.lab import build, preflight


@pytest.fixture(scope="session")
def able() -> None:
    """Skip, in words, where a machine cannot have the lab."""
    try:
        preflight.check()
    except PylvsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def data_plane(able: None) -> None:
    """Skip where the BPF object was not built."""
    import pylvs

    if not (Path(pylvs.__file__).parent / "bpf/director.bpf.o").exists():
        pytest.skip("no director.bpf.o; type: make bpf")


@pytest.fixture
def name(able: None) -> Iterator[str]:
    """A lab's name that no other process uses."""
    own = f"t{os.getpid()}"
    yield own
    build.down(own)
