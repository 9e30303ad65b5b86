# SPDX-License-Identifier: GPL-2.0-or-later
"""Offloads and statistics of interfaces, by ethtool(8); nothing where there is no ethtool."""

from __future__ import annotations

import re

from pylvs.host.command import CommandFailed, run

# These make a driver merge packets before XDP sees them, so that it refuses XDP, or has to give them up for it.
MERGING = ("large-receive-offload", "rx-gro-hw")
_LOST = re.compile(r"\s*rx_queue_\d+_drops: (\d+)$")  # veth, virtio_net: also frames sent by XDP that nobody took
_FEATURE = re.compile(r"\s*([\w-]+): (on|off)( \[fixed\])?")


def parse(text: str) -> dict[str, tuple[bool, bool]]:
    """What `ethtool -k` prints, by feature: whether it is on, and whether that is fixed."""
    found = (_FEATURE.match(line) for line in text.splitlines())
    return {one[1]: (one[2] == "on", bool(one[3])) for one in found if one}


def merging(text: str) -> dict[str, bool]:
    """The offloads in the output of `ethtool -k` that are on and in the way of XDP; whether each is fixed."""
    features = parse(text)
    return {name: features[name][1] for name in MERGING if name in features and features[name][0]}


def features(interface: str) -> str:
    """The output of `ethtool -k`."""
    return _ethtool("-k", interface)


def frames_lost(interface: str) -> int:
    """Frames that the driver has lost since the interface was made."""
    found = (_LOST.match(line) for line in _ethtool("-S", interface).splitlines())
    return sum(int(one[1]) for one in found if one)


def _ethtool(*words: str) -> str:
    try:
        return run(["ethtool", *words])
    except CommandFailed:
        return ""
