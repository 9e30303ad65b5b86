# SPDX-License-Identifier: GPL-2.0-or-later
"""What was probed and what came back, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import Patient, spelled
from pylvs.doctor.finding import Diagnosis, Health
from pylvs.host.probes import Outcome, Reply
from pylvs.model import ForwardingMethod

WORDS = {
    ForwardingMethod.DR: "dr",
    ForwardingMethod.TUN: "tun",
    ForwardingMethod.NAT: "nat",
    ForwardingMethod.FULLNAT: "fullnat",
}


def method(patient: Patient) -> str:
    """The forwarding method as a person says it."""
    tunnel = patient.state.destination.tunnel.type.value
    return WORDS[patient.method].upper() + (f" ({tunnel})" if patient.method is ForwardingMethod.TUN else "")


def arp(patient: Patient) -> str:
    """Who answered for the RIP."""
    asks = "neighbour solicitation" if patient.address.version == 6 else "ARP"
    card = patient.way.interface if patient.way else "?"
    if patient.macs:
        return f"{asks} on {card} for {patient.address}: it is at {patient.macs[0]}"
    return f"{asks} on {card} for {patient.address}: nobody answers"


def seen(patient: Patient) -> Iterator[str]:
    """Everything that was asked of a destination."""
    if patient.on_link:
        yield arp(patient)
    elif patient.way:
        yield f"{patient.address} is reached by {patient.way.gateway} on {patient.way.interface}"
    if patient.direct:
        yield f"TCP to {patient.name}: {tell(patient.direct)}"
    if patient.through and patient.vip:
        yield f"TCP to {spelled(patient.vip, patient.port)} through {patient.address} by {method(patient)}: " + tell(
            patient.through
        )


def half_open(patient: Patient) -> str:
    """The states of its young connections."""
    return f"{patient.half_open} young connections are in SYN_RECV, {patient.others} in any other state"


def tell(outcome: Outcome) -> str:
    """One outcome."""
    by = f", says {outcome.by}" if outcome.by and outcome.reply not in (Reply.OPEN, Reply.REFUSED) else ""
    return outcome.reply.value + by


def of(patient: Patient, fault: str, what: str, mend: str, likelihood: int, *more: str) -> Diagnosis:
    """A diagnosis that concerns one destination: the machine is its address, the evidence all that was asked of it."""
    evidence = (*seen(patient), *more)
    return Diagnosis(
        fault, what, evidence, str(patient.address), mend, Health.DEGRADED, likelihood, destination=patient
    )


def replied(outcome: Outcome | None, *replies: Reply) -> bool:
    """Whether a probe was made and met one of these."""
    return outcome is not None and outcome.reply in replies
