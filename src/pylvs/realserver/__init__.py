# SPDX-License-Identifier: GPL-2.0-or-later
"""A real server that prepares itself: hides the VIP, unwraps tunnels, checks itself, and undoes it all."""
