# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes `tests.ipvsadm…` importable wherever pytest is called from; no deadlines, which a busy machine misses."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parents[2]))
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
