# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole experiment, end to end, on the real data plane over both hooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pylvs.dataplane.instance import Instance
from pylvs.host import netns
from pylvs.host.capture import Capture
from pylvs.lab import client
from pylvs.lab.topology import METHODS, Topology
from pylvs.lab.transfer import transfer
from pylvs.realserver import decapsulator, journal

from .conftest import METHOD_LABS, labs
from .helpers import document, failures, lab, leftovers


@pytest.mark.parametrize("mode", ["tc", "xdp"])
def test_every_proof_of_the_document_holds(name: str, data_plane: None, mode: str) -> None:
    """DR as in the document: every claim holds, and no request notices node04 come and go."""
    said = document("run", name, "--no-compare", "--mode", mode)
    assert said["ok"], failures(said)
    assert len(said["proofs"]) == 7
    turns = said["proofs"][1]["facts"]["counts"]
    assert turns == {"192.168.247.135": 10, "192.168.247.136": 10}
    assert said["proofs"][-1]["facts"]["failed"] == 0
    again = document("run", name, "--no-compare", "--mode", mode)
    assert again["ok"]
    assert again["steps"][0]["command"].startswith("pylvsadm -a")  # only the change under traffic has steps


@pytest.mark.parametrize("mode", ["tc", "xdp"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("method", ["nat", "fullnat"])
def test_replies_pass_the_director(name: str, data_plane: None, method: str, family: str, mode: str) -> None:
    """NAT and FULLNAT: every proof holds, and each byte served passes the director."""
    six = ["--ipv6"] if family == "ipv6" else []
    said = document("run", name, "--no-compare", "--method", method, "--mode", mode, *six)
    assert said["ok"], failures(said)
    facts = said["proofs"][5]["facts"]
    assert list(facts["carriers"]) == ["node01"]
    assert facts["per_byte"] > 1


@pytest.mark.parametrize("mode", ["tc", "xdp"])
@pytest.mark.parametrize("kind", ["ipip", "gue", "gre"])
def test_tun_wraps_on_the_way_there_and_replies_bypass(name: str, data_plane: None, kind: str, mode: str) -> None:
    """Real servers behind a router: each tunnel type arrives, is unwrapped, and answered without the director."""
    said = document("run", name, "--no-compare", "--method", "tun", "--tun-type", kind, "--mode", mode)
    assert said["ok"], failures(said)
    assert "node01" not in said["proofs"][5]["facts"]["carriers"]
    assert said["proofs"][6]["rows"][0].startswith("192.168.247.134 > 192.168.248.13")


def test_tun_over_ipv6(name: str, data_plane: None) -> None:
    """IPv6 in IPv6, by XDP."""
    said = document("run", name, "--no-compare", "--method", "tun", "--ipv6", "--mode", "xdp")
    assert said["ok"], failures(said)


def test_the_methods_side_by_side(name: str, data_plane: None) -> None:
    """DR and TUN spare the director the replies, NAT and FULLNAT do not; the labs made for it are gone."""
    said = document("compare", name)
    cost = {row["method"]: row["per_byte"] for row in said["methods"]}
    carriers = {row["method"]: row["carriers"] for row in said["methods"]}
    assert said["ok"], said["failed"]
    assert max(cost["dr"], cost["tun"]) < 0.1 < 1 < min(cost["nat"], cost["fullnat"])
    assert carriers["nat"] == carriers["fullnat"] == ["node01"]
    assert carriers["tun"] == ["router"]
    assert [left for word in METHODS for left in leftovers(name[:12] + word)] == []


def test_dr_over_ipv6(name: str, data_plane: None) -> None:
    """The document's experiment with IPv6, where neighbour discovery hides the VIP by itself."""
    said = document("run", name, "--no-compare", "--ipv6", "--mode", "xdp")
    assert said["ok"], failures(said)


def test_a_broken_real_server_fails_the_run_by_name(name: str, data_plane: None) -> None:
    """Let node03 answer ARP for the VIP: the run ends with 1 and its line says which proof and why."""
    assert document("up", name)["ok"]
    knobs = ("net.ipv4.conf.all.arp_ignore=0", "net.ipv4.conf.eth0.arp_ignore=0")
    assert lab("exec", name, "node03", "sysctl", "-qw", *knobs).returncode == 0
    done = lab("run", name)
    assert done.returncode == 1
    assert "failed: the director alone answers for the VIP: node03 answered too" in done.stdout


def test_after_the_experiment_nothing_is_left(name: str, data_plane: None) -> None:
    """`down` takes namespaces, processes and files, and the pins and journals of director and real servers."""
    assert document("run", name, "--no-compare", "--method", "tun")["ok"]
    left = []
    for machine, find in (("node01", Instance.here), ("node02", decapsulator.instance)):
        with netns.inside(f"pylvs-{name}-{machine}"):
            left += [Path(find().directory), journal.where()]
    assert [path.exists() for path in left] == [True, False, True, True]
    assert lab("down", name).returncode == 0
    assert leftovers(name) == []
    assert not any(path.exists() for path in left)


@labs(*METHOD_LABS[:2])
def test_the_hook_that_was_asked_for_does_the_work(shared_lab: Topology) -> None:
    """XDP forwards before node01's stack sees a packet; TC comes after the taps of a capture."""
    made = shared_lab
    with netns.inside(made.namespace("client")):
        for _ in range(4):  # neighbours are known afterwards
            client.get(made.vip, made.port)
        with Capture(made.namespace("node01"), "eth0") as capture:
            for _ in range(4):
                client.get(made.vip, made.port)
            seen = [frame for frame in capture.frames() if frame.packet.ports[1] == made.port]
    assert bool(seen) == (made.options.mode == "tc")


@labs(*METHOD_LABS)
def test_a_hundred_megabytes_each_way_arrive_intact(shared_lab: Topology) -> None:
    """Down and up through the VIP, with offloads as each hook's lab has them."""
    moved = transfer(shared_lab, 100)
    assert moved.size == 100 << 20
    assert moved.intact, moved
