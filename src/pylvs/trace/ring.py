# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's ring buffer (Documentation/bpf/ringbuf.rst), mapped into memory for one reader."""

from __future__ import annotations

import mmap
import select
from collections.abc import Iterator

from pylvs.dataplane.kernel import Map

BUSY, DISCARDED = 1 << 31, 1 << 30
HEADER = 8  # bytes


class Ring:
    """A ring of records, the oldest first; the room of each is given back when the next one is asked for."""

    def __init__(self, map: Map) -> None:
        size = map.info.max_entries
        self._mask = size - 1
        self._reader = mmap.mmap(map.fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        # The kernel maps the data twice in a row, so that every record is contiguous.
        whole = mmap.PAGESIZE + 2 * size
        self._writer = mmap.mmap(map.fd, whole, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE)
        self._consumed = memoryview(self._reader)[:8].cast("Q")
        self._produced = memoryview(self._writer)[:8].cast("Q")
        self._data = memoryview(self._writer)[mmap.PAGESIZE :]
        self._poll = select.poll()
        self._poll.register(map.fd, select.POLLIN)

    def forget(self) -> None:
        """Skip the records that are there, such as those that an earlier reader left."""
        self._consumed[0] = self._produced[0]

    def wait(self, seconds: float) -> bool:
        """Wait until there is a record, or the time is up; whether there is one."""
        return bool(self._poll.poll(seconds * 1000))

    def records(self) -> Iterator[memoryview]:
        """The records that are there; each is valid until the next one is asked for."""
        here = self._consumed[0]
        while here < self._produced[0]:
            start = here & self._mask
            length = int.from_bytes(self._data[start : start + 4], "little")
            if length & BUSY:
                return
            size = length & ~(BUSY | DISCARDED)
            if not length & DISCARDED:
                yield self._data[start + HEADER : start + HEADER + size]
            here += (size + HEADER + 7) & ~7
            self._consumed[0] = here

    def close(self) -> None:
        for view in (self._consumed, self._produced, self._data):
            view.release()
        self._reader.close()
        self._writer.close()
