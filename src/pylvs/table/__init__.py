# SPDX-License-Identifier: GPL-2.0-or-later
"""The table in the kernel: services, destinations, connections, and what the operator may set."""
