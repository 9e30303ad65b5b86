# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m pylvs.bench`."""

from __future__ import annotations

import sys

from pylvs.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
