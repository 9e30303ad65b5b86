# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames that were good ones."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

ETHERNET = 14


@st.composite
def mutants(draw: st.DrawFn, seeds: Sequence[bytes], longest: int) -> bytes:
    """A good frame with some bytes changed, cut short, or longer than it says, by `longest` bytes at most."""
    frame = bytearray(draw(st.sampled_from(seeds)))
    for at, value in draw(st.lists(st.tuples(st.integers(12, 110), st.integers(0, 255)), max_size=4)):
        frame[at % len(frame)] = value
    cut = draw(st.one_of(st.just(len(frame)), st.integers(ETHERNET, len(frame))))
    return bytes(frame[:cut]) + draw(st.one_of(st.just(b""), st.binary(max_size=longest)))
