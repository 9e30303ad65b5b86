# SPDX-License-Identifier: GPL-2.0-or-later
"""A destination's address is none that the director can reach: a slip in its network, or a router in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from pylvs.doctor.evidence import Examination, Patient
from pylvs.doctor.finding import Diagnosis
from pylvs.doctor.wording import of
from pylvs.host import probes
from pylvs.host.probes import Reply
from pylvs.model import Address, ForwardingMethod, TunnelType

LIKELIHOOD = 82


def diagnose(examination: Examination) -> Iterator[Diagnosis]:
    for patient in examination.patients:
        if patient.here:
            continue
        if patient.way is None:
            what = f"there is no way to {patient.address}: the director has no route to it"
        elif patient.method is ForwardingMethod.DR and not patient.on_link:
            what = f"{patient.address} is behind the router {patient.way.gateway}: DR reaches its own segment only"
        else:
            continue
        yield _slip(patient, what, *_mend(examination, patient))


def _slip(patient: Patient, what: str, mend: str, likelihood: int, more: str) -> Diagnosis:
    """What is wrong is what the director was told."""
    return replace(of(patient, "wrong_rip", what, mend, likelihood, more), machine="director")


def _mend(examination: Examination, patient: Patient) -> tuple[str, int, str]:
    """What to type, the likelihood, and the evidence for it: one with the same host part who does the work."""
    meant = next((c for c in _candidates(examination, patient) if _works(c, patient)), None)
    words = f"pylvsadm -d {patient.words}"
    if meant is None:
        if patient.way and patient.method is ForwardingMethod.DR:
            words = f"pylvsadm -e {patient.words} -i   (and there: pylvs realserver join {patient.vip} --method tun)"
        return words, LIKELIHOOD, f"no address of the director's own networks is like {patient.address} and listens"
    old = str(patient.address)
    again = words.replace(f"-r {old}", f"-r {meant}").replace("-d ", "-a ") + _method(patient)
    return f"{words} && {again}", LIKELIHOOD, f"{meant} answers at port {patient.port}: was that meant?"


def _method(patient: Patient) -> str:
    """The destination's options as they were given."""
    destination = patient.state.destination
    if patient.method is ForwardingMethod.FULLNAT:
        letter = "--fullnat --local-address " + ",".join(map(str, destination.local_addresses))
    else:
        letter = {ForwardingMethod.NAT: "-m", ForwardingMethod.TUN: "-i"}.get(patient.method, "-g")
    tunnel = destination.tunnel
    if patient.method is ForwardingMethod.TUN and tunnel.type is not TunnelType.IPIP:
        letter += f" --tun-type {tunnel.type.value} --tun-{tunnel.checksum.value}"
        letter += f" --tun-port {tunnel.port}" if tunnel.port else ""
    return f" {letter} -w {destination.weight}"


def _candidates(examination: Examination, patient: Patient) -> Iterator[Address]:
    """The same host part in each network that the director knows, its own and routed ones."""
    taken = {one.address for one in examination.patients}
    for network in examination.machine.networks(patient.address.version):
        host = int(patient.address) & int(network.hostmask)
        found = ip_address(int(network.network_address) | host)
        if network.num_addresses > 2 and found not in taken:
            yield found


def _works(candidate: Address, patient: Patient) -> bool:
    return patient.tcp_service and probes.connect(candidate, patient.port).reply is Reply.OPEN
