# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "mutation"; the long one: make attack ATTACK="--only mutation"."""

from __future__ import annotations

from tests.attack.attack import findings
from tests.attack.mutation import ATTACKS

ATTACK = next(attack for attack in ATTACKS if attack.name == "mutation")


def test_nothing_is_found() -> None:
    """Mutated packets: one outcome, no byte of the table changed, sums and lengths right."""
    assert findings(ATTACK) == []
