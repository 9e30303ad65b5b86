# SPDX-License-Identifier: GPL-2.0-or-later
"""An edit of a service under traffic refuses no packet: each sees it before the edit or after it."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from ipaddress import ip_address
from itertools import cycle

import pytest

from pylvs.dataplane.kernel import skb_context
from pylvs.model import Destination, Protocol, ServiceFlag, ServiceKey, VirtualService
from tests.packets import cast
from tests.packets.cast import CLIENT, REAL_1, REAL_2, VIP, sent_by
from tests.packets.plane import Plane
from tests.packets.rows import ip

EDITS = 300
DNS = ServiceKey(Protocol.UDP, ip_address(VIP), 53)
REPEAT = 200  # runs of one frame in the kernel, each of which takes one from its TTL
FRAMES = [
    bytes(sent_by(CLIENT, ip(CLIENT.ip, VIP, ttl=255) / cast.UDP(sport=port, dport=53))) for port in range(1024, 1536)
]


class Traffic:
    """Datagrams of ever the same clients, by a thread on a CPU of its own, as long as the block lasts."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        with self.plane.instance.program("director_tc") as program:
            context = skb_context(self.plane.index["eth0"])
            for frame in cycle(FRAMES):
                if self._over.is_set():
                    return
                program.test_run(frame, context, repeat=REPEAT)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="packets and edits at once need two CPUs")
def test_changing_the_scheduler_refuses_nobody(plane: Plane) -> None:
    """What sh, dh and mh look destinations up in is filled before packets look there. One-packet scheduling has every
    packet scheduled."""
    service = VirtualService(DNS, "rr", ServiceFlag.ONE_PACKET)
    plane.director.add_service(service)
    for real in (REAL_1, REAL_2):
        plane.director.add_destination(DNS, Destination(ip_address(real.ip), 53))
    before = plane.outcomes()
    with Traffic(plane):
        for scheduler, _ in zip(cycle(("sh", "rr", "mh", "wrr", "dh", "lc", "mh", "sh")), range(EDITS), strict=False):
            plane.director.edit_service(replace(service, scheduler=scheduler))
    after = plane.outcomes()
    moved = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert set(moved) == {"FORWARD_DR"}
    assert moved["FORWARD_DR"] > EDITS
