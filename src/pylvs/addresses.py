# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses as the data plane has them: 16 bytes in network order, IPv4 mapped (RFC 4291, 2.5.5.2)."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from pylvs.model import Address

MAPPED = bytes(10) + b"\xff\xff"
_WORD = 0xFFFFFFFF


def pack(address: Address) -> bytes:
    """The 16 bytes of an address."""
    return MAPPED + int(address).to_bytes(4) if isinstance(address, IPv4Address) else address.packed


@lru_cache(maxsize=65536)
def unpack(raw: bytes) -> Address:
    """The address of 16 bytes."""
    return IPv4Address(raw[12:]) if raw.startswith(MAPPED) else IPv6Address(raw)


def filter_bit(raw: bytes, real: bool) -> int:
    """Bit of the address filter, as `filter_bit` of bpf/service.h computes it; `real`: of a real server."""
    folded = 0
    for start in range(0, 16, 4):
        folded ^= int.from_bytes(raw[start : start + 4], "little")
    return ((folded * 0x9E3779B1 & _WORD) >> 16) ^ (0x5BD1 if real else 0)
