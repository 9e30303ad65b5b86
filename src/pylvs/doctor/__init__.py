# SPDX-License-Identifier: GPL-2.0-or-later
"""Why does the VIP not answer? `diagnose()` reports it as values; `pylvs doctor` prints them.

A plan of looks and probes (plan.py) is carried out at the edge (runner.py, server_runner.py), which gives values
(evidence.py, server_state.py); the diagnoses are functions of those values, one fault a file.
"""

from pylvs.doctor.finding import Finding, Health
from pylvs.doctor.report import Report, diagnose

__all__ = ["Finding", "Health", "Report", "diagnose"]
