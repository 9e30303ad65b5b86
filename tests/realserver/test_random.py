# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever comes out of a wire, the decapsulator passes it as it is, or gives the stack one whole packet for a VIP."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.mutants import ETHERNET, mutants
from tests.realserver.test_decapsulator import (
    DROP,
    DROPPED,
    PASS,
    UNTOUCHED,
    UNWRAPPED,
    VIP,
    VIP6,
    Host,
    Row,
    host,
    one,
)

__all__ = ["host"]

IPV4, IPV6 = 20, 40  # bytes of headers
LEAST_AT_TC = {b"\x08\x00": ETHERNET + IPV4, b"\x86\xdd": ETHERNET + IPV6}
SEEDS = [bytes(row.given) for row in (*UNWRAPPED, *UNTOUCHED, *DROPPED) if len(row.given) < 1000]
VIPS = {ip_address(vip).packed for vip in (VIP, VIP6)}
OUTER_MOST = 60 + 8 + 8  # bytes of outer headers beside IPv6's options
HOOKS = ("tc", "xdp")


def least(hook: str, frame: bytes) -> int:
    """A test run at TC takes nothing without a whole IP header."""
    return LEAST_AT_TC.get(frame[12:14], ETHERNET) if hook == "tc" else ETHERNET


def total(packet: bytes) -> int:
    """Bytes that an IP header says there are."""
    return int.from_bytes(packet[2:4], "big") if packet[0] >> 4 == 4 else IPV6 + int.from_bytes(packet[4:6], "big")


def destination(packet: bytes) -> bytes:
    return packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]


def but_for_ecn(packet: bytes) -> bytes:
    """The packet without the ECN bits, and without IPv4's checksum over them."""
    changed = bytearray(packet)
    if packet[0] >> 4 == 4:
        changed[1] &= 0xFC
        changed[10:12] = bytes(2)
    else:
        changed[1] &= 0xCF
    return bytes(changed)


def is_unwrapped(frame: bytes, left: bytes) -> None:
    """What is left is a whole packet for a VIP, from within the bytes that the outer header speaks of."""
    inner, offset = left[ETHERNET:], ETHERNET + len(frame) - len(left)
    version = inner[0] >> 4
    assert left[:ETHERNET] == frame[:12] + {4: b"\x08\x00", 6: b"\x86\xdd"}[version]
    assert ETHERNET + IPV4 <= offset <= ETHERNET + OUTER_MOST + 64
    assert but_for_ecn(inner) == but_for_ecn(frame[offset:])
    assert destination(inner) in VIPS
    assert (IPV4 if version == 4 else IPV6) <= total(inner)
    assert offset + total(inner) <= ETHERNET + total(frame[ETHERNET:]) <= len(frame)


def is_piece(frame: bytes, left: bytes) -> None:
    """What is left begins with a piece of a packet for a VIP, and has no more bytes than there were."""
    inner = left[ETHERNET:]
    assert left[:ETHERNET] == frame[:ETHERNET]
    assert inner[0] == 0x45
    assert destination(inner) in VIPS
    assert IPV4 < total(inner) <= len(inner)
    assert len(left) < len(frame) + 8
    assert sum(int.from_bytes(inner[at : at + 2], "big") for at in range(0, IPV4, 2)) % 0xFFFF == 0


def is_right(hook: str, frame: bytes, said: tuple[int, bytes, dict[str, int]]) -> None:
    verdict, left, outcomes = said
    assert list(outcomes.values()) == [1]
    (outcome,) = outcomes
    assert verdict == (DROP if outcome.startswith("FAR_DROP") else PASS)[hook]
    if outcome.startswith("FAR_PASS"):
        assert left == frame, "passed on, but changed"
    elif outcome == "FAR_PIECE":
        is_piece(frame, left)
    elif not outcome.startswith("FAR_DROP"):
        is_unwrapped(frame, left)


def played(host: Host, hook: str) -> Callable[[bytes], None]:
    def play(frame: bytes) -> None:
        assume(len(frame) >= least(hook, frame))
        is_right(hook, frame, one(host, hook, frame))

    return play


@pytest.mark.parametrize("hook", HOOKS)
def test_any_frame(host: Host, hook: str) -> None:
    """Mutated, truncated, lengthened and random frames."""
    frames = st.one_of(mutants(SEEDS, 80), mutants(SEEDS, 80), st.binary(min_size=ETHERNET, max_size=200))
    check = settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
    check(given(frames)(played(host, hook)))()


@pytest.mark.parametrize("hook", HOOKS)
def test_every_truncation(host: Host, hook: str) -> None:
    """Every good frame, cut after every one of its bytes."""
    for seed in SEEDS:
        for size in range(least(hook, seed), len(seed) + 1):
            is_right(hook, seed[:size], one(host, hook, seed[:size]))


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("row", UNWRAPPED, ids=lambda row: row.sentence)
def test_every_byte(host: Host, hook: str, row: Row) -> None:
    """Each byte of the headers of each good frame with each of its bits turned, and all of them."""
    frame = bytes(row.given)
    for at in range(12, min(len(frame), 130)):
        for bits in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            changed = frame[:at] + bytes([frame[at] ^ bits]) + frame[at + 1 :]
            if len(changed) >= least(hook, changed):
                is_right(hook, changed, one(host, hook, changed))


def test_what_is_not_right_is_seen() -> None:
    """The property can fail: a byte changed in what is left, a packet for somebody else."""
    good = bytes(UNWRAPPED[0].given)
    left = good[:12] + b"\x08\x00" + good[34:]
    is_unwrapped(good, left)
    for wrong in (left[:-1] + b"?", left[:30] + b"\x0a\0\0\1" + left[34:], left[:-1]):
        with pytest.raises(AssertionError):
            is_unwrapped(good, wrong)
