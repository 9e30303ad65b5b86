# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "decapsulation"; the long one: make attack ATTACK="--only decapsulation"."""

from __future__ import annotations

from tests.attack.attack import findings
from tests.attack.decapsulation import ATTACKS

ATTACK = next(attack for attack in ATTACKS if attack.name == "decapsulation")


def test_nothing_is_found() -> None:
    """Mutated tunnels at the decapsulator."""
    assert findings(ATTACK) == []
