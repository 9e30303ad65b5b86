# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab of the tests' own, apart from one that a person has up, and gone afterwards whatever happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pylvs.errors import PylvsError
from pylvs.lab import build, preflight
from pylvs.lab.topology import METHODS, Options, Topology
from pylvs.model import TunnelType

MODES = ("tc", "xdp")
# A lab of each forwarding method over each hook, and of each kind of tunnel.
METHOD_LABS = [Options(method=method, mode=mode) for method in METHODS.values() for mode in MODES]
TUN_LABS = [Options(method=METHODS["tun"], tunnel=kind, mode=mode) for kind in TunnelType for mode in MODES]
EVERY_LAB = [*METHOD_LABS, *(options for options in TUN_LABS if options not in METHOD_LABS)]


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
        pytest.skip("no director.bpf.o; run: make bpf")


def labs(*made: Options) -> pytest.MarkDecorator:
    """Run the test on a shared lab of each of these options."""
    return pytest.mark.parametrize("shared_lab", [pytest.param(one, id=_label(one)) for one in made], indirect=True)


def _label(options: Options) -> str:
    method = options.tunnel.value if options.method is METHODS["tun"] else build.words(options)["method"]
    return f"{method}-{options.mode}"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a lab run one after another, on one worker for each forwarding method."""
    for item in items:
        if isinstance(item, pytest.Function) and "shared_lab" in item.fixturenames:
            method = build.words(_wanted(item))["method"]
            item.add_marker(pytest.mark.xdist_group(f"lab {method}"), append=False)
    items.sort(key=lambda item: _label(_wanted(item)) if "shared_lab" in getattr(item, "fixturenames", ()) else "")


def _wanted(item: pytest.Item) -> Options:
    assert isinstance(item, pytest.Function)
    options = item.callspec.params["shared_lab"]
    assert isinstance(options, Options)
    return options


@pytest.fixture(scope="session")
def _lab_of(data_plane: None) -> Iterator[Callable[[Options], Topology]]:
    """Gives the lab of these options, as long as nobody asks for one of others."""
    own = f"t{os.getpid()}s"
    yield lambda options: build.up(replace(options, name=own), lambda done: None)[0]
    build.down(own)


@pytest.fixture
def shared_lab(_lab_of: Callable[[Options], Topology], request: pytest.FixtureRequest) -> Topology:
    """A lab that is up, for tests that leave it as it was; no machine knows a path MTU that an earlier one learned."""
    lab = _lab_of(request.param)
    for machine in lab.machines:
        build.run(lab, machine.name, ["ip", "route", "flush", "cache"])
    return lab


@pytest.fixture
def name(able: None) -> Iterator[str]:
    """A lab's name that no other process uses."""
    own = f"t{os.getpid()}"
    yield own
    build.down(own)
