# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of a whole table, kept and put back within milliseconds: a crash-point test begins from it again and
again."""

from __future__ import annotations

from pylvs.dataplane.kernel import Map
from pylvs.dataplane.mapped import MappedArray
from tests.packets.plane import Plane

MAPPED = ("connections", "due", "local_addresses", "mark_rules", "settings", "filter")
CHUNKS = ("records", "estimates")
HASHES = ("services", "hash_buckets", "maglevs", "trash", "replies", "localities", "fragments")
RECORDS = 48  # slots that a case may use
POOL = 1024  # bytes of pools that a case may use
FEW = 64  # elements of a map that are asked for at a time: some have large values


class Snapshot:
    """What a table was when this was made."""

    def __init__(self, plane: Plane) -> None:
        self._arrays = [MappedArray(plane.instance.map(name)) for name in self._present(plane, MAPPED)]
        self._chunks = [MappedArray(_inner(plane, name)) for name in CHUNKS]
        self._hashes = [plane.instance.map(name) for name in self._present(plane, HASHES)]
        self._kept = [bytes(array.memory) for array in self._arrays]
        self._records = [bytes(chunk.memory[: RECORDS * chunk.stride]) for chunk in self._chunks]
        self._pairs = [dict(map.items(FEW)) for map in self._hashes]

    @staticmethod
    def _present(plane: Plane, names: tuple[str, ...]) -> list[str]:
        pinned = plane.instance.current.map_names()
        found = {name: next((pin for pin in pinned if pin == name or pin.endswith(f"_{name}")), name) for name in names}
        return [name for name, pin in found.items() if pin in pinned or name in pinned]

    def restore(self) -> None:
        """The table is as it was."""
        for array, kept in zip(self._arrays, self._kept, strict=True):
            array.memory[:] = kept
        for chunk, kept in zip(self._chunks, self._records, strict=True):
            chunk.memory[: len(kept)] = kept
        for map, pairs in zip(self._hashes, self._pairs, strict=True):
            for key in [key for key, _ in map.items(FEW) if key not in pairs]:
                map.delete(key)
            for key, value in pairs.items():
                map.update(key, value)


def shared_memory(plane: Plane) -> list[memoryview]:
    """The memory that a command stores to: settings, the first records, filter, pools, rules, and of the estimates
    their bases, for the rest changes by itself."""
    arrays = [MappedArray(plane.instance.map(name)).memory for name in ("settings", "filter")]
    arrays += [MappedArray(plane.instance.map(name)).memory[:POOL] for name in ("local_addresses", "mark_rules")]
    rules = MappedArray(plane.instance.map("mark_rules")).memory
    arrays.append(rules[len(rules) // 2 :][:POOL])  # new rules are written beside the old
    records, estimates = (MappedArray(_inner(plane, name)) for name in CHUNKS)
    words, layout = estimates.memory[: RECORDS * estimates.stride].cast("Q"), plane.instance.layouts["estimate"]
    bases = words[layout.offset("base") // 8 :: estimates.stride // 8]
    return [*arrays, records.memory[: RECORDS * records.stride], bases]


def _inner(plane: Plane, name: str) -> Map:
    found = plane.instance.map(name).inner(0)
    assert found is not None
    return found
