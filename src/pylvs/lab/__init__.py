# SPDX-License-Identifier: GPL-2.0-or-later
"""The DR test build: machines as network namespaces on a switch, real HTTP, every step shown and proved."""
