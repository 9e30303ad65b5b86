# SPDX-License-Identifier: GPL-2.0-or-later
"""Any table that ipvsadm could have made, for hypothesis. Thresholds are left out, as they are by `-S`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from pylvs.model import (
    Address,
    AddressType,
    Destination,
    ForwardingMethod,
    Protocol,
    ServiceFlag,
    ServiceKey,
    Tunnel,
    TunnelChecksum,
    TunnelType,
    VirtualService,
)
from pylvs.rules import CONFIGURABLE, SCHEDULERS, address_type

PORTS = st.integers(0, 65535)
IPV4 = st.integers(0x01000000, 0xDFFFFFFF).map(IPv4Address)
IPV6 = st.integers(0, 2**128 - 1).map(IPv6Address).filter(lambda a: address_type(a) is AddressType.UNICAST)
PERSISTENT, ONE_PACKET = ServiceFlag.PERSISTENT, ServiceFlag.ONE_PACKET
SCHEDULER_FLAGS = {"sh": 2, "mh": 2}  # how many of the three have a name
TUNNELS = st.one_of(
    st.just(Tunnel()),
    st.builds(Tunnel, st.just(TunnelType.GUE), st.integers(1, 65535), st.sampled_from(TunnelChecksum)),
    st.sampled_from([Tunnel(TunnelType.GRE, 0, kind) for kind in (TunnelChecksum.NONE, TunnelChecksum.CSUM)]),
)


def addresses(family: int) -> st.SearchStrategy[Address]:
    return IPV4 if family == 4 else IPV6


@st.composite
def keys(draw: st.DrawFn) -> ServiceKey:
    family = draw(st.sampled_from((4, 6)))
    if draw(st.booleans()):
        return ServiceKey(fwmark=draw(st.integers(1, 2**31 - 1)), family=family)
    protocol = draw(st.sampled_from((Protocol.TCP, Protocol.UDP, Protocol.SCTP)))
    return ServiceKey(protocol, draw(addresses(family)), draw(PORTS), family=family)


@st.composite
def services(draw: st.DrawFn) -> VirtualService:
    key = draw(keys())
    scheduler = draw(st.sampled_from(SCHEDULERS))
    named = SCHEDULER_FLAGS.get(scheduler, 3)
    flags = ServiceFlag(draw(st.integers(0, 2**named - 1)) * ServiceFlag.SCHED1)
    persistent = draw(st.booleans()) or (not key.fwmark and not key.port)
    if draw(st.booleans()) and (key.fwmark or key.protocol is Protocol.UDP):
        flags |= ONE_PACKET
    family = key.family
    full = 0xFFFFFFFF if family == 4 else 128
    masks = st.integers(0, 2**32 - 1) if family == 4 else st.integers(1, 128)
    return VirtualService(
        key,
        scheduler,
        flags | PERSISTENT if persistent else flags,
        draw(st.integers(1, 86400 * 31)) if persistent else 0,
        draw(masks) if persistent else full,
        draw(st.sampled_from(("", "sip"))),
    )


@st.composite
def destinations(draw: st.DrawFn, key: ServiceKey) -> Destination:
    method = draw(st.sampled_from(CONFIGURABLE))
    family = key.family
    if method is ForwardingMethod.TUN and draw(st.booleans()):
        family = 10 - family
    fixed = method in (ForwardingMethod.DR, ForwardingMethod.TUN) and not key.fwmark
    local = draw(st.lists(addresses(family), max_size=3)) if method is ForwardingMethod.FULLNAT else []
    return Destination(
        draw(addresses(family)),
        key.port if fixed else draw(PORTS),
        method,
        draw(st.integers(0, 2**31 - 1)),
        tunnel=draw(TUNNELS) if method is ForwardingMethod.TUN else Tunnel(),
        local_addresses=tuple(local),
    )


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[VirtualService, list[Destination]]]:
    chosen = draw(st.lists(services(), max_size=6, unique_by=lambda service: service.key))
    unique = lambda there: (there.address, there.port)  # noqa: E731
    return [(service, draw(st.lists(destinations(service.key), max_size=5, unique_by=unique))) for service in chosen]
