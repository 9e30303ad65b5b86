# SPDX-License-Identifier: GPL-2.0-or-later
"""Measurements, each beside the reference that it is a ratio to."""
