# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m pylvs` is the `pylvs` command."""

from __future__ import annotations

from pylvs.commands.main import main

raise SystemExit(main())
