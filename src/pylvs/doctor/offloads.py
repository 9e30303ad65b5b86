# SPDX-License-Identifier: GPL-2.0-or-later
"""Network cards as their drivers tell of them: offloads and statistics, by ethtool; nothing where there is none."""

from __future__ import annotations

import re

from pylvs.host.command import CommandFailed, run

# With these a driver joins packets before XDP sees them, so that it refuses XDP, or has to give them up for it.
JOINING = ("large-receive-offload", "rx-gro-hw")
_LOST = re.compile(r"\s*rx_queue_\d+_drops: (\d+)$")  # veth, virtio_net: also what XDP sent and nobody took
_FEATURE = re.compile(r"\s*([\w-]+): (on|off)( \[fixed\])?")


def offloads(text: str) -> dict[str, tuple[bool, bool]]:
    """What `ethtool -k` says: whether each is on, and whether it is so for good."""
    found = (_FEATURE.match(line) for line in text.splitlines())
    return {one[1]: (one[2] == "on", bool(one[3])) for one in found if one}


def joining(card: str) -> dict[str, bool]:
    """The offloads that are in XDP's way and on; whether each is so for good."""
    features = offloads(_ethtool("-k", card))
    return {name: features[name][1] for name in JOINING if name in features and features[name][0]}


def lost(card: str) -> int:
    """Frames that the driver has lost since it is up."""
    found = (_LOST.match(line) for line in _ethtool("-S", card).splitlines())
    return sum(int(one[1]) for one in found if one)


def _ethtool(*words: str) -> str:
    try:
        return run(["ethtool", *words])
    except CommandFailed:
        return ""
