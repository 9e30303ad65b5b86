# SPDX-License-Identifier: GPL-2.0-or-later
"""Every scheduler picks what the kernel's picked, connection by connection: 320 recorded runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pylvs.dataplane.kernel import skb_context, xdp_context
from tests.packets.cast import BACK_1, REAL_1
from tests.packets.plane import HOOKS, Plane
from tests.packets.quick import ACK, FIN, PSH, SYN, seen, tcp_frame, udp_frame
from tests.packets.recorded import Case, cases, label, mark

CASES = cases("sched")
XDP_PASS, XDP_SENT, TC_ACT_REDIRECT = 2, (3, 4), 7
NET_OF = {"m": BACK_1.ip.rpartition(".")[0], "g": REAL_1.ip.rpartition(".")[0]}


class Client:
    """Makes connections as the recording's client did, and says who answered."""

    def __init__(self, plane: Plane, hook: str, case: Case) -> None:
        self.plane, self.hook = plane, hook
        self.nat = "NAT" in case["traffic"]
        self.context = skb_context(plane.index["eth0"], mark(case))
        self.open: list[tuple[Any, ...]] = []

    def send(self, frame: bytes) -> bytes | None:
        """What the director made of the frame, first at XDP if that is the hook; None if it did not send it on."""
        if self.hook == "xdp":
            done = self.plane.programs["xdp"].test_run(frame, xdp_context(len(frame), self.plane.index["eth0"]))
            if done.retval != XDP_PASS:
                return done.data if done.retval in XDP_SENT else None
        done = self.plane.programs["tc"].test_run(frame, self.context)
        return done.data if done.retval == TC_ACT_REDIRECT else None

    def connect(self, request: Sequence[Any]) -> str:
        """Number of the real server that the connection came to, "-" if none."""
        protocol, mode, src, sport, dst, dport = request
        make = udp_frame if protocol == "u" else tcp_frame
        opening = make(src, sport, dst, dport, *([] if protocol == "u" else [SYN]))  # type: ignore[arg-type]
        arrived = self.send(opening)
        if arrived is None or (way := seen(arrived)).src != src or way.dst == src:
            return "-"  # refused, by an ICMP error to the client
        if protocol == "t":
            ends = src, sport, dst, dport, way.dst, way.dport
            self._talk(ends)
            self._close(ends) if mode == "close" else self.open.append(ends)
        return way.host[1]

    def _both(self, ends: tuple[Any, ...], *packets: tuple[bool, int]) -> None:
        """Packets from the client (True) or the server, which the director of DR does not see."""
        src, sport, dst, dport, real, rport = ends
        for from_client, flags in packets:
            if from_client:
                assert self.send(tcp_frame(src, sport, dst, dport, flags)) is not None
            elif self.nat:
                assert self.send(tcp_frame(real, rport, src, sport, flags)) is not None

    def _talk(self, ends: tuple[Any, ...]) -> None:
        """The rest of the handshake; the server says its name."""
        self._both(ends, (False, SYN | ACK), (True, ACK), (False, PSH | ACK), (True, ACK))

    def _close(self, ends: tuple[Any, ...]) -> None:
        """The client closes first, and the server then."""
        self._both(ends, (True, FIN | ACK), (False, FIN | ACK), (True, ACK))

    def close_all(self) -> None:
        for ends in self.open:
            self._close(ends)


def run(plane: Plane, hook: str, case: Case) -> str:
    """The picks, as they were recorded: a character for each connection."""
    plane.settings["icmp_rate"] = 0  # no limit, as in the recording's replay
    for command in case["commands"]:
        plane.adm(command.removeprefix("ipvsadm "))
    client = Client(plane, hook, case)
    picks, position = "", 0
    for until, lines in [*case["events"], [len(case["requests"]), []]]:
        for request in case["requests"][position:until]:
            if hook == "xdp":
                plane.know_hops()
            picks += client.connect(request)
        position = until
        for line in lines:
            plane.adm(line.removeprefix("ipvsadm "))
    client.close_all()
    return picks


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("case", [pytest.param(case, id=label(case)) for case in CASES])
def test_recorded(plane: Plane, case: Case, hook: str) -> None:
    """The same real servers in the same order, and the same counts in the end."""
    assert run(plane, hook, case) == case["picks"]
    assert plane.adm("-L -n").splitlines()[1:] == case["table_after"].splitlines()[1:]
