# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers as the C library reads them, since that is what ipvsadm takes and refuses."""

from __future__ import annotations

import re

LONG_MAX = 2**63 - 1
INT_MAX = 2**31 - 1
UINT_MAX = 2**32 - 1
# isspace() of the C locale, an optional sign, digits
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")


def whole_number(text: str, least: int, most: int) -> int | None:
    """A decimal number that is all of `text` and within bounds; None otherwise."""
    if text.isdecimal() and text.isascii() and len(text) < 19:
        number = int(text)
        return number if least <= number <= most else None
    match = _NUMBER.fullmatch(text)
    if match is None or len(match[1]) > 40:
        return None
    number = int(match[1])
    return number if least <= number <= most else None


def leading_number(text: str) -> int:
    """The number that `text` begins with, as atoi(3): 32 bits cut from a saturated long."""
    match = _NUMBER.match(text)
    if match is None:
        return 0
    digits = match[1][:40]  # beyond that it is saturated anyway
    saturated = max(-LONG_MAX - 1, min(LONG_MAX, int(digits)))
    return signed32(saturated)


def signed32(number: int) -> int:
    """The low 32 bits of a number as C's int."""
    return ((number + 2**31) & UINT_MAX) - 2**31
