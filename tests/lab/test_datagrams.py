# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets of any size through each method, whether their sender lets them be cut on the way or not."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from select import select

import pytest

from pylvs.host import netns
from pylvs.lab import build
from pylvs.lab.topology import METHODS, Options, Topology
from pylvs.lab.transfer import transfer
from pylvs.model import TunnelType

pytestmark = pytest.mark.xdist_group("lab")

PORT = 5000
PATIENCE = 2.0  # seconds, for what takes milliseconds
SIZES = (0, 100, 1452, 1472, 1480, 2000, 8000, 30_000)  # bytes; an MTU of 1500 takes 1472, one of IPIP's 1452
IP_MTU_DISCOVER, NEVER, ALWAYS = 10, 0, 1  # linux/in.h: IP_PMTUDISC_DONT, IP_PMTUDISC_WANT
FORWARD_NOTHING = "add table ip t; add chain ip t f { type filter hook forward priority 0; policy drop; }"
OVERHEAD = {"ipip": 20, "gue": 32, "gre": 24}
WAYS = [(method, "ipip") for method in METHODS] + [("tun", "gue"), ("tun", "gre")]


def sockets(stack: ExitStack, lab: Topology) -> list[socket.socket]:
    """One on each real server, which answers as the VIP where it has that."""
    made, address = [], "" if lab.replies_pass_director else str(lab.vip)
    for machine in lab.servers:
        with netns.inside(lab.namespace(machine.name)):
            made.append(stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
        made[-1].bind((address, PORT))
    return made


def serve(lab: Topology) -> None:
    """What the lab balances by TCP, by UDP at our port too."""
    with netns.inside(lab.namespace(lab.director.name)):
        command = [sys.executable, "-m", "pylvs.ipvsadm"]
        table = subprocess.run([*command, "-S", "-n"], check=True, capture_output=True, text=True).stdout
        table = table.replace(" -t ", " -u ").replace(f":{lab.port} ", f":{PORT} ")
        subprocess.run([*command, "-R"], check=True, input=table, text=True)


@pytest.mark.parametrize("mode", ["tc", "xdp"])
@pytest.mark.parametrize(("method", "tunnel"), WAYS)
def test_datagrams_of_any_size_are_answered(name: str, data_plane: None, method: str, tunnel: str, mode: str) -> None:
    """At once if they may be cut; else at the latest when their sender was told what fits, and has sent again."""
    options = Options(name=name, mode=mode, method=METHODS[method], tunnel=TunnelType(tunnel))
    lab, _ = build.up(options, lambda done: None)
    serve(lab)
    for discover, tries in ((NEVER, 1), (ALWAYS, 2)):
        check_sizes(lab, discover, tries)


@pytest.mark.parametrize("mode", ["tc", "xdp"])
@pytest.mark.parametrize("method", METHODS)
def test_a_narrow_way_takes_what_may_be_cut(name: str, data_plane: None, method: str, mode: str) -> None:
    """From senders that never ask for the path's MTU and do not listen to what is said of it; whatever the firewall."""
    lab, _ = build.up(Options(name=name, mode=mode, method=METHODS[method]), lambda done: None)
    for machine in (lab.client, *lab.servers):
        with netns.inside(lab.namespace(machine.name)):
            Path("/proc/sys/net/ipv4/ip_no_pmtu_disc").write_text("1")
    with netns.inside(lab.namespace(lab.director.name)):
        for machine in (lab.client, *lab.servers):
            narrow(str(machine.address))
        subprocess.run(["nft", "-f", "-"], check=True, input=FORWARD_NOTHING, text=True)
    serve(lab)
    check_sizes(lab, NEVER, 1)
    assert transfer(lab, 10).intact


@pytest.mark.parametrize("mode", ["tc", "xdp"])
@pytest.mark.parametrize("tunnel", ["ipip", "gue", "gre"])
def test_a_narrow_link_behind_the_director_is_learned(name: str, data_plane: None, tunnel: str, mode: str) -> None:
    """A router in the middle of the tunnel tells the director what fits, which tells the client."""
    lab, _ = build.up(
        Options(name=name, mode=mode, method=METHODS["tun"], tunnel=TunnelType(tunnel)), lambda done: None
    )
    with netns.inside(lab.namespace("router")):
        for machine in lab.servers:
            narrow(str(machine.address))
    assert transfer(lab, 5).intact
    with netns.inside(lab.namespace("client")):
        learned = subprocess.run(
            ["ip", "route", "get", str(lab.vip)], check=True, capture_output=True, text=True
        ).stdout
    assert f"mtu {1300 - OVERHEAD[tunnel]}" in learned


def narrow(address: str) -> None:
    """The way to this address takes packets of 1,300 bytes."""
    shown = subprocess.run(["ip", "-o", "route", "get", address], check=True, capture_output=True, text=True).stdout
    way = shown.partition(" src ")[0].split()[1:]  # [via GATEWAY] dev INTERFACE
    subprocess.run(["ip", "route", "replace", address, *way, "mtu", "lock", "1300"], check=True)


def check_sizes(lab: Topology, discover: int, tries: int) -> None:
    with ExitStack() as stack:
        servers = sockets(stack, lab)
        for size in SIZES:
            with netns.inside(lab.namespace("client")):
                client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)
            client.connect((str(lab.vip), PORT))
            assert answered(client, servers, size, tries) == size, f"discover {discover}"


def answered(client: socket.socket, servers: list[socket.socket], size: int, tries: int) -> int | None:
    """How many bytes came to a real server, as its answer says, which comes from the VIP."""
    for _ in range(tries):
        with suppress(OSError):  # the sender is told, by the next that it does, that this did not fit
            client.send(bytes(size))
            while ready := select([client, *servers], [], [], PATIENCE)[0]:
                if client in ready:
                    return int(client.recv(64))
                for server in ready:
                    data, sender = server.recvfrom(65535)
                    server.sendto(b"%d" % len(data), sender)
    return None
