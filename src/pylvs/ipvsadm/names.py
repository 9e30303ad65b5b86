# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses and ports from names and to names, by the C library's resolver; results are cached."""

from __future__ import annotations

import socket
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv6Address

from pylvs.ipvsadm.numbers import whole_number
from pylvs.model import Address, Protocol

# Names that Python's resolver treats as special, and the C library's does not.
_SPECIAL = ("", "<broadcast>", "<any>")
_FAILURES = (OSError, UnicodeError, ValueError)


@lru_cache(maxsize=65536)
def ipv4_address(text: str) -> IPv4Address | None:
    """The address that inet_aton(3) reads, also `010.0.0.1` (octal) and `24` (0.0.0.24), or else of a host name."""
    try:
        return IPv4Address(socket.inet_aton(text))
    except _FAILURES:
        return host_address(text)


def host_address(name: str) -> IPv4Address | None:
    """The first IPv4 address of a host name, None if it has none."""
    if name in _SPECIAL:
        return None
    try:
        return IPv4Address(socket.gethostbyname_ex(name)[2][0])
    except (*_FAILURES, IndexError):
        return None


def ipv6_address(text: str) -> IPv6Address | None:
    """The IPv6 address that inet_pton(3) reads; None if there is none."""
    try:
        return IPv6Address(socket.inet_pton(socket.AF_INET6, text))
    except _FAILURES:
        return None


@cache
def port_number(text: str, protocol: int) -> int | None:
    """A port by its number, or by its name in services(5) for this protocol; None if there is none."""
    number = whole_number(text, 0, 65535)
    transport = _TRANSPORTS.get(protocol)
    if number is not None or transport is None:
        return number
    try:
        return socket.getservbyname(text, transport)
    except _FAILURES:
        return None


_TRANSPORTS = {Protocol.TCP.value: "tcp", Protocol.UDP.value: "udp", Protocol.SCTP.value: "sctp"}


@lru_cache(maxsize=65536)
def host_name(address: Address) -> str:
    """The name of an address, or the address itself."""
    try:
        return socket.gethostbyaddr(str(address))[0]
    except _FAILURES:
        return address_text(address)


@cache
def port_name(port: int, protocol: int) -> str:
    """The name of a port in services(5), or its number."""
    transport = _TRANSPORTS.get(protocol)
    if transport is None:
        return str(port)
    try:
        return socket.getservbyport(port, transport)
    except _FAILURES:
        return str(port)


# ipvsadm prints an endpoint into a buffer of 60 bytes.
_ENDPOINT_LENGTH = 59


def endpoint(address: Address, port: int, protocol: int, numeric: bool) -> str:
    """An endpoint as ipvsadm lists it: `10.0.0.1:80`, or by names, `[fd00::1]:http`."""
    host = address_text(address) if numeric else host_name(address)
    name = port if numeric else port_name(port, protocol)
    text = f"{host}:{name}" if address.version == 4 else f"[{host}]:{name}"
    return text[:_ENDPOINT_LENGTH]


def address_text(address: Address) -> str:
    """An address as inet_ntop(3) writes it: mapped IPv6 addresses end in dotted IPv4, unlike Python's."""
    if address.version == 4:
        return str(address)
    return socket.inet_ntop(socket.AF_INET6, address.packed)
