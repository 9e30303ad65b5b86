# SPDX-License-Identifier: GPL-2.0-or-later
"""`-R`: the lines of standard input as words, split as by ipvsadm's own reader."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"[^ \t\r\n]+")
_LOST = re.compile(r"[ \t\r]{2,}\Z")
# bytes: a longer word is read in parts
_WORD_LENGTH = 4096


def command_lines(lines: Iterable[bytes]) -> Iterator[list[str]]:
    """The words of each line that has any; the word `ipvsadm` is left out, wherever it stands."""
    for line in lines:
        text = line.decode("utf-8", "surrogateescape")
        words = _WORD.findall(text)
        if len(line) > _WORD_LENGTH or "\0" in text:
            words = [part for word in words for part in _parts(word)]
        if "ipvsadm" in words:
            words = [word for word in words if word != "ipvsadm"]
        # ipvsadm's reader loses a last line that ends with two blanks and no newline
        if words and not (text[-1] != "\n" and _LOST.search(text)):
            yield words


def _parts(word: str) -> Iterator[str]:
    for start in range(0, len(word), _WORD_LENGTH):
        yield word[start : start + _WORD_LENGTH].partition("\0")[0]
