# SPDX-License-Identifier: GPL-2.0-or-later
"""An offload breaks XDP: checksums that a virtual card never filled in, or a far end that does not take XDP's frames.

A packet between virtual machines or containers has no checksum: the card was to add it, and there is none.
The kernel's own stack knows; XDP passes the packet on as it is, and whoever gets it drops it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pylvs.dataplane.attach import Attachment
from pylvs.doctor import offloads as cards
from pylvs.doctor.evidence import Examination, spelled
from pylvs.doctor.finding import Diagnosis, Health
from pylvs.doctor.wording import half_open
from pylvs.host.capture import Heard

LIKELIHOOD = 62


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    yield from lost(examination)
    for row in examination.attachments:
        if row.hooks and row.why == REFUSED:
            yield from _joined(row)


REFUSED = "native XDP was refused"


def lost(examination: Examination) -> Iterator[Diagnosis]:
    """What gets lost now."""
    stuck = [f"{patient.address}: {half_open(patient)}" for patient in examination.patients if patient.half_open]
    culprits = {one.source: one for one in examination.heard if one.unsummed and _balanced(examination, one)}
    for one in culprits.values():
        yield replace(_unsummed(one), evidence=(*_unsummed(one).evidence, *stuck))
    for card, count in examination.losses.items() if not culprits else ():
        if count > 0:
            yield _not_taken(card, count, stuck)


def _balanced(examination: Examination, one: Heard) -> bool:
    """Whether XDP passes such packets on: to a service, or from a real server behind NAT."""
    if one.card not in examination.virtual_xdp:
        return False
    return any(
        (one.target, one.dport) == (patient.vip, patient.service.service.key.port)
        or (not patient.hidden_vip and (one.source, one.sport) == (patient.address, patient.port))
        for patient in examination.patients
    )


def _unsummed(one: Heard) -> Diagnosis:
    return Diagnosis(
        "xdp_offloads",
        f"{one.source} leaves checksums to a card that does not fill them in, and XDP passes them on as they are",
        (f"TCP from {spelled(one.source, one.sport)} to {spelled(one.target, one.dport)} came by {one.card} without its"
         " checksum (TP_STATUS_CSUMNOTREADY)", f"the data plane is at XDP on {one.card}"),
        str(one.source),
        f"ethtool -K IF tx off   (on {one.source}; or on the director: pylvs attach --mode tc {one.card})",
        Health.BROKEN,
        LIKELIHOOD,
    )  # fmt: skip


def _not_taken(card: str, count: int, stuck: list[str]) -> Diagnosis:
    return Diagnosis(
        "xdp_offloads",
        f"the far end of {card}'s cable does not take what XDP sends: it has neither GRO nor XDP",
        (f"{count} frames lost behind XDP on {card} while listening (ethtool -S {card}: rx_queue_…_drops)", *stuck),
        "director",
        f"pylvs attach --mode tc {card}   (or at the far end of the cable: ethtool -K IF gro on)",
        Health.BROKEN,
        LIKELIHOOD,
    )


def _joined(row: Attachment) -> Iterator[Diagnosis]:
    """XDP is wanted on this card and was refused, and an offload is on for which drivers refuse it."""
    joining = cards.joining(row.interface)
    if not joining:
        return
    words = " ".join({"large-receive-offload": "lro"}.get(name, name) + " off" for name in joining)
    again = f"ethtool -K {row.interface} {words} && pylvs attach {row.interface}"
    yield Diagnosis(
        "xdp_offloads",
        f"{row.interface} ({row.driver}) joins packets before XDP could see them, and so refuses XDP",
        (f"ethtool -k {row.interface}: {', '.join(f'{name} on' for name in joining)}",
         f"the data plane is at {' and '.join(row.hooks)}, slower"),
        "director",
        f"pylvs attach --mode tc {row.interface}   (the host has to switch off the guest's offloads)"
        if any(joining.values()) else again,
        Health.DEGRADED,
        LIKELIHOOD,
    )  # fmt: skip
