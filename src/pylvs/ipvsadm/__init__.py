# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvsadm`: argv → grammar → command → table → model → text, byte for byte as ipvsadm 1.31."""
