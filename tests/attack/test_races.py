# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "races"; the long one: make attack ATTACK="--only races"."""

from __future__ import annotations

from tests.attack.attack import findings
from tests.attack.races import ATTACKS

ATTACK = next(attack for attack in ATTACKS if attack.name == "races")


def test_nothing_is_found() -> None:
    """Two CPUs in the same connections."""
    assert findings(ATTACK) == []
