# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes `memory` and `shell` importable by the tests beside them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
