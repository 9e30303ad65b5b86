# SPDX-License-Identifier: GPL-2.0-or-later
"""`from pylvs import …`: the names, what they cost, and the script that the README shows."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from textwrap import dedent

import pytest

import pylvs
from pylvs import Director, Protocol, ServiceKey, VirtualService
from pylvs.table.load import OBJECT
from tests.ipvsadm.memory import MemoryTable

README = Path(__file__).parents[2] / "README.md"


def test_every_name_is_there() -> None:
    """And no other."""
    for name in pylvs.__all__:
        assert name == "ConfiguredService" or getattr(pylvs, name).__name__ == name
    assert pylvs.ConfiguredService is pylvs.model.ConfiguredService
    with pytest.raises(AttributeError, match="no attribute 'Balancer'"):
        _ = pylvs.Balancer  # type: ignore[attr-defined]


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    """The commands begin with `import pylvs` too."""
    code = "import sys, pylvs; print([name for name in sys.modules if name.startswith('pylvs.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_default_netmask_is_the_whole_address() -> None:
    """In both families, of addresses and marks."""
    fd00, mark = ServiceKey(Protocol.TCP, ip_address("fd00::1"), 80, family=6), ServiceKey(fwmark=7, family=6)
    table = MemoryTable()
    for key in (fd00, mark):
        table.add_service(VirtualService(key))
        assert table.service(key).service.netmask == 128
    assert VirtualService(ServiceKey(fwmark=7)).netmask == 0xFFFFFFFF


def script() -> str:
    """The README's lines of Python."""
    text = README.read_text()
    start = text.index("    from ipaddress import")
    return dedent(text[start : text.index("\n\n", start)])


def example() -> str:
    """The lines of Python in the package's own documentation."""
    text = pylvs.__doc__ or ""
    return dedent(text[text.index("    from pylvs import") : text.index("\n\nNames are imported")])


needs_bpf = pytest.mark.skipif(os.geteuid() != 0 or not OBJECT.exists(), reason="loads BPF: needs root, and make bpf")


@needs_bpf
def test_the_example_of_the_package() -> None:
    """As a program of its own: a service, its destination, where a packet would go, what is wrong, and draining."""
    from tests.packets.plane import Network

    with closing(Network()) as network, network.inside():
        done = subprocess.run([sys.executable, "-c", example()], capture_output=True, text=True, check=True, timeout=60)
        director = Director()
        (state,) = director.services()
        director.instance.remove()
    assert done.stdout.splitlines() == [
        "TCP 192.0.2.1:80 ['192.0.2.11:80']",
        "a client would go to 192.0.2.11:80",
        "wrong: ['vip_not_here', 'wrong_rip']",
        "connections that remain: 0",
    ]
    assert [member.destination.weight for member in state.destinations] == [0]


@needs_bpf
def test_the_script_in_the_readme() -> None:
    """Five lines; as a program of its own, and the table afterwards is what it says."""
    from tests.packets.plane import Network

    assert len(script().splitlines()) == 5
    with closing(Network()) as network, network.inside():
        subprocess.run([sys.executable, "-c", script()], check=True, timeout=60)
        director = Director()
        (state,) = director.services()
        director.instance.remove()
    assert (str(state.service.key.address), state.service.scheduler) == ("192.168.247.100", "rr")
    assert [str(each.destination.address) for each in state.destinations] == ["192.168.247.135"]
