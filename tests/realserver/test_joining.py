# SPDX-License-Identifier: GPL-2.0-or-later
"""Joining and leaving on a machine of the test's own: what changes, in which order, and that all of it is undone."""

from __future__ import annotations

import os
import signal
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from pylvs.commands.main import main
from pylvs.errors import PylvsError
from pylvs.host import command, neighbours, netns, sysctl
from pylvs.host import systemd as units
from pylvs.host.machine import Machine
from pylvs.realserver import changes, joining, journal, plan
from pylvs.realserver.changes import LoAddress
from pylvs.realserver.decapsulator import Decapsulator
from pylvs.realserver.preparation import Request
from tests.realserver.conftest import DIP, RIP, RIP6, VIP, VIP6, ip

ROUTER = "192.168.247.254"
KNOBS = [
    f"net.ipv4.conf.{where}.{knob}" for where in ("all", "eth0") for knob in ("arp_ignore", "arp_announce", "rp_filter")
]


def quiet(typed: str, why: str) -> None:
    """Tells nobody."""


def state() -> dict[str, Any]:
    """Everything that a join may change."""
    present = Decapsulator.here()
    routes = command.run(["ip", "route", "show"]) + command.run(["ip", "-6", "route", "show", "default"])
    return {
        "knobs": {knob: sysctl.read(knob) for knob in KNOBS},
        "addresses": [str(h) for h in Machine().addresses if not h.address.is_link_local],  # these come when they like
        "routes": routes.replace("linkdown ", ""),  # the wire's carrier is noticed a moment after it came
        "decapsulator": (present.loaded, present.attached()),
    }


def request(vip: str = VIP, **more: Any) -> Request:
    return Request(ip_address(vip), **more)


METHODS: dict[str, Request] = {
    "dr": request(),
    "tun": request(method="tun"),
    "nat": request(method="nat", gateway=ip_address(DIP), force=True),
    "dr over IPv6": request(VIP6),
    "tun over IPv6": request(VIP6, method="tun", interface="eth0"),
}


@pytest.fixture
def odd(neighbour: int) -> int:
    """A machine whose values are not the usual ones, with a default route."""
    sysctl.write("net.ipv4.conf.all.arp_announce", "1")
    sysctl.write("net.ipv4.conf.eth0.rp_filter", "1")
    ip(f"route add default via {ROUTER} dev eth0 proto static metric 50", f"route add 10.9.0.0/16 via {ROUTER}")
    return neighbour


@pytest.mark.parametrize("name", METHODS)
def test_leave_restores_what_was_there(odd: int, name: str) -> None:
    """Odd values, too: after leave all is as before, and nothing of ours is left."""
    before = state()
    joining.join(METHODS[name], quiet)
    assert state() != before
    assert joining.leave(METHODS[name].vip, quiet)
    assert state() == before
    assert not journal.where().exists()


@pytest.mark.parametrize("name", METHODS)
def test_joining_twice_changes_nothing_more(odd: int, name: str) -> None:
    """The second join finds everything there."""
    before = state()
    joining.join(METHODS[name], quiet)
    once, said = state(), []
    joining.join(METHODS[name], lambda typed, why: said.append(typed))
    assert state() == once
    assert [line for line in said if not line.startswith(("arping", "ndisc6", "# nothing to change"))] == []
    joining.leave(METHODS[name].vip, quiet)
    assert state() == before


def test_sysctls_come_before_the_address(neighbour: int) -> None:
    """The order on paper."""
    said: list[str] = []
    joining.join(request(), lambda typed, why: said.append(typed))
    last = max(number for number, line in enumerate(said) if line.startswith("sysctl"))
    assert last < said.index(f"ip addr add {VIP}/32 dev lo")
    assert {sysctl.read(k) for k in KNOBS if "ignore" in k} == {"1"}
    assert {sysctl.read(k) for k in KNOBS if "announce" in k} == {"2"}


@pytest.mark.parametrize("vip", [VIP, VIP6])
def test_never_a_moment_in_which_it_answers(neighbour: int, vip: str) -> None:
    """The order on the wire: a neighbour asks all the while that it joins and leaves, and hears nothing."""
    heard: list[str] = []
    asked, done = [0], threading.Event()

    def watch() -> None:
        with netns.inside(neighbour), neighbours.listen("peer0") as raw:
            while not done.is_set():
                raw.send(
                    neighbours.question(
                        b"\2\0\0\0\0\1", ip_address(vip), ip_address(DIP if vip == VIP else "fd00:247::134")
                    )
                )
                asked[0] += 1
                heard.extend(a.mac for a in neighbours.answers(raw, ip_address(vip), 0.002) if not a.sent)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(5):
            joining.join(request(vip, force=True), quiet)
            joining.leave(ip_address(vip), quiet)
    finally:
        done.set()
        watcher.join()
    assert asked[0] > 20
    assert heard == []


def test_without_the_sysctls_it_would_have_answered(neighbour: int) -> None:
    """So the test above can fail."""
    LoAddress(ip_address(VIP), "").do()
    with netns.inside(neighbour):
        assert neighbours.ask("peer0", ip_address(VIP), ip_address(DIP), enough=1) == ["02:00:00:00:00:02"]


def test_two_vips_share_the_sysctls(neighbour: int) -> None:
    """The first to go takes nothing away that the other needs."""
    before = state()
    for vip in (VIP, "192.168.247.101"):
        joining.join(request(vip), quiet)
    joining.leave(ip_address(VIP), quiet)
    assert sysctl.read("net.ipv4.conf.all.arp_ignore") == "1"
    joining.leave(ip_address("192.168.247.101"), quiet)
    assert state() == before


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(6))
def test_leave_after_a_crash_in_between(neighbour: int, step: int, when: str) -> None:
    """Killed by SIGKILL just before or just after any of its changes: leave brings back what was there."""
    sysctl.write("net.ipv4.conf.all.arp_announce", "1")
    before = state()
    child = os.fork()
    if child == 0:
        _join_and_die(step, when)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert joining.leave(ip_address(VIP), quiet)
    assert state() == before
    assert not journal.where().exists()


def _join_and_die(step: int, when: str) -> None:
    """In a child: join by TUN, which has six changes, and be killed at one of them."""
    count = [0]

    def wrapped(kind: Any) -> None:
        do = kind.do

        def dying(self: Any) -> None:
            mine = count[0] == step
            count[0] += 1
            if mine and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            do(self)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)

        kind.do = dying

    for kind in (changes.Sysctl, changes.LoAddress, changes.Decapsulator):
        wrapped(kind)
    joining.join(request(method="tun"), quiet)
    os._exit(0)


def test_what_another_boot_left_is_not_believed(neighbour: int) -> None:
    """After a reboot sysctls and addresses are the machine's own again: nothing is 'restored'."""
    joining.join(request(), quiet)
    said = journal.where().read_text().replace(journal.boot(), "another")
    journal.where().write_text(said)
    assert plan.joined() == {}
    assert not joining.leave(ip_address(VIP), quiet)


def test_what_somebody_else_set_meanwhile_stays(neighbour: int) -> None:
    """A value that is neither ours nor the old one is somebody's."""
    joining.join(request(), quiet)
    sysctl.write("net.ipv4.conf.all.arp_announce", "1")
    said: list[str] = []
    joining.leave(ip_address(VIP), lambda typed, why: said.append(typed))
    assert sysctl.read("net.ipv4.conf.all.arp_announce") == "1"
    assert "# net.ipv4.conf.all.arp_announce is 1 now, set by somebody else: it stays" in said


def test_an_address_that_was_there_before_stays(neighbour: int) -> None:
    """What join did not add, leave does not take."""
    ip(f"addr add {VIP}/32 dev lo")
    joining.join(request(), quiet)
    joining.leave(ip_address(VIP), quiet)
    assert Machine().holders(ip_address(VIP))


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (request(length=24), "one address wide"),
        (request(RIP), "own address on eth0"),
        (request("192.168.247.255"), "broadcast address"),
        (request(ROUTER), "its gateway, which this machine could not reach any more"),
        (request("198.51.100.9"), "the machine you are logged in from, which"),
        (request("224.0.0.1"), "not unicast"),
        (request("127.0.0.1"), "not unicast"),
        (request(method="nat"), "say which: --gateway DIP"),
        (request(method="nat", gateway=ip_address("10.8.0.1")), "on no segment"),
        (request(method="nat", gateway=ip_address(RIP)), "own address"),
        (request(method="nat", gateway=ip_address(DIP)), "--force puts the director there"),
        (request(interface="eth7"), "there are: eth0"),
        (request(method="tun", decapsulator="kernel"), "no such tunnel device"),
    ],
)
def test_refuses_what_would_do_harm(odd: int, wanted: Request, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in one line that says why, with nothing changed."""
    monkeypatch.setenv("SSH_CONNECTION", f"198.51.100.9 50000 {RIP} 22")
    before = state()
    with pytest.raises(PylvsError, match=why) as refused:
        joining.join(wanted, quiet)
    assert "\n" not in str(refused.value)
    assert state() == before
    assert not journal.where().exists()


def test_refuses_a_vip_on_lo_with_its_network(neighbour: int) -> None:
    """A VIP with a network mask on lo, made by somebody else before."""
    ip("addr add 192.168.249.100/24 dev lo")
    with pytest.raises(PylvsError, match=r"run: ip addr del 192.168.249.100/24 dev lo"):
        joining.join(request("192.168.249.100"), quiet)


def test_the_director_may_answer_for_the_vip(neighbour: int, patient: None) -> None:
    """One who answers is the director; when its address is given, it must be that one."""
    with netns.inside(neighbour):
        ip(f"addr add {VIP}/24 dev peer0")
    said: list[str] = []
    joining.join(request(director=ip_address(DIP)), lambda typed, why: said.append(why))
    assert f"{VIP} is at 02:00:00:00:00:01, the director" in said


def test_refuses_a_vip_that_is_in_use(neighbour: int, patient: None) -> None:
    """By a machine that is not the director; --force joins all the same."""
    with netns.inside(neighbour):
        ip(f"addr del {DIP}/24 dev peer0", f"addr add {VIP}/24 dev peer0")
    with pytest.raises(PylvsError, match=r"in use by 02:00:00:00:00:01, which is not the director"):
        joining.join(request(director=ip_address(DIP)), quiet)
    joining.join(request(director=ip_address(DIP), force=True), quiet)


def test_refuses_another_method_for_the_same_vip(neighbour: int) -> None:
    """Leave comes first."""
    joining.join(request(), quiet)
    with pytest.raises(PylvsError, match=f"first run: pylvs realserver leave {VIP}"):
        joining.join(request(method="tun"), quiet)


def test_dry_run_changes_nothing(neighbour: int, capsys: pytest.CaptureFixture[str]) -> None:
    """It shows each command, and the unit."""
    before = state()
    assert main(["realserver", "join", VIP, "--dry-run", "--persist"]) == 0
    said = capsys.readouterr().out
    assert f"ip addr add {VIP}/32 dev lo" in said
    assert "sysctl -w net.ipv4.conf.all.arp_ignore=1" in said
    assert f"realserver join {VIP} --method dr --interface eth0" in said
    assert state() == before
    assert not journal.where().exists()


def test_persist(neighbour: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit is written and wanted at boot; leave takes it away, unless systemd itself calls it."""
    monkeypatch.setattr(units, "UNITS", tmp_path)
    unit = tmp_path / f"pylvs-realserver-{VIP}.service"
    wanted = tmp_path / "multi-user.target.wants" / unit.name
    assert main(["realserver", "join", VIP, "--persist"]) == 0
    assert f"ExecStop={units.program()} realserver leave {VIP} --keep-persist" in unit.read_text()
    assert wanted.readlink() == unit
    assert main(["realserver", "leave", VIP, "--keep-persist"]) == 0
    assert unit.exists()
    assert main(["realserver", "leave", VIP]) == 0  # joined no more, but the unit goes
    assert not unit.exists()
    assert not wanted.is_symlink()
    assert main(["realserver", "leave", VIP]) == 1


def test_ipv6_is_hidden_by_lo_alone(neighbour: int) -> None:
    """No sysctl: a card answers solicitations for its own addresses only, and it does answer for those."""
    joining.join(request(VIP6), quiet)
    with netns.inside(neighbour):
        ours = ip_address("fd00:247::134")
        assert neighbours.ask("peer0", ip_address(VIP6), ours) == []
        assert neighbours.ask("peer0", ip_address(RIP6), ours, enough=1) == ["02:00:00:00:00:02"]
