# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket of a connection sync daemon, tried out: what stops the kernel's daemon from starting stops ours."""

from __future__ import annotations

import fcntl
import socket
import struct

from pylvs.errors import DaemonError
from pylvs.model import SyncDaemon

SIOCGIFMTU = 0x8921


def mtu_of(interface: str) -> int:
    """The interface's MTU in bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16si12x", interface.encode(), 0)
        return int(struct.unpack("16si12x", fcntl.ioctl(s, SIOCGIFMTU, request))[1])


def try_multicast(daemon: SyncDaemon) -> None:
    """Make the socket that the daemon would have, and close it; DaemonError where that fails, as without a route."""
    assert daemon.group is not None
    family = socket.AF_INET if daemon.group.version == 4 else socket.AF_INET6
    index = socket.if_nametoindex(daemon.interface)
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        try:
            (_send if daemon.role == "master" else _receive)(s, daemon, index)
        except OSError as error:
            raise DaemonError(
                f"no {daemon.role} daemon on {daemon.interface}: {error.strerror}", error.errno or 0
            ) from None


def _place(s: socket.socket, daemon: SyncDaemon) -> tuple[str, int]:
    return str(daemon.group), daemon.port


def _send(s: socket.socket, daemon: SyncDaemon, index: int) -> None:
    if s.family == socket.AF_INET:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=8xi", index))
    else:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    s.connect(_place(s, daemon))


def _receive(s: socket.socket, daemon: SyncDaemon, index: int) -> None:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, daemon.interface.encode())
    s.bind(_place(s, daemon))
    assert daemon.group is not None
    group = daemon.group.packed
    if s.family == socket.AF_INET:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + struct.pack("=4xi", index))
    else:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("=i", index))
