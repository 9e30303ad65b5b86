# SPDX-License-Identifier: GPL-2.0-or-later
"""No relation between two inputs, exclusive or or sum, makes them meet more often than chance, whatever the keys.

Each hash of bpf/hash.h, as C has it, is tried with differences that an outsider may choose: every bit, every pair of
bits, and numbers that follow each other. A hash whose key cancels out is found at once: its inputs meet with every key.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import random
from collections.abc import Iterator
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from tests.unit import hashes
from tests.unit.hashes import INPUT, KINDS, library

from pylvs.addresses import pack
from pylvs.table.filter import AddressFilter

BUCKETS = 1024
XOR, SUM = 0, 1
FEW, MANY = 1 << 20, 64  # seeds for a few differences, and for many
MAPPED = bytes(10) + b"\xff\xff"  # before an IPv4 address


class Input(NamedTuple):
    """What a hash reads of an input: the bytes that vary, and those that do not."""

    kind: str
    vary: tuple[range, ...]
    fixed: bytes = bytes(INPUT)

    @property
    def bytes(self) -> list[int]:
        return [place for part in self.vary for place in part]

    @property
    def mask(self) -> bytes:
        return bytes(255 if place in self.bytes else 0 for place in range(INPUT))


def mapped(*starts: int) -> bytes:
    """Fixed bytes of IPv4 addresses that start there."""
    fixed = bytearray(INPUT)
    for start in starts:
        fixed[start : start + 12] = MAPPED
    return bytes(fixed)


INPUTS = {
    "client, IPv4": Input("client", (range(12, 16), range(32, 34)), mapped(0)),
    "client, IPv6": Input("client", (range(16), range(32, 34))),
    "next bucket, IPv4": Input("next", (range(8, 16), range(28, 32), range(34, 36)), mapped(16)),
    "next bucket, IPv6": Input("next", (range(8, 32), range(34, 36))),
    "reply or fragment, IPv4": Input("tuple", (range(12, 16), range(28, 40)), mapped(0, 16)),
    "reply or fragment, IPv6": Input("tuple", (range(INPUT),)),
    "filter, IPv4": Input("filter", (range(12, 16),), mapped(0)),
    "filter, IPv6": Input("filter", (range(16),)),
}  # fmt: skip


def meetings(input: Input, relation: int, difference: bytes, seeds: int, steps: int = 1) -> tuple[int, int]:
    """How often inputs share a bucket with the first one: over all seeds, and the most with one."""
    total, most = ctypes.c_uint32(), ctypes.c_uint32()
    library().search(
        KINDS[input.kind], relation, difference, input.fixed, input.mask, steps, seeds, BUCKETS,
        ctypes.byref(total), ctypes.byref(most),
    )  # fmt: skip
    return total.value, most.value


def bits(*numbers: int) -> bytes:
    """A difference with these bits, counted from the first of byte 0."""
    return sum(1 << (INPUT * 8 - 1 - number) for number in numbers).to_bytes(INPUT, "big")


def bits_of(input: Input) -> list[int]:
    return [place * 8 + bit for place in input.bytes for bit in range(8)]


def by_chance(tries: int) -> float:
    """More meetings than this are no chance: seven standard deviations."""
    mean = tries / BUCKETS
    return mean + 7 * math.sqrt(mean) + 3


def few(input: Input) -> Iterator[bytes]:
    """Some of the first and last bits of fields, alone and in pairs, and some numbers by chance."""
    ends = [place * 8 + bit for part in input.vary for place, bit in ((part[0], 0), (part[-1], 7))]
    draw = random.Random(7)
    pairs = list(itertools.combinations_with_replacement(ends, 2))
    yield from (bits(*set(pair)) for pair in draw.sample(pairs, min(6, len(pairs))))
    for _ in range(2):
        yield bytes(draw.randrange(256) & mask for mask in input.mask)


@pytest.mark.parametrize("name", INPUTS)
def test_a_few_differences_with_a_million_keys(name: str) -> None:
    input = INPUTS[name]
    for difference in few(input):
        for relation in (XOR, SUM):
            total, _ = meetings(input, relation, difference, FEW)
            assert total <= by_chance(FEW), (relation, difference.hex())


@pytest.mark.parametrize("name", INPUTS)
def test_every_pair_of_bits_with_a_few_keys(name: str) -> None:
    """Also the pairs that closed the four buckets of an IPv6 client: a bit of its address and one of its port."""
    input, total, tries = INPUTS[name], 0, 0
    for pair in itertools.combinations_with_replacement(bits_of(input), 2):
        for relation in (XOR, SUM):
            met, _ = meetings(input, relation, bits(*set(pair)), MANY)
            assert met <= 8, (relation, pair)
            total, tries = total + met, tries + MANY
    assert total <= by_chance(tries)


@pytest.mark.parametrize("name", [name for name in INPUTS if not name.startswith("filter")])
def test_numbers_that_follow_each_other(name: str) -> None:
    """Of 32 inputs in arithmetic progression hardly any share a bucket with the first one, with any key."""
    input = INPUTS[name]
    for number in (bits_of(input)[-1], bits_of(input)[len(bits_of(input)) // 2]):
        total, most = meetings(input, SUM, bits(number), 1 << 15, steps=32)
        assert most <= 6
        assert total <= by_chance(32 << 15)


@pytest.mark.parametrize("address", ["10.0.0.100", "255.255.255.255", "fd00::100", "2001:db8:1:2:3:4:5:6"])
def test_the_filter_in_python_is_that_in_c(address: str) -> None:
    keys = [random.Random(address).getrandbits(64) for _ in range(4)]
    both = cast(Any, SimpleNamespace(_keys=keys, _shift=48, _bits=1 << 16))
    raw = pack(ip_address(address))
    assert AddressFilter._bit(both, raw, 0) == hashes.hash_of("filter", raw + bytes(24), keys)
