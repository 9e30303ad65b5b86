# SPDX-License-Identifier: GPL-2.0-or-later
"""An offload breaks XDP: checksums that a virtual NIC never fills in, or a peer that does not take frames from XDP.

A packet between virtual machines or containers has no checksum (CHECKSUM_PARTIAL): the NIC was to add it, and there is
none. The kernel's own stack knows that; XDP forwards the packet as it is, and its receiver drops it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pylvs.dataplane.attach import Attachment
from pylvs.doctor.evidence import DirectorEvidence
from pylvs.doctor.facts import frames_lost, without_checksum
from pylvs.doctor.finding import Finding, Health
from pylvs.doctor.wording import half_open
from pylvs.host.capture import Heard
from pylvs.model import Endpoint

LIKELIHOOD = 62
NAMES = {"large-receive-offload": "lro"}  # that `ethtool -K` knows by another name than `ethtool -k` prints


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    stuck = [f"{one.address}: {half_open(one)}" for one in evidence.destinations if one.half_open]
    for segment in without_checksum(evidence):
        yield _without_checksum(segment, stuck)
    for interface, count in frames_lost(evidence).items():
        yield _frames_lost(interface, count, stuck)
    for row in evidence.attachments:
        if offloads := evidence.offloads.get(row.interface):
            yield _refused(row, offloads)


def _without_checksum(one: Heard, stuck: list[str]) -> Finding:
    source = Endpoint(one.source, one.sport)
    target = Endpoint(one.target, one.dport)
    return Finding(
        "xdp_offloads",
        f"{one.source} leaves checksums to a NIC that does not fill them in, and XDP forwards them as they are",
        (
            f"TCP from {source} to {target} arrived by {one.interface} without its checksum (TP_STATUS_CSUMNOTREADY)",
            f"the data plane is at XDP on {one.interface}",
            *stuck,
        ),
        str(one.source),
        f"ethtool -K IF tx off   (on {one.source}; or on the director: pylvs attach --mode tc {one.interface})",
        Health.BROKEN,
        LIKELIHOOD,
    )


def _frames_lost(interface: str, count: int, stuck: list[str]) -> Finding:
    return Finding(
        "xdp_offloads",
        f"the peer of {interface} does not take the frames that XDP sends: it runs neither GRO nor XDP",
        (
            f"{count} frames lost behind XDP on {interface} while listening (ethtool -S {interface}: rx_queue_…_drops)",
            *stuck,
        ),
        "director",
        f"pylvs attach --mode tc {interface}   (or on the peer: ethtool -K IF gro on)",
        Health.BROKEN,
        LIKELIHOOD,
    )


def _refused(row: Attachment, offloads: Mapping[str, bool]) -> Finding:
    """XDP is wanted on this interface and was refused, and an offload is on for which drivers refuse it."""
    interface = row.interface
    return Finding(
        "xdp_offloads",
        f"{interface} ({row.driver}) merges packets before XDP can see them, and so refuses XDP",
        (
            f"ethtool -k {interface}: {', '.join(f'{name} on' for name in offloads)}",
            f"the data plane is at {' and '.join(row.hooks)}, slower",
        ),
        "director",
        _switch_off(interface, offloads),
        Health.DEGRADED,
        LIKELIHOOD,
    )


def _switch_off(interface: str, offloads: Mapping[str, bool]) -> str:
    if any(offloads.values()):
        return f"pylvs attach --mode tc {interface}   (the host has to switch off the guest's offloads)"
    words = " ".join(f"{NAMES.get(name, name)} off" for name in offloads)
    return f"ethtool -K {interface} {words} && pylvs attach {interface}"
