# SPDX-License-Identifier: GPL-2.0-or-later
"""A path MTU below the interfaces': packets are fragmented where they may be, and the others' senders learn it."""

from __future__ import annotations

import pytest

from pylvs.host import command, iproute, netns, sysctl
from pylvs.lab import build
from pylvs.lab.topology import METHODS, Options, Topology
from pylvs.lab.transfer import transfer
from pylvs.model import TunnelType

from .conftest import TUN_LABS, labs
from .test_datagrams import NEVER, check_sizes, served

FORWARD_NOTHING = "add table ip t; add chain ip t f { type filter hook forward priority 0; policy drop; }"
OVERHEAD = {TunnelType.IPIP: 20, TunnelType.GUE: 32, TunnelType.GRE: 24}  # bytes


@pytest.mark.parametrize("mode", ["tc", "xdp"])
@pytest.mark.parametrize("method", METHODS)
def test_a_small_path_mtu_takes_what_may_be_fragmented(name: str, data_plane: None, method: str, mode: str) -> None:
    """From senders that never ask for the path's MTU and do not listen to what is said of it; whatever the firewall."""
    lab, _ = build.up(Options(name=name, mode=mode, method=METHODS[method]), lambda done: None)
    for machine in (lab.client, *lab.servers):
        with netns.inside(lab.namespace(machine.name)):
            sysctl.write("net.ipv4.ip_no_pmtu_disc", "1")
    with netns.inside(lab.namespace(lab.director.name)):
        for machine in (lab.client, *lab.servers):
            narrow(str(machine.address))
        command.run(["nft", "-f", "-"], FORWARD_NOTHING)
    with served(lab):
        check_sizes(lab, NEVER, 1)
    assert transfer(lab, 10).intact


@labs(*TUN_LABS)
def test_a_small_path_mtu_behind_the_director_is_learned(shared_lab: Topology) -> None:
    """A router in the middle of the tunnel tells the director what fits, which tells the client."""
    lab = shared_lab
    with netns.inside(lab.namespace("router")):
        for machine in lab.servers:
            narrow(str(machine.address))
    assert transfer(lab, 5).intact
    with netns.inside(lab.namespace("client")):
        learned = command.run(["ip", "route", "get", str(lab.vip)])
    with netns.inside(lab.namespace("router")):
        iproute.batch(*(f"route del {machine.address}" for machine in lab.servers))
    assert f"mtu {1300 - OVERHEAD[lab.options.tunnel]}" in learned


def narrow(address: str) -> None:
    """Make the MTU of the route to this address 1,300 bytes."""
    shown = command.run(["ip", "-o", "route", "get", address])
    hop = shown.partition(" src ")[0].partition(" ")[2]  # [via GATEWAY] dev INTERFACE
    iproute.batch(f"route replace {address} {hop} mtu lock 1300")
