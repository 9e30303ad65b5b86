# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "truncation"; the long one: make attack ATTACK="--only truncation"."""

from __future__ import annotations

from tests.attack.attack import findings
from tests.attack.mutation import ATTACKS

ATTACK = next(attack for attack in ATTACKS if attack.name == "truncation")


def test_nothing_is_found() -> None:
    """Packets that are cut after every byte."""
    assert findings(ATTACK) == []
