# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "commands"; the long one: make attack ATTACK="--only commands"."""

from __future__ import annotations

from tests.attack.attack import findings
from tests.attack.commands import ATTACKS

ATTACK = next(attack for attack in ATTACKS if attack.name == "commands")


def test_nothing_is_found() -> None:
    """Commands of several processes at once."""
    assert findings(ATTACK) == []
