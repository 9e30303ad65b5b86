# SPDX-License-Identifier: GPL-2.0-or-later
"""The diagnoses of a real server, one a file, that only it can make, or makes better than the director."""
