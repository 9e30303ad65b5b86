# SPDX-License-Identifier: GPL-2.0-or-later
"""On a director: one file for each diagnosis. A new file here is found by itself."""
