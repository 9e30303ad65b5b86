# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs trace`: what the director does with each packet, and what it would do with one."""
