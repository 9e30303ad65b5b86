# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers as the C library parses them, since that is what ipvsadm accepts and refuses."""

from __future__ import annotations

import re

LONG_MAX = 2**63 - 1
INT_MAX = 2**31 - 1
UINT_MAX = 2**32 - 1
# isspace() of the C locale, an optional sign, digits
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")


def whole_number(text: str, least: int, most: int) -> int | None:
    """The decimal number that `text` is, if it is within bounds (both inclusive); else None."""
    if text.isdecimal() and text.isascii() and len(text) < 19:
        number = int(text)
        return number if least <= number <= most else None
    match = _NUMBER.fullmatch(text)
    if match is None or len(match[1]) > 40:
        return None
    number = int(match[1])
    return number if least <= number <= most else None


def leading_number(text: str) -> int:
    """The number that `text` begins with, as by atoi(3): the low 32 bits of a saturated long; 0 if there is none."""
    match = _NUMBER.match(text)
    if match is None:
        return 0
    digits = match[1][:40]  # beyond that it is saturated anyway
    saturated = max(-LONG_MAX - 1, min(LONG_MAX, int(digits)))
    return signed32(saturated)


def signed32(number: int) -> int:
    """The low 32 bits of a number as C's int."""
    return ((number + 2**31) & UINT_MAX) - 2**31
