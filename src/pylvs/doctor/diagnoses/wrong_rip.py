# SPDX-License-Identifier: GPL-2.0-or-later
"""The director cannot reach a destination's address: its network has a slip in it, or DR would have to pass a router.

What is wrong is the director's table.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence
from pylvs.doctor.finding import Finding
from pylvs.doctor.wording import about
from pylvs.model import Address, Endpoint, ForwardingMethod, TunnelType

LIKELIHOOD = 82


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        if one.out_of_reach:
            fix = _replace(one, one.meant) if one.meant else _fix(one)
            yield about(one, "wrong_rip", _what(one), fix, LIKELIHOOD, _similar(one), machine="director")


def _what(one: DestinationEvidence) -> str:
    if one.route is None:
        return f"the director has no route to {one.address}"
    return f"{one.address} is behind the router {one.route.gateway}: DR reaches its own segment only"


def _similar(one: DestinationEvidence) -> str:
    if one.meant:
        return f"{one.meant} answers at port {one.port}: was that meant?"
    return f"no address with the host part of {one.address}, in a network with a route, accepts TCP at port {one.port}"


def _replace(one: DestinationEvidence, meant: Address) -> str:
    """Delete the destination, and add the one that was meant."""
    right = Endpoint(meant, one.port)
    add = f"pylvsadm -a {one.service.service.key.option} -r {right} {_options(one)}"
    return f"pylvsadm -d {one.words} && {add}"


def _fix(one: DestinationEvidence) -> str:
    if one.route and one.method is ForwardingMethod.DR:
        return f"pylvsadm -e {one.words} -i   (and there: pylvs realserver join {one.vip} --method tun)"
    return f"pylvsadm -d {one.words}"


def _options(one: DestinationEvidence) -> str:
    """The destination's options, as they were given."""
    return f"{_method(one)} -w {one.state.destination.weight}"


def _method(one: DestinationEvidence) -> str:
    if one.method is ForwardingMethod.FULLNAT:
        addresses = ",".join(map(str, one.state.destination.local_addresses))
        return f"--fullnat --local-address {addresses}"
    if one.method is ForwardingMethod.TUN:
        return f"-i{_tunnel(one)}"
    return "-m" if one.method is ForwardingMethod.NAT else "-g"


def _tunnel(one: DestinationEvidence) -> str:
    tunnel = one.tunnel
    if tunnel.type is TunnelType.IPIP:
        return ""
    port = f" --tun-port {tunnel.port}" if tunnel.port else ""
    return f" --tun-type {tunnel.type.value} --tun-{tunnel.checksum.value}{port}"
