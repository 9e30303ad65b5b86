# SPDX-License-Identifier: GPL-2.0-or-later
"""On a real server: one file for each diagnosis that only it can make, or makes better than the director."""
