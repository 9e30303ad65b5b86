# SPDX-License-Identifier: GPL-2.0-or-later
"""Ticks: the data plane's units of time, some of the kernel's jiffies each (HZ is nowhere to be asked for)."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from pylvs.errors import Unsupported

RATES = (100, 250, 300, 1000, 24, 48, 64, 128, 200, 256, 500, 512, 1024, 1200)
WRAP = 1 << 32
FASTEST = 256  # ticks a second: 2^31 of them are 97 days, and the longest timeout is 31


class Clock(NamedTuple):
    """`second`: ticks a second; a tick is `jiffies >> shift`."""

    second: int
    shift: int


def rate_of(jiffies: int, uptime: float) -> int:
    """HZ of a kernel that counted so many jiffies in so many seconds, starting 5 minutes before the wrap of 32 bits."""
    return min(RATES, key=lambda rate: abs(jiffies - (WRAP - 300 * rate) - uptime * rate) / rate)


def kernel_rate() -> int:
    """HZ of this kernel, from /proc/timer_list."""
    try:
        with open("/proc/timer_list") as file:
            uptime = time.monotonic()
            for line in file:
                if match := re.match(r"jiffies: (\d+)", line):
                    return rate_of(int(match[1]), uptime)
    except OSError:
        pass
    raise Unsupported("this kernel does not show its clock in /proc/timer_list; pylvs needs root and procfs")


def clock() -> Clock:
    """The data plane's clock on this kernel."""
    rate, shift = kernel_rate(), 0
    while rate >> shift > FASTEST:
        shift += 1
    return Clock(rate >> shift, shift)
