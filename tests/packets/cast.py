# SPDX-License-Identifier: GPL-2.0-or-later
"""Who plays: the hosts of the packet tests, and frames from and to them.

On the director's eth0 are CLIENT, SECOND and the front sides REAL_1 to REAL_3, which DR uses; on eth1 their back sides
BACK_1 to BACK_3, behind NAT and tunnels; on eth2, with an MTU of 9000, JUMBO.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP

__all__ = ["ICMP", "IP", "SCTP", "TCP", "UDP", "Ether", "IPv6"]

Packet = Any  # scapy carries no types


class Host(NamedTuple):
    """One side of a host: MAC address, IPv4 and IPv6 address."""

    mac: str
    ip: str
    ip6: str


CLIENT = Host("02:00:00:00:00:0a", "10.0.0.10", "fd00::10")
REAL_1, REAL_2, REAL_3 = (Host(f"02:00:00:00:00:2{i}", f"10.0.0.2{i}", f"fd00::2{i}") for i in (1, 2, 3))
BACK_1, BACK_2, BACK_3 = (Host(f"02:00:00:00:01:2{i}", f"10.1.0.2{i}", f"fd01::2{i}") for i in (1, 2, 3))
JUMBO = Host("02:00:00:00:02:21", "10.2.0.21", "fd02::21")
NOBODY = Host("", "10.0.0.77", "fd00::77")  # on the wire's network, but never answers
NOWHERE = Host("", "192.0.2.1", "2001:db8::1")  # no route leads there
SECOND = Host("02:00:00:00:00:0b", "10.0.0.11", "fd00::11")  # another client

FRONT = Host("02:00:00:00:00:01", "10.0.0.1", "fd00::1")
BACK = Host("02:00:00:00:01:01", "10.1.0.1", "fd01::1")
JUMBO_SIDE = Host("02:00:00:00:02:01", "10.2.0.1", "fd02::1")
DIRECTOR = {"eth0": FRONT, "eth1": BACK, "eth2": JUMBO_SIDE}
MTU = {"eth0": 1500, "eth1": 1500, "eth2": 9000}

VIP, NAT_VIP, TUN_VIP = "10.0.0.100", "10.0.0.101", "10.0.0.102"
VIP6, NAT_VIP6, TUN_VIP6 = "fd00::100", "fd00::101", "fd00::102"
VIPS = (VIP, NAT_VIP, TUN_VIP, "10.0.0.103", "10.0.0.104", VIP6, NAT_VIP6, TUN_VIP6)

NEIGHBOURS = {
    "eth0": (CLIENT, SECOND, REAL_1, REAL_2, REAL_3),
    "eth1": (BACK_1, BACK_2, BACK_3),
    "eth2": (JUMBO,),
}
INTERFACE_OF = {host.mac: name for name, hosts in NEIGHBOURS.items() for host in hosts}


def own_side(host: Host) -> Host:
    """The director's side of the wire that this host is on."""
    return DIRECTOR[INTERFACE_OF[host.mac]]


def sent_by(host: Host, packet: Packet) -> Packet:
    """The frame in which the host sends the packet to the director."""
    return Ether(src=host.mac, dst=own_side(host).mac) / packet


def sent_to(host: Host, packet: Packet) -> Packet:
    """The frame in which the director sends the packet to the host."""
    return Ether(src=own_side(host).mac, dst=host.mac) / packet


def names(text: str) -> str:
    """Names of the cast in a line become addresses: `-t VIP:80 -r REAL_1`."""
    return _NAME.sub(lambda match: ADDRESSES[match[0]], text)


ADDRESSES = {
    **{name: host.ip for name, host in globals().items() if isinstance(host, Host)},
    **{f"{name}_6": f"[{host.ip6}]" for name, host in globals().items() if isinstance(host, Host)},
    "VIP": VIP,
    "NAT_VIP": NAT_VIP,
    "TUN_VIP": TUN_VIP,
    "VIP_6": f"[{VIP6}]",
    "NAT_VIP_6": f"[{NAT_VIP6}]",
    "TUN_VIP_6": f"[{TUN_VIP6}]",
}
_NAME = re.compile("|".join(sorted(ADDRESSES, key=len, reverse=True)))
