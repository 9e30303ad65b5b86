# SPDX-License-Identifier: GPL-2.0-or-later
"""The address filter: which addresses matter at all to the data plane (bpf/service.h)."""

from __future__ import annotations

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.loaded import DataPlane
from pylvs.dataplane.mapped import MappedArray

_WORD = 0xFFFFFFFF
_MULTIPLIER = 0x9E3779B1
_REAL = 0x5BD1


def filter_bit(raw: bytes, real: bool) -> int:
    """Bit of an address (16 bytes) as `filter_bit` of bpf/service.h computes it; `real`: as a real server's."""
    folded = 0
    for start in range(0, 16, 4):
        folded ^= int.from_bytes(raw[start : start + 4], "little")
    return (folded * _MULTIPLIER & _WORD) >> 16 ^ (_REAL if real else 0)


class AddressFilter:
    """A bit per hash of an address. Bits are only ever set, so that a stale one costs a lookup and nothing else."""

    def __init__(self, plane: DataPlane, layouts: Layouts) -> None:
        self._memory = MappedArray(plane.map("filter")).memory
        self._bits = layouts.enum("filter_size")["FILTER_BITS"]

    def add(self, raw: bytes, real: bool) -> None:
        """Let the data plane look at packets to this address or, of a real server, from it."""
        bit = filter_bit(raw, real) % self._bits
        self._memory[bit // 8] |= 1 << bit % 8

    def may_be_virtual(self, raw: bytes) -> bool:
        """Whether the address may be a VIP; False is certain."""
        bit = filter_bit(raw, False) % self._bits
        return bool(self._memory[bit // 8] >> bit % 8 & 1)
