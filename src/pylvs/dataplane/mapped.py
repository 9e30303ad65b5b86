# SPDX-License-Identifier: GPL-2.0-or-later
"""Arrays of BPF_F_MMAPABLE as memory: read and written without system calls, paged in only where touched."""

from __future__ import annotations

import mmap
from typing import Self

from pylvs.dataplane.kernel import F_MMAPABLE, Map


class MappedArray:
    """Memory of one mmapable array; element i starts at `i * stride` of `memory`.

    Stores are seen by the data plane at once. An aligned store of up to 8 bytes through a memoryview cast
    to its width is one store; a longer one is not atomic.
    """

    def __init__(self, map: Map, writable: bool = True) -> None:
        info = map.info
        if not info.flags & F_MMAPABLE:
            raise ValueError(f"the map {info.name} is not mmapable")
        self.stride = (info.value_size + 7) // 8 * 8
        self.length = info.max_entries
        size = self.stride * self.length
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._mapping = mmap.mmap(map.fd, pages, mmap.MAP_SHARED, protection)
        self.memory = memoryview(self._mapping)[:size]
        # the same in words of 4 bytes, host order
        self.words = self.memory.cast("I")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> memoryview:
        """The bytes of one element, in place."""
        if not 0 <= index < self.length:
            raise IndexError(index)
        return self.memory[index * self.stride : (index + 1) * self.stride]

    def close(self) -> None:
        """Unmap; BufferError while a memoryview of an element is still held."""
        self.words.release()
        self.memory.release()
        self._mapping.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
