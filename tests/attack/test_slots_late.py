# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "slots-late"; the long one: make attack ATTACK="--only slots-late"."""

from __future__ import annotations

from tests.attack.attack import findings
from tests.attack.slots import ATTACKS

ATTACK = next(attack for attack in ATTACKS if attack.name == "slots-late")


def test_nothing_is_found() -> None:
    """Records that are used again after a second, and packets that come late."""
    assert findings(ATTACK) == []
