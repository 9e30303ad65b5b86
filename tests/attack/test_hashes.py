# SPDX-License-Identifier: GPL-2.0-or-later
"""The short form of the attack "hashes"; the long one: make attack ATTACK="--only hashes"."""

from __future__ import annotations

from tests.attack.attack import findings
from tests.attack.hashes import ATTACKS

ATTACK = next(attack for attack in ATTACKS if attack.name == "hashes")


def test_nothing_is_found() -> None:
    """Related inputs of the hashes that an outsider feeds."""
    assert findings(ATTACK) == []
