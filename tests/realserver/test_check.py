# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs realserver check`: silent about a good real server, and each thing that can be wrong is seen and mended."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address

import pytest

from pylvs.commands.main import main
from pylvs.realserver import joining
from pylvs.realserver.decapsulator import Decapsulator
from pylvs.realserver.plan import Finding, Subject, check
from tests.realserver.conftest import DIP, VIP, VIP6, ip
from tests.realserver.test_joining import METHODS, quiet


def findings(name: str) -> list[Finding]:
    wanted = METHODS[name]
    return check(Subject(wanted.vip, wanted.method, "eth0", wanted.gateway))


@pytest.mark.parametrize("name", METHODS)
def test_what_was_joined_is_right(neighbour: int, name: str) -> None:
    """Every finding is positively good."""
    joining.join(METHODS[name], quiet)
    assert [f for f in findings(name) if f.ok is not True] == []


BROKEN = [
    ("dr", "sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.eth0.arp_ignore=0",
     "arp_ignore hides the VIP on eth0"),
    ("dr", "sysctl -w net.ipv4.conf.eth0.arp_ignore=3", "arp_ignore hides the VIP on eth0"),
    ("dr", "sysctl -w net.ipv4.conf.all.arp_announce=0 net.ipv4.conf.eth0.arp_announce=0",
     "arp_announce keeps the VIP out of our requests on eth0"),
    ("dr", "sysctl -w net.ipv4.conf.eth0.rp_filter=1", "rp_filter lets requests in by eth0"),
    ("dr", f"ip addr del {VIP}/32 dev lo", "the VIP is on lo"),
    ("dr", f"ip addr add {VIP}/24 dev eth0", "the VIP is on lo as /32, and only there"),
    ("dr over IPv6", f"ip addr del {VIP6}/128 dev lo", "the VIP is on lo"),
    ("nat", "ip route replace default via 192.168.247.254", "replies go back through the director"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "breaks", "what"), BROKEN)
def test_what_is_broken_is_seen_and_mended(neighbour: int, name: str, breaks: str, what: str) -> None:
    """The finding's own command mends it."""
    joining.join(METHODS[name], quiet)
    subprocess.run(breaks.split(), check=True, stdout=subprocess.DEVNULL)
    wrong = [f for f in findings(name) if f.ok is False]
    assert what in [f.what for f in wrong]
    assert all(f.mend for f in wrong)
    mend = next(f.mend for f in wrong if f.what == what)
    subprocess.run(mend.split(), check=True, stdout=subprocess.DEVNULL)
    assert what not in [f.what for f in findings(name) if f.ok is False]


def test_silence_is_asked_for_and_not_read_from_a_sysctl(neighbour: int) -> None:
    """With the VIP on the card itself arp_ignore is right, and the machine answers all the same."""
    joining.join(METHODS["dr"], quiet)
    ip(f"addr add {VIP}/24 dev eth0")
    said = [f for f in findings("dr") if f.what == "this machine is silent about the VIP on eth0"]
    assert [(f.ok, f.saw) for f in said] == [(False, f"asked by a probe on eth0, it answered for {VIP}")]


def test_a_decapsulator_that_is_gone_is_missed(neighbour: int) -> None:
    """Joining again, as the finding says, brings it back."""
    joining.join(METHODS["tun"], quiet)
    Decapsulator.here().instance.remove()
    wrong = [f for f in findings("tun") if f.ok is False]
    assert [f.saw for f in wrong] == ["nothing unwraps them on eth0"]
    assert main(wrong[0].mend.split()[1:]) == 0
    assert [f for f in findings("tun") if f.ok is not True] == []


def test_a_director_that_is_not_there(neighbour: int) -> None:
    """NAT: the gateway must answer."""
    joining.join(METHODS["nat"], quiet)
    wrong = check(Subject(ip_address(VIP), "nat", "eth0", ip_address("192.168.247.99")))
    assert [f.what for f in wrong if not f.ok] == ["replies go back through the director", "the director is there"]


def test_exit_status(neighbour: int, capsys: pytest.CaptureFixture[str]) -> None:
    """0 right, 1 wrong, and 1 with one line when nothing is joined."""
    assert main(["realserver", "check"]) == 1
    assert capsys.readouterr().err == "pylvs: nothing is joined here; run: pylvs realserver join VIP\n"
    assert main(["realserver", "join", VIP, "--director", DIP]) == 0
    assert main(["realserver", "check"]) == 0
    ip(f"addr del {VIP}/32 dev lo")
    assert main(["realserver", "check", VIP]) == 1
    assert f"run: ip addr add {VIP}/32 dev lo" in capsys.readouterr().out
