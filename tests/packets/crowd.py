# SPDX-License-Identifier: GPL-2.0-or-later
"""Very many clients of one virtual service, and where each is sent."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from pylvs.dataplane.kernel import skb_context
from tests.packets.cast import CLIENT, VIP
from tests.packets.plane import Plane
from tests.packets.quick import SYN, tcp_frame

REALS = ("10.0.0.21", "10.0.0.22", "10.0.0.23")
SOURCE, PORT, TARGET_MAC = 26, 34, 5  # offsets in a frame: IPv4's source address, the source port, a MAC's last byte
SENT = 7


def configure(plane: Plane, reals: Sequence[tuple[str, int]], scheduler: str = "rr") -> None:
    plane.adm(f"-A -t {VIP}:80 -s {scheduler}")
    for address, weight in reals:
        plane.adm(f"-a -t {VIP}:80 -r {address} -g -w {weight}")


def picks(plane: Plane, flows: int, flags: int = SYN, forget: int = 0) -> list[int]:
    """Where each of so many clients' packets goes, as the last byte of its MAC address.

    `forget`: the connections are forgotten after so many, so that the table does not come under pressure.
    """
    frame, context = bytearray(tcp_frame(CLIENT.ip, 20000, VIP, 80, flags)), skb_context(plane.index["eth0"])
    run, found = plane.programs["tc"].test_run, []
    for number in range(flows):
        struct.pack_into("!I", frame, SOURCE, 0x0B000000 + number * 7)
        struct.pack_into("!H", frame, PORT, 1024 + number % 60000)
        done = run(bytes(frame), context)
        assert done.retval == SENT
        if forget and number % forget == 0:
            plane.forget_connections()
        found.append(done.data[TARGET_MAC])
    return found
