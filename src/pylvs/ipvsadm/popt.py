# SPDX-License-Identifier: GPL-2.0-or-later
"""A scanner of argv that behaves as libpopt 1.19 does with ipvsadm's options.

Long options cannot be abbreviated; short ones may be joined (`-Ln`, `-w5`, `-w=5`); words that are not options are
collected, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Sequence

from pylvs.ipvsadm.grammar import LONG, SHORT, SPELLINGS, Argument, Option

UNKNOWN = "unknown option"
MISSING = "missing argument"
UNWANTED = "option does not take an argument"


class OptionError(Exception):
    """Popt's complaint about the word at `Scanner.word`."""


class Scanner:
    """Walks through `words` (argv without the program's name), one option per step."""

    __slots__ = ("_joined", "_literal", "_next", "_words", "leftovers", "value")

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._next = 0
        self._joined = ""  # the rest of a word of short options
        self._literal = False  # after `--`
        self.value: str | None = None
        self.leftovers: list[str] = []

    @property
    def word(self) -> str:
        """The last word taken from argv, which popt names in an error."""
        return self._words[self._next - 1] if self._next else ""

    def step(self) -> Option | None:
        """The next option, with its value in `value`; None at the end. Raises OptionError."""
        words, place = self._words, self._next
        # the usual case, kept fast for the restoring of large tables: a word that is an option as a whole
        if place < len(words) and not self._joined and not self._literal:
            option = SPELLINGS.get(words[place])
            if option is not None:
                self._next = place + 1
                if option.argument is not Argument.NONE:
                    self.value = self._following(option)
                return option
        return self._step()

    def _step(self) -> Option | None:
        if self._joined:
            return self._short(self._joined)
        words = self._words
        while self._next < len(words):
            word = words[self._next]
            self._next += 1
            if self._literal or word[:1] != "-" or word == "-":
                self.leftovers.append(word)
            elif word == "--":
                self._literal = True
            elif word[1] == "-":
                return self._long(word)
            else:
                return self._short(word[1:])
        return None

    def _long(self, word: str) -> Option:
        name, equals, attached = word[2:].partition("=")
        option = LONG.get(name)
        if option is None:
            raise OptionError(UNKNOWN)
        if option.argument is Argument.NONE:
            if equals:
                raise OptionError(UNWANTED)
        else:
            self.value = attached if equals else self._following(option)
        return option

    def _short(self, letters: str) -> Option:
        option = SHORT.get(letters[0])
        if option is None:
            raise OptionError(UNKNOWN)
        rest = letters[1:]
        if option.argument is Argument.NONE:
            if rest[:1] == "=":
                raise OptionError(UNWANTED)
            self._joined = rest
            return option
        self._joined = ""
        self.value = rest.removeprefix("=") if rest else self._following(option)
        return option

    def _following(self, option: Option) -> str | None:
        if self._next == len(self._words):
            if option.argument is Argument.OPTIONAL:
                return None
            raise OptionError(MISSING)
        word = self._words[self._next]
        if option.argument is Argument.OPTIONAL and word[:1] == "-":
            return None
        self._next += 1
        return word
