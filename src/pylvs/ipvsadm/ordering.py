# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of ipvsadm's listings: its comparison subtracts 32-bit words and takes the result as a signed int.

So 192.168.0.1 comes before 10.0.0.1, and three addresses far enough apart have no order at all: the result then depends
on the steps of the C library's merge sort, which are the same here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import TypeVar

from pylvs.model import Address, DestinationState, ServiceState

Item = TypeVar("Item")
Words = tuple[int, ...]
_HALF, _WORD = 1 << 31, 0xFFFFFFFF
# AF_INET, AF_INET6
_FAMILY = {4: 2, 6: 10}


def sort_services(states: Iterable[ServiceState]) -> list[ServiceState]:
    """Services by mark, family, protocol, address, port."""
    return _sort(states, _service_words)


def sort_destinations(states: Sequence[DestinationState]) -> Sequence[DestinationState]:
    """Destinations by address and port; equal ones keep the kernel's order."""
    if len(states) < 2:
        return states
    if len({state.destination.address.version for state in states}) > 1:
        keyed = [(_mixed_words(state), state) for state in states]
        return [state for _, state in _merge_sort(keyed, _compare_mixed)]
    return _sort(states, _destination_words)


def _sort(items: Iterable[Item], words: Callable[[Item], Words]) -> list[Item]:
    keyed = [(words(item), item) for item in items]
    if _has_order([key for key, _ in keyed]):
        keyed.sort(key=itemgetter(0))
    else:
        keyed = _merge_sort(keyed, _compare)
    return [item for _, item in keyed]


def _has_order(keys: list[Words]) -> bool:
    """Whether all words lie within half of the range of a word, so that the sign of a difference is the order."""
    return (
        all(max(column) - min(column) < _HALF for column in zip(*keys, strict=False)) and len(set(map(len, keys))) < 2
    )


def _merge_sort(keyed: list[tuple[Words, Item]], compare: Callable[[Words, Words], int]) -> list[tuple[Words, Item]]:
    """Sort as glibc's qsort does: by halves, the first one the smaller, and of equals that of the first half first."""
    if len(keyed) < 2:
        return keyed
    half = len(keyed) // 2
    first, second = _merge_sort(keyed[:half], compare), _merge_sort(keyed[half:], compare)
    merged: list[tuple[Words, Item]] = []
    i = j = 0
    while i < len(first) and j < len(second):
        if compare(first[i][0], second[j][0]) <= 0:
            merged.append(first[i])
            i += 1
        else:
            merged.append(second[j])
            j += 1
    return merged + first[i:] + second[j:]


def _compare(one: Words, other: Words) -> int:
    for a, b in zip(one, other, strict=False):
        if a != b:
            return _signed_difference(a, b)
    return 0


def _signed_difference(a: int, b: int) -> int:
    difference = (a - b) & _WORD
    return difference - (difference & _HALF) * 2


def _compare_mixed(one: Words, other: Words) -> int:
    """Compare by the family of the first one: an IPv4 address only has one word."""
    if one[0] == 6:
        return _compare(one[1:], other[1:])
    return _signed_difference(one[1], other[1]) or one[5] - other[5]


def _mixed_words(state: DestinationState) -> Words:
    destination = state.destination
    return (destination.address.version, *_address_words(destination.address), destination.port)


def _service_words(state: ServiceState) -> Words:
    key = state.service.key
    if key.address is None:
        return (key.fwmark, _FAMILY[key.family], 0, 0, 0, 0, 0, 0)
    return (0, _FAMILY[key.family], key.protocol, *_address_words(key.address), key.port)


def _destination_words(state: DestinationState) -> Words:
    destination = state.destination
    if destination.address.version == 4:
        return (int(destination.address), destination.port)
    return (*_address_words(destination.address), destination.port)


def _address_words(address: Address) -> Words:
    if address.version == 4:
        return (int(address), 0, 0, 0)
    number = int(address)
    return (number >> 96, number >> 64 & _WORD, number >> 32 & _WORD, number & _WORD)
