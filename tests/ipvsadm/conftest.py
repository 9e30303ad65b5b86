# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes `tests.ipvsadm…` importable wherever pytest is called from."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
