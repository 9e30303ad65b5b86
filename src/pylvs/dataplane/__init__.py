# SPDX-License-Identifier: GPL-2.0-or-later
"""The door between Python and the kernel."""
