# SPDX-License-Identifier: GPL-2.0-or-later
"""What the director does with packets, one by one, as it does it; and what it would do with one."""
