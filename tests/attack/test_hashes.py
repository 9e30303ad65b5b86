# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "hashes"; the long one: make attack ATTACK="--only hashes"."""

from __future__ import annotations

from tests.attack.hashes import ATTACKS
from tests.attack.attack import SEED, findings

ATTACK = next(attack for attack in ATTACKS if attack.name == "hashes")


def test_nothing_is_found() -> None:
    """Related inputs of the hashes that an outsider feeds."""
    assert findings(ATTACK, seed=SEED, seconds=6) == []
