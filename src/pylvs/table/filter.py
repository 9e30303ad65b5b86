# SPDX-License-Identifier: GPL-2.0-or-later
"""The address filter: which addresses matter at all to the data plane (bpf/service.h)."""

from __future__ import annotations

import struct

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.loaded import DataPlane
from pylvs.dataplane.mapped import MappedArray
from pylvs.table.settings import Settings

_WORDS = struct.Struct("<4I")
_MASK = (1 << 64) - 1


class AddressFilter:
    """A bit per hash of an address. Bits are only ever set, so that a stale one costs a lookup and nothing else."""

    def __init__(self, plane: DataPlane, layouts: Layouts, settings: Settings) -> None:
        self._memory = MappedArray(plane.map("filter")).memory
        self._bits = layouts.enum("filter_size")["FILTER_BITS"]
        self._shift: int = layouts.enum("filter_hash")["FILTER_SHIFT"]
        self._keys: tuple[int, ...] = settings["filter_key"]
        kinds = layouts.enum("filter_kind")
        self._vip, self._rip = kinds["FILTER_VIP"], kinds["FILTER_RIP"]

    def _bit(self, raw: bytes, kind: int) -> int:
        """The bit of an address (16 bytes), as bpf/abi.h describes it at `enum filter_hash`."""
        a, b, c, d = self._keys
        first, second, third, fourth = _WORDS.unpack(raw)
        total: int = (third + a) * (fourth + b) + (first + c) * (second + d) & _MASK
        return (total >> self._shift ^ kind) % self._bits

    def add(self, raw: bytes, real: bool) -> None:
        """Let the data plane look at packets to this address or, of a real server, from it."""
        bit = self._bit(raw, self._rip if real else self._vip)
        self._memory[bit // 8] |= 1 << bit % 8

    def may_be_virtual(self, raw: bytes) -> bool:
        """Whether the address may be a VIP; False is certain."""
        bit = self._bit(raw, self._vip)
        return bool(self._memory[bit // 8] >> bit % 8 & 1)
