# SPDX-License-Identifier: GPL-2.0-or-later
"""The address filter: which addresses matter at all to the data plane (bpf/service.h)."""

from __future__ import annotations

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.loaded import DataPlane
from pylvs.dataplane.mapped import MappedArray

_WORD = 0xFFFFFFFF


class AddressFilter:
    """A bit per hash of an address. Bits are only ever set, so that a stale one costs a lookup and nothing else."""

    def __init__(self, plane: DataPlane, layouts: Layouts) -> None:
        self._memory = MappedArray(plane.map("filter")).memory
        self._bits = layouts.enum("filter_size")["FILTER_BITS"]
        self._multiplier = layouts.enum("filter_hash")["FILTER_MULTIPLIER"] & _WORD
        kinds = layouts.enum("filter_kind")
        self._vip, self._rip = kinds["FILTER_VIP"], kinds["FILTER_RIP"]

    def _bit(self, raw: bytes, kind: int) -> int:
        """The bit of an address (16 bytes), as bpf/abi.h describes it at `enum filter_hash`."""
        folded = 0
        for start in range(0, 16, 4):
            folded ^= int.from_bytes(raw[start : start + 4], "little")
        return ((folded * self._multiplier & _WORD) >> 16 ^ kind) % self._bits

    def add(self, raw: bytes, real: bool) -> None:
        """Let the data plane look at packets to this address or, of a real server, from it."""
        bit = self._bit(raw, self._rip if real else self._vip)
        self._memory[bit // 8] |= 1 << bit % 8

    def may_be_virtual(self, raw: bytes) -> bool:
        """Whether the address may be a VIP; False is certain."""
        bit = self._bit(raw, self._vip)
        return bool(self._memory[bit // 8] >> bit % 8 & 1)
