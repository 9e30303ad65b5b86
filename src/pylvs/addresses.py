# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses as the data plane has them: 16 bytes in network order, IPv4 mapped (RFC 4291, 2.5.5.2)."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from pylvs.model import Address

MAPPED = bytes(10) + b"\xff\xff"


def pack(address: Address) -> bytes:
    """An address as 16 bytes."""
    return MAPPED + int(address).to_bytes(4) if isinstance(address, IPv4Address) else address.packed


@lru_cache(maxsize=65536)
def unpack(raw: bytes) -> Address:
    """The address that 16 bytes stand for."""
    return IPv4Address(raw[12:]) if raw.startswith(MAPPED) else IPv6Address(raw)
