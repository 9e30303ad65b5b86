# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m pylvs.ipvsadm …` is `pylvsadm …`."""

from __future__ import annotations

from pylvs.ipvsadm.main import pylvsadm

pylvsadm()
