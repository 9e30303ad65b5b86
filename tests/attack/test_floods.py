# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "floods"; the long one: make attack ATTACK="--only floods"."""

from __future__ import annotations

from tests.attack.attack import findings
from tests.attack.floods import ATTACKS

ATTACK = next(attack for attack in ATTACKS if attack.name == "floods")


def test_nothing_is_found() -> None:
    """Two floods, and legal clients at every service."""
    assert findings(ATTACK) == []
