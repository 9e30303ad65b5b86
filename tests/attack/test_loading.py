# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "loading"; the long one: make attack ATTACK="--only loading"."""

from __future__ import annotations

from tests.attack.attack import findings
from tests.attack.loading import ATTACKS

ATTACK = next(attack for attack in ATTACKS if attack.name == "loading")


def test_nothing_is_found() -> None:
    """kill -9 after some steps of loading, attaching and unloading."""
    assert findings(ATTACK) == []
