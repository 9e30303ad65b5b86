# SPDX-License-Identifier: GPL-2.0-or-later
"""The description of the lab, without building it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from pylvs.errors import PylvsError
from pylvs.lab.picture import draw
from pylvs.lab.steps import steps
from pylvs.lab.topology import METHODS, Options, prefix, topology
from pylvs.model import ForwardingMethod


def test_the_document_s_addresses() -> None:
    """DR has the four machines of the document, and a client, in one /24."""
    lab = topology(Options())
    assert {machine.name: str(machine.address) for machine in lab.machines} == {
        "client": "192.168.247.1",
        "node01": "192.168.247.134",
        "node02": "192.168.247.135",
        "node03": "192.168.247.136",
        "node04": "192.168.247.137",
    }
    assert str(lab.vip) == "192.168.247.100"
    networks = {port.address.network for machine in lab.machines for port in machine.ports}
    assert networks == {ip_network("192.168.247.0/24")}


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("method", METHODS.values())
def test_every_address_and_mac_is_given_once(method: ForwardingMethod, ipv6: bool) -> None:
    """No two cards of a lab share an address or a MAC, and none has the VIP."""
    ports = [p for machine in topology(Options(method=method, ipv6=ipv6)).machines for p in machine.ports]
    addresses = [port.address.ip for port in ports]
    assert len(set(addresses)) == len(addresses)
    assert len({port.mac for port in ports}) == len(ports)
    assert topology(Options(method=method, ipv6=ipv6)).vip not in addresses


def test_the_vip_is_hidden_before_it_is_there() -> None:
    """A real server is made silent about the VIP before it gets it, or it would claim it for a moment."""
    typed = [step.typed for step in steps(topology(Options())) if step.machine == "node02"]
    quiet = next(i for i, text in enumerate(typed) if "arp_ignore=1" in text)
    announce = next(i for i, text in enumerate(typed) if "arp_announce=2" in text)
    vip = typed.index("ip addr add 192.168.247.100/32 dev lo")
    assert max(quiet, announce) < vip


def test_nat_has_no_hidden_vip_and_the_director_as_gateway() -> None:
    """Behind NAT a real server knows nothing of the VIP, and every way out leads through the director."""
    lab = topology(Options(method=ForwardingMethod.NAT))
    typed = [step.typed for step in steps(lab) if step.machine == "node02"]
    assert "ip route add default via 192.168.248.134" in typed
    assert not any("192.168.247.100" in text for text in typed)


def test_the_service_comes_last() -> None:
    """The director's steps are pylvsadm's own words, after everything that they rely on."""
    typed = [step.typed for step in steps(topology(Options()))]
    assert typed[-3:] == [
        "pylvsadm -A -t 192.168.247.100:80 -s rr",
        "pylvsadm -a -t 192.168.247.100:80 -r 192.168.247.135 -g -w 1",
        "pylvsadm -a -t 192.168.247.100:80 -r 192.168.247.136 -g -w 1",
    ]


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("method", METHODS.values())
def test_the_picture_fits_a_terminal(method: ForwardingMethod, ipv6: bool) -> None:
    """Every machine and its address is in the picture, and no line is wider than 80 columns."""
    lab = topology(Options(method=method, ipv6=ipv6))
    lines = ["".join(text for text, _ in line).rstrip() for line in draw(lab, {})]
    assert max(map(len, lines)) <= 80
    for machine in lab.machines:
        assert any(machine.name in line for line in lines)
        assert any(str(machine.address) in line for line in lines)


@pytest.mark.parametrize("name", ["", "Lab", "a-b", "../x", "a" * 21])
def test_a_name_that_could_reach_another_lab_is_refused(name: str) -> None:
    """Names are short words, so that no lab's prefix begins another's."""
    with pytest.raises(PylvsError, match="small letters and digits"):
        prefix(name)
