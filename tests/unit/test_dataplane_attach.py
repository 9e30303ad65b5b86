# SPDX-License-Identifier: GPL-2.0-or-later
"""The data plane on interfaces: which, by which hooks, and what `pylvs attach`, `detach` and `status` say."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylvs.commands.attach import UsageError, run
from pylvs.dataplane.attach import Attacher, Mode, mode_of, prepare_loopback, refusal, wants_xdp
from pylvs.dataplane.instance import Instance
from pylvs.errors import DataPlaneError
from pylvs.host import netns, sysctl
from pylvs.host.interfaces import Interface, driver, interfaces
from pylvs.host.iproute import batch as ip

HERE = Path(__file__).parent
CLANG = ["clang", "-O2", "-g", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu", "-Wall", "-Werror", "-c"]
FRAME = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x88\xb5" + bytes(46)  # an experimental EtherType: nobody answers
DEADLINE = 30.0  # seconds, for what takes milliseconds

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="BPF and network namespaces need root")


def _interface(**fields: object) -> Interface:
    values: dict[str, object] = {"index": 2, "name": "eth0", "ethernet": True, "up": True, "loopback": False}
    return Interface(**{**values, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, ""),
        ({"loopback": True, "ethernet": False}, ""),
        ({"ethernet": False}, "not Ethernet"),
        ({"up": False}, "down"),
        ({"port_of": "bridge"}, "a port of a bridge: its packets are met there"),
        ({"port_of": "vrf"}, ""),
    ],
)
def test_where_the_data_plane_belongs(fields: dict[str, object], reason: str) -> None:
    """On every Ethernet interface, and lo, that is up and hands its packets to the host's stack itself."""
    assert refusal(_interface(**fields)) == reason


@pytest.mark.parametrize(
    ("mode", "driver_name", "xdp"),
    [
        (Mode.AUTO, "mlx5_core", True),
        (Mode.AUTO, "veth", False),
        (Mode.AUTO, "virtio_net", False),
        (Mode.AUTO, "never_heard_of", False),
        (Mode.TC, "mlx5_core", False),
        (Mode.XDP, "veth", True),
    ],
)
def test_when_xdp_is_used(mode: Mode, driver_name: str, xdp: bool) -> None:
    """`auto` takes it with drivers known to be safe only, and every choice has a reason."""
    chosen, why = wants_xdp(mode, driver_name)
    assert chosen is xdp
    assert why


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("objects") / "tiny.bpf.o"
    subprocess.run([*CLANG, str(HERE / "tiny.bpf.c"), "-o", str(target)], check=True)
    return target


@pytest.fixture
def network() -> Iterator[None]:
    """A fresh network namespace with the wire client0 - eth0, both ends up."""
    with netns.fresh():
        # neighbour discovery would send frames that no test has asked for
        sysctl.write("net.ipv6.conf.default.disable_ipv6", "1")
        ip("link add client0 type veth peer name eth0", "link set client0 up", "link set eth0 up")
        yield


@pytest.fixture
def instance(network: None, tiny: Path) -> Iterator[Instance]:
    made = Instance.here()
    with made.creating(tiny):
        pass
    yield made
    made.remove()


def named(name: str) -> Interface:
    return next(interface for interface in interfaces() if interface.name == name)


def seen(instance: Instance) -> int:
    """How many packets the programs of the small object have counted."""
    values = instance.map("seen").lookup(bytes(4))
    assert values is not None
    return sum(int.from_bytes(values[at : at + 4], "little") for at in range(0, len(values), 8))


def send_frame() -> None:
    """One frame out of client0, so into eth0."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("client0", 0))
        wire.send(FRAME)


def counts_a_frame(instance: Instance) -> bool:
    """Whether a frame into eth0 comes by our programs."""
    before, deadline = seen(instance), time.monotonic() + DEADLINE
    send_frame()
    while seen(instance) == before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def received_without_us(instance: Instance) -> bool:
    """Whether a frame into eth0 arrives at a packet socket, and none of our programs counts it."""
    before = seen(instance)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as arrivals:
        arrivals.bind(("eth0", 0x88B5))
        arrivals.settimeout(DEADLINE)
        send_frame()
        assert arrivals.recv(2048)[:14] == FRAME[:14]
    return seen(instance) == before


@needs_root
def test_interfaces_are_listed_as_they_are(network: None) -> None:
    ip("link add bridge0 type bridge")
    ip("link set client0 master bridge0")
    ip("link set eth0 down")
    found = {link.name: link for link in interfaces()}
    assert found["lo"].loopback
    assert found["client0"].port_of == "bridge"
    assert found["client0"].master == found["bridge0"].index == socket.if_nametoindex("bridge0")
    assert (found["eth0"].kind, found["eth0"].ethernet, found["eth0"].up) == ("veth", True, False)
    assert (driver("eth0"), driver("lo"), driver("absent")) == ("veth", "", "")


@needs_root
@pytest.mark.parametrize(
    ("mode", "tcx", "hooks"),
    [
        ("auto", True, ("tc",)),
        ("xdp", True, ("xdp", "tc")),
        ("auto", False, ("tc",)),
        ("xdp", False, ("xdp", "tc")),
    ],
)
def test_a_packet_meets_the_data_plane(instance: Instance, mode: str, tcx: bool, hooks: tuple[str, ...]) -> None:
    """From attaching until detaching, by links or by clsact; attaching again changes nothing."""
    instance.remember("mode", mode)
    attacher = Attacher(instance, tcx)
    done = {row.interface: row for row in attacher.attach_all()}
    assert sorted(done) == ["client0", "eth0"]
    assert (done["eth0"].hooks, done["eth0"].driver) == (hooks, "veth")
    assert attacher.hooks() == {named(name).index: hooks for name in ("client0", "eth0")}
    attacher.attach_all()
    assert counts_a_frame(instance)
    attacher.detach([named("eth0")])
    assert attacher.hooks() == {named("client0").index: hooks}
    assert received_without_us(instance)
    assert [row.interface for row in attacher.attach_all()] == ["client0"]
    attacher.remove()
    assert not instance.loaded


@needs_root
def test_a_frame_is_counted_once_by_each_hook(instance: Instance) -> None:
    instance.remember("mode", "xdp")
    Attacher(instance).attach([named("eth0")])
    before = seen(instance)
    send_frame()
    deadline = time.monotonic() + DEADLINE
    while seen(instance) < before + 2:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert seen(instance) == before + 2


@needs_root
@pytest.mark.parametrize(("mode", "expected"), [("tc", 0), ("xdp", 1)])
def test_veth_sends_back_by_redirect(instance: Instance, mode: str, expected: int) -> None:
    """After XDP_TX it does not wake a peer that has GRO and no XDP program: the frames would stay where they are."""
    instance.remember("mode", mode)
    Attacher(instance).attach([named("eth0")])
    assert instance.map("settings").lookup(bytes(4)) == expected.to_bytes(4, "little")


@needs_root
def test_a_change_of_mode_takes_xdp_away(instance: Instance) -> None:
    attacher = Attacher(instance)
    instance.remember("mode", "xdp")
    attacher.attach([named("eth0")])
    instance.remember("mode", "tc")
    attacher.attach([named("eth0")])
    assert attacher.hooks() == {named("eth0").index: ("tc",)}


@needs_root
def test_an_interface_that_refuses_xdp_is_named(instance: Instance) -> None:
    """A veth of a large MTU takes no XDP; the message says what to type, and TC is on already."""
    ip("link set client0 mtu 9000")
    instance.remember("mode", "xdp")
    attacher = Attacher(instance)
    with pytest.raises(DataPlaneError, match=r"eth0 \(veth\) .*; run: pylvs attach --mode tc eth0"):
        attacher.attach([named("eth0")])
    assert attacher.hooks() == {named("eth0").index: ("tc",)}


@needs_root
def test_an_interface_that_comes_back_is_attached_again(instance: Instance) -> None:
    """The pin of the old interface, whose number the new one has, is replaced."""
    attacher = Attacher(instance)
    attacher.attach_all()
    index = named("eth0").index
    ip("link del client0")
    assert attacher.hooks() == {}
    ip(f"link add eth0 index {index} type veth peer name client0")
    ip("link set client0 up")
    ip("link set eth0 up")
    attacher.attach_all()
    assert attacher.hooks()[index] == ("tc",)
    assert counts_a_frame(instance)


@needs_root
def test_loopback_alone_forwards(network: None) -> None:
    """The route lookup of the data plane needs it, and the host must forward nothing by it."""
    prepare_loopback()
    prepare_loopback()
    for family in ("ipv4", "ipv6"):
        found = {name: _forwarding(family, name) for name in ("lo", "eth0", "all")}
        assert found == {"lo": "1", "eth0": "0", "all": "0"}


def _forwarding(family: str, interface: str) -> str:
    return Path(f"/proc/sys/net/{family}/conf/{interface}/forwarding").read_text().strip()


@needs_root
def test_the_commands(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    """`attach` remembers its mode, `detach` keeps an interface out, `status` says where and why."""
    assert run(["attach", "--mode", "tc"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "eth0     tc  veth  mode tc",
        "client0  tc  veth  mode tc",
    ]
    assert run(["detach", "client0"]) == 0
    assert run(["status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mode tc",
        "lo       -   -     down",
        "eth0     tc  veth  mode tc",
        "client0  -   veth  detached by command",
    ]
    ip("link set lo up")
    assert run(["attach", "--mode", "xdp", "lo"]) == 0
    assert capsys.readouterr().out == "lo  tc  -  clients on this host\n"
    ip("link set client0 down")
    with pytest.raises(UsageError, match="client0 cannot carry the data plane: down"):
        run(["attach", "client0"])
    with pytest.raises(UsageError, match="unknown interface eth1; there are: lo, eth0, client0"):
        run(["attach", "eth1"])
    assert run(["detach"]) == 0
    assert Attacher(instance).hooks() == {}
    assert run(["detach", "--unload"]) == 0
    assert not Instance.here().loaded


@needs_root
def test_a_mode_can_be_chosen_before_anything_is_loaded(network: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attach", "--mode", "xdp"]) == 0
    assert capsys.readouterr().out.startswith("mode xdp; no data plane is loaded")
    assert run(["status"]) == 0
    assert capsys.readouterr().out.startswith("no data plane is loaded")
    assert mode_of(Instance.here()) is Mode.XDP
    Instance.here().remove()


@needs_root
def test_attaching_imports_nothing_slow(instance: Instance) -> None:
    """Only old kernels, which need clsact, wait for pyroute2."""
    program = (
        "import sys\nfrom pylvs.commands.attach import run\nrun(['attach'])\nrun(['status'])\n"
        "assert not {'pyroute2', 'rich', 'asyncio', 'pylvs.dataplane.libbpf'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=environment)
    assert len(Attacher(instance).hooks()) == 2
    assert netns.cookie() == instance.cookie
