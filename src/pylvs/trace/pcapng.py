# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture files in pcapng (draft-ietf-opsawg-pcapng), for Wireshark and tcpdump: ns, direction, a comment."""

from __future__ import annotations

import struct
from typing import BinaryIO

SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
ETHERNET = 1
END, COMMENT = 0, 1
SECTION_APPLICATION = 4
IF_NAME, IF_DESCRIPTION, IF_RESOLUTION = 2, 3, 9
FLAGS, INBOUND, OUTBOUND = 2, 1, 2
SNAP = 256


def option(code: int, value: bytes) -> bytes:
    """One option of a block, padded to 32 bits."""
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def block(kind: int, body: bytes) -> bytes:
    """A block between its two lengths."""
    body += bytes(-len(body) % 4)
    length = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + length + body + length


class Writer:
    """A capture file. It has an interface for each name, hook and direction, declared when it first appears."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._known: dict[tuple[str, str, bool], int] = {}
        head = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
        self.file.write(block(SECTION, head + option(SECTION_APPLICATION, b"pylvs trace") + option(END, b"")))

    def _interface(self, name: str, hook: str, inbound: bool) -> int:
        key = name, hook, inbound
        if key not in self._known:
            direction = f"{'in' if inbound else 'out'}, at the {hook} hook"
            options = option(IF_NAME, name.encode()) + option(IF_DESCRIPTION, direction.encode())
            options += option(IF_RESOLUTION, b"\x09") + option(END, b"")
            self.file.write(block(INTERFACE, struct.pack("<HHI", ETHERNET, 0, SNAP) + options))
            self._known[key] = len(self._known)
        return self._known[key]

    def write(self, name: str, hook: str, inbound: bool, time: int, frame: bytes, length: int, comment: str) -> None:
        """Write a frame, or the first bytes of one that had `length` bytes, with its time in ns since 1970."""
        number = self._interface(name, hook, inbound)
        head = struct.pack("<IIIII", number, time >> 32, time & 0xFFFFFFFF, len(frame), length)
        options = option(FLAGS, struct.pack("<I", INBOUND if inbound else OUTBOUND))
        options += option(COMMENT, comment.encode()[:60000]) + option(END, b"")
        self.file.write(block(PACKET, head + frame + bytes(-len(frame) % 4) + options))

    def flush(self) -> None:
        self.file.flush()
