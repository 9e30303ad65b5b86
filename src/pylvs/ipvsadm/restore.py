# SPDX-License-Identifier: GPL-2.0-or-later
"""`-R`: standard input as lines of words, split as ipvsadm's own reader splits them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"[^ \t\r\n]+")
_LOST = re.compile(r"[ \t\r]{2,}\Z")
# a longer word is read in pieces
_WORD_LENGTH = 4096


def command_lines(lines: Iterable[bytes]) -> Iterator[list[str]]:
    """The words of each line that has any; the word `ipvsadm` is left out wherever it stands."""
    for line in lines:
        text = line.decode("utf-8", "surrogateescape")
        words = _WORD.findall(text)
        if len(line) > _WORD_LENGTH or "\0" in text:
            words = [part for word in words for part in _pieces(word)]
        if "ipvsadm" in words:
            words = [word for word in words if word != "ipvsadm"]
        # two blanks before an end of file without a newline: the reader forgets the line
        if words and not (text[-1] != "\n" and _LOST.search(text)):
            yield words


def _pieces(word: str) -> Iterator[str]:
    for start in range(0, len(word), _WORD_LENGTH):
        yield word[start : start + _WORD_LENGTH].partition("\0")[0]
