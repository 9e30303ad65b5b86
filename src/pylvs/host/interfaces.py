# SPDX-License-Identifier: GPL-2.0-or-later
"""The interfaces of the calling thread's network namespace, by one rtnetlink dump, which takes a millisecond.

The first `pylvsadm -A` needs it, and importing pyroute2 would take 200 ms.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pylvs.errors import DataPlaneError

RTM_NEWLINK, RTM_GETLINK = 16, 18
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x01, 0x300
IFLA_IFNAME, IFLA_MASTER, IFLA_LINKINFO, IFLA_EXT_MASK = 3, 10, 18, 29
IFLA_INFO_KIND, IFLA_INFO_SLAVE_KIND = 1, 4
SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
ARPHRD_ETHER = 1
SIOCETHTOOL = 0x8946
ETHTOOL_GDRVINFO = 0x00000003


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface. `kind` is IFLA_INFO_KIND ("" of a physical one), `port_of` the kind of its master, or ""."""

    index: int
    name: str
    ethernet: bool
    up: bool
    loopback: bool
    kind: str = ""
    master: int = 0
    port_of: str = ""


def interfaces() -> list[Interface]:
    """Every interface, in the order of their indexes; DataPlaneError where the kernel refuses to list them."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as route:
        mask = struct.pack("=HHI", 8, IFLA_EXT_MASK, SKIP_STATISTICS)
        length = 16 + 16 + len(mask)
        header = struct.pack("=IHHII", length, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
        route.send(header + bytes(16) + mask)
        return sorted(_links(route), key=lambda link: link.index)


def _links(route: socket.socket) -> Iterator[Interface]:
    while True:
        data = route.recv(1 << 18)
        here = 0
        while here < len(data):
            length, type_ = struct.unpack_from("=IH", data, here)
            if type_ == NLMSG_DONE:
                return
            if type_ == NLMSG_ERROR:
                (number,) = struct.unpack_from("=i", data, here + 16)
                raise DataPlaneError(f"cannot list the interfaces: {os.strerror(-number)}")
            if type_ == RTM_NEWLINK:
                yield _parse(data[here + 16 : here + length])
            here += (length + 3) & ~3


def _parse(message: bytes) -> Interface:
    _, hardware, index, flags = struct.unpack_from("=BxHiI", message)
    found = _attributes(message[16:])
    info = _attributes(found.get(IFLA_LINKINFO, b""))
    return Interface(
        index=index,
        name=_string(found[IFLA_IFNAME]),
        ethernet=hardware == ARPHRD_ETHER,
        up=bool(flags & IFF_UP),
        loopback=bool(flags & IFF_LOOPBACK),
        kind=_string(info.get(IFLA_INFO_KIND, b"")),
        master=int.from_bytes(found.get(IFLA_MASTER, b""), "little"),
        port_of=_string(info.get(IFLA_INFO_SLAVE_KIND, b"")),
    )


def _attributes(data: bytes) -> dict[int, bytes]:
    """Netlink attributes by type."""
    found, here = {}, 0
    while here + 4 <= len(data):
        length, type_ = struct.unpack_from("=HH", data, here)
        found[type_ & 0x3FFF] = data[here + 4 : here + length]
        here += max(4, (length + 3) & ~3)
    return found


def _string(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


def driver(name: str) -> str:
    """Name of the driver of interface `name` (ETHTOOL_GDRVINFO), or "" if it does not say."""
    answer = ctypes.create_string_buffer(struct.pack("=I", ETHTOOL_GDRVINFO), 196)  # struct ethtool_drvinfo
    request = struct.pack("=16sQ16x", name.encode(), ctypes.addressof(answer))  # struct ifreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        try:
            fcntl.ioctl(any_socket, SIOCETHTOOL, request)
        except OSError:
            return ""
    return _string(answer.raw[4:36].partition(b"\0")[0])
