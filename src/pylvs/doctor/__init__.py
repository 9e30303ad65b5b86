# SPDX-License-Identifier: GPL-2.0-or-later
"""Why does the VIP not answer? Looks at everything that can be the cause, and names it."""
