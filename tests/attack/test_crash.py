# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "crash"; the long one: make attack ATTACK="--only crash"."""

from __future__ import annotations

from tests.attack.attack import findings
from tests.attack.crash import ATTACKS

ATTACK = next(attack for attack in ATTACKS if attack.name == "crash")


def test_nothing_is_found() -> None:
    """kill -9 after some steps of each command."""
    assert findings(ATTACK) == []
