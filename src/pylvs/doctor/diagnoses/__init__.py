# SPDX-License-Identifier: GPL-2.0-or-later
"""The diagnoses of a director, one a file. Each file here is found by `pylvs.doctor.report.modules`."""
