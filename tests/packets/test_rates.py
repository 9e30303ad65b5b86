# SPDX-License-Identifier: GPL-2.0-or-later
"""The estimator: rates of a destination, of its service and of all are those of the same moment."""

from __future__ import annotations

import struct
import time

import pytest

from tests.packets.crowd import REALS, configure, picks
from tests.packets.plane import Plane
from tests.packets.quick import SYN

PACKETS = 64
TIMER, CLOCK = 16, struct.Struct("=4I")  # struct clock: bpf_timer, which Python cannot read, and four words


def test_totals_are_averaged_with_what_they_are_the_sum_of(plane: Plane) -> None:
    """After any round of the estimator, also when nobody looked; else a short burst is in its part's rate only."""
    configure(plane, [(real, 1) for real in REALS])
    picks(plane, PACKETS, SYN)
    records = plane.director.memory.records
    slots = range(records.settings["next_record"])
    deadline = time.monotonic() + 30
    while True:
        ((_, clock),) = plane.instance.map("clocks").items()
        _, _, before_it, _ = CLOCK.unpack_from(clock, TIMER)
        rates = [records.rates(slot) for slot in slots]
        if any(rates[-1]) and not before_it:
            break
        assert time.monotonic() < deadline, "the estimator does not come by"
        time.sleep(0.01)
    total, _, service, *parts = rates
    assert total == service
    assert sum(part.connections for part in parts) == pytest.approx(total.connections, abs=len(parts))
