# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames that are repeated: 64 bytes (IPv6: 78), with wrong checksums, which nothing on their path looks at."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

SYN, ACK, SYN_ACK = 0x02, 0x10, 0x12
ETHERNET = bytes.fromhex("020000000001 020000000002")
CLIENTS_V6 = IPv6Address("2001:db8::")  # the generator writes the last 32 bits
SERVERS_V6 = IPv6Address("2001:db8::")
LENGTHS = {4: 64, 6: 78}


def frame(family: int = 4, protocol: int = 6, flags: int = ACK) -> bytes:
    """A TCP or UDP packet without payload; the generator fills in addresses and ports."""
    transport = _tcp(flags) if protocol == 6 else struct.pack("!HHHH", 1, 1, 26 if family == 4 else 24, 1)
    if family == 4:
        ip = struct.pack("!BBHHHBBHII", 0x45, 0, 50, 0, 0x4000, 64, protocol, 0, 0, 0)
        return (ETHERNET + b"\x08\x00" + ip + transport).ljust(LENGTHS[4], b"\0")
    ip = struct.pack("!IHBB", 6 << 28, 24, protocol, 64) + CLIENTS_V6.packed + SERVERS_V6.packed
    return (ETHERNET + b"\x86\xdd" + ip + transport).ljust(LENGTHS[6], b"\0")


def _tcp(flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", 1, 1, 1, 1, 5 << 4, flags, 65535, 0, 0)
